"""Batches of an epoch: order, mixing and augmentation on the device, or albumentations in workers."""
