"""`fer-kit auto`: from the competition's files to a checked submission within a given time."""
