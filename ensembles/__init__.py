"""Blending of out-of-fold predictions; meets training and submitting in files only."""
