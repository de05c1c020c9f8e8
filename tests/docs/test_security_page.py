"""docs/security.md: each line names the tests that hold it, and they exist."""

from __future__ import annotations

import ast
import re

from tests.docs.pages import ROOT

PAGE = ROOT / "docs/security.md"


def test_each_line_has_a_test():
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ") and "---" not in line]
    lines = [line for line in lines if not line.endswith("| test |")]
    assert len(lines) > 12
    for line in lines:
        tests = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", line.split(" | ")[-1])
        assert tests, f"names no test: {line}"
        for file, name in tests:
            tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
            functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
            assert name in functions, f"{file} has no {name}"
