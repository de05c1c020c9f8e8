"""The words of errors: one line, whatever the exception or the file says."""

from __future__ import annotations

from fer_kit.errors import first_line


def test_first_line_of_an_exception():
    assert first_line(ValueError("no\n such  thing")) == "no such thing"
    assert first_line(KeyError()) == "KeyError"
    assert first_line(RuntimeError("x" * 300), most=10) == "xxxxxxxxx…"
