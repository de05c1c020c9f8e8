"""What decides a run's numbers: the settings, the named recipes, the cost of each network."""
