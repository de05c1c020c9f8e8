"""Blending methods and the cross-fitting that scores them."""
