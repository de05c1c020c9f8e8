"""Submission files: build, check."""
