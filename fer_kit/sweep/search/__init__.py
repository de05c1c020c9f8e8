"""Search for settings: trials of a space, successive halving by epochs, and what the best score is worth."""
