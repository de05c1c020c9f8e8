"""Classify faces in photos, csv files and arrays: `fer-kit classify`, `fer_kit.classify_photos`."""
