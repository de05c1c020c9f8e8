"""Twins and folds: search for rows of the same photo, deal groups into folds, read and write the fold table."""
