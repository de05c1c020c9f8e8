"""Class activation and attention maps of held-out faces."""
