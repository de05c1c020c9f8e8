"""Every reader against a few hundred broken files, always the same ones; `make fuzz` takes 10,000 new ones each."""

from __future__ import annotations

import pytest

from tests.fuzz.__main__ import fuzz  # brings all TARGETS
from tests.fuzz.targets import TARGETS

FILES = 200


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_a_broken_file_is_refused_in_one_line_or_read_rightly(name, tmp_path):
    tally = fuzz(TARGETS[name], FILES, True, tmp_path)
    assert tally.files >= FILES / 2 and tally.refused > 0
