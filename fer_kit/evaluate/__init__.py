"""Score runs and blends on their out-of-fold rows."""
