"""Run folders, predictions and soft targets: the files that commands hand to each other."""
