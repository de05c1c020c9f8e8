"""Test rows whose twins are in the train set: pairs, lookup of labels, leaderboard forecast."""
