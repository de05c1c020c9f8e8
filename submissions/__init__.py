"""Submission files: build, check, upload; the ledger of entries."""
