"""Many trainings at once, on one machine or on several that share a folder."""
