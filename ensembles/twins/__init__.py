"""Train twins of test rows: pairs, label lookup, leaderboard forecast."""
