"""Pretrained weights: find the source, read the file, fit the tensors, start from them."""
