"""The training loop and its parts: loss, optimizer, weight average, test-time views, device and precision."""
