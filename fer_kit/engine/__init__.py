"""The training loop and its parts: loss, optimizer, weight average, views, precision."""
