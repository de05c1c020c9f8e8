"""The blend command as tests call it."""

from __future__ import annotations

import re

from ensembles import blend

PLAIN = ("--method", "mean", "--temperatures", "none", "--no-pictures")  # nothing fitted: quick, and known by hand


def run(capsys, *argv, options=PLAIN):
    """Exit code, stdout and stderr of `python -m ensembles.blend … --details`."""
    code = blend.main([*argv, *options, "--details"])
    return code, *capsys.readouterr()


def refused(capsys, message, *argv):
    code, out, error = run(capsys, *argv)
    assert code == 2 and out == ""
    assert re.match("error: " + re.escape(message), error), error
    assert error.count("\n") == 1
