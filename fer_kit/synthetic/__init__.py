"""A drawn competition to try everything on."""
