"""Copies of photos: a crop is a crop (the other kinds are checked where the competition plants them)."""

from __future__ import annotations

import numpy as np
import pytest

from fer_kit.synthetic import near_copies


def test_a_cropped_twin_is_a_part_of_its_photo_enlarged() -> None:
    ramp = np.broadcast_to(5 * np.arange(48), (40, 48, 48)).astype(np.uint8)  # grey level = 5 × column
    cropped = near_copies.make(ramp, "crop", np.random.default_rng(0)).astype(float)
    steps = np.diff(cropped[:, 24, 1:-1], axis=1).mean(axis=1) / 5  # source pixels a pixel of the copy
    assert 0.85 < steps.min() < 0.88 and 0.93 < steps.max() < 0.96
    assert np.ptp(cropped[:, :, 24], axis=1).max() == 0  # nothing mixed across rows
    upright = near_copies.make(ramp.transpose(0, 2, 1), "crop", np.random.default_rng(0))
    assert np.ptp(upright[:, 24, :].astype(float), axis=1).max() == 0


def test_an_unknown_kind_of_copy_is_a_bug() -> None:
    with pytest.raises(ValueError, match="'blur' must be one of"):
        near_copies.make(np.zeros((1, 48, 48), np.uint8), "blur", np.random.default_rng(0))
