"""One page on all runs and blends."""
