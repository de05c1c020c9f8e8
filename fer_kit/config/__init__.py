"""What decides a run's numbers: the table of settings, the table of networks, the recipes and their results."""
