"""Model cards: what a run, fold or blend is, how good it is, and what it must not be used for: `fer-kit card`."""
