"""Build, check and upload submission files; the ledger of entries."""
