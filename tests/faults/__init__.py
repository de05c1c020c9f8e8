"""Processes killed at every moment that matters, and what must hold then: `make faults`."""
