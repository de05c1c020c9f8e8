"""Batches of an epoch: order of rows, augmentation on the device or by albumentations in workers, mixup and cutmix."""
