"""Files: atomic writes, locks, npz archives and unpacking within limits."""
