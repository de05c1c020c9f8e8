"""Train one fold: request, rows, epochs, checkpoints and log."""
