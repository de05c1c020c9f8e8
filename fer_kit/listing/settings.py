"""`fer-kit settings [NAME]`: each setting with default, range or choices, and what it does.

python -m fer_kit.listing.settings lr
"""

from __future__ import annotations

import argparse
import fnmatch
import itertools
import json
from collections.abc import Iterable, Sequence
from typing import Any

from fer_kit import cli
from fer_kit.config import suggest
from fer_kit.config.settings import REQUIRED, TABLE, Setting
from fer_kit.errors import FerKitError

INTRODUCTION = """\
# Settings

A setting decides a run's numbers. `--set NAME=VALUE` of `fer-kit train` changes it, and
`fer-kit train --recipe NAME --fold 0 --dry-run` shows the values of a recipe. This page is the output of
`fer-kit settings --markdown`.
"""


def build_parser() -> argparse.ArgumentParser:
    """The command line of `python -m fer_kit.listing.settings`."""
    parser = cli.parser(
        "python -m fer_kit.listing.settings",
        "List the settings that --set changes: default, range or choices, when a setting is used, what it does.",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="one setting, or names like this, with * and ?")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="as JSON")
    form.add_argument("--markdown", action="store_true", help="as the page docs/settings.md")
    return parser


def body(args: argparse.Namespace) -> None:
    """Print the list."""
    rows = chosen(args.name)
    if args.json:
        print(json.dumps([record_of(row) for row in rows], indent=2))
    elif args.markdown:
        print(markdown(rows), end="")
    elif len(rows) == 1:
        print("\n".join(details(rows[0])))
    else:
        print("\n".join(listing(rows)))


def chosen(pattern: str | None) -> list[Setting]:
    """The settings that fit `pattern`; all for None.

    Raises:
        FerKitError: none fits.
    """
    found = [row for name, row in TABLE.items() if pattern is None or fnmatch.fnmatchcase(name, pattern)]
    if not found:
        raise FerKitError(f"no setting '{pattern}'{suggest.did_you_mean(str(pattern))}; there are: {', '.join(TABLE)}")
    return found


def default_of(row: Setting) -> str:
    """The default as one types it; `-` where the recipe must give a value."""
    if row.default is REQUIRED:
        return "-"
    return str(row.default).lower() if row.kind is bool else str(row.default)


def allowed(row: Setting) -> str:
    """Range, choices or file option, short."""
    if row.file_option:
        return row.file_option
    if row.choices:
        return ", ".join(row.choices)
    if row.limits is not None:
        return f"{row.limits[0]:g} to {row.limits[1]:g}" if row.kind is float else "{:,} to {:,}".format(*row.limits)
    return "true, false" if row.kind is bool else "text"


def record_of(row: Setting) -> dict[str, Any]:
    """A row as JSON values."""
    return {
        "name": row.name,
        "section": row.section,
        "type": row.kind.__name__,
        "default": None if row.default is REQUIRED else row.default,
        "limits": row.limits,
        "choices": list(row.choices) or None,
        "neutral": row.neutral,
        "used_when": list(row.used_when) or None,
        "file_option": row.file_option or None,
        "about": row.about,
    }


def sections(rows: Iterable[Setting]) -> Iterable[tuple[str, list[Setting]]]:
    """Heading and rows of each section."""
    for section, found in itertools.groupby(rows, key=lambda row: row.section):
        yield section, list(found)


def listing(rows: list[Setting]) -> list[str]:
    """One line a setting, in sections."""
    wide = max(len(row.name) for row in rows)
    lines: list[str] = []
    for section, found in sections(rows):
        lines += [*([""] if lines else []), section]
        for row in found:
            when = f" [used when {row.needed()}]" if row.used_when else ""
            lines.append(f"  {row.name:<{wide}}  {default_of(row) or '(empty)':<13}  {plain(row.about)}{when}")
    return [*lines, "", "After each name its default. `fer-kit settings NAME` shows the range or choices, too."]


def details(row: Setting) -> list[str]:
    """All that the table says of one setting."""
    lines = [row.name, f"  {plain(row.about)}", f"  type      {row.kind.__name__}"]
    lines += [f"  default   {default_of(row) or '(empty)'}", f"  allowed   {allowed(row)}"]
    if row.neutral not in (None, row.default):
        lines.append(f"  off at    {row.neutral}")
    if row.used_when:
        lines.append(f"  used when {row.needed()}")
    return lines


def plain(text: str) -> str:
    """Text without the marks of Markdown."""
    return text.replace("`", "")


def markdown(rows: list[Setting]) -> str:
    """The page docs/settings.md."""
    parts = [INTRODUCTION]
    for section, found in sections(rows):
        parts.append(f"## {section}\n\n| setting | default | allowed | what it does |\n| --- | --- | --- | --- |")
        for row in found:
            when = f" Used when {' or '.join(f'`{one}`' for one in row.used_when)}." if row.used_when else ""
            default = default_of(row)
            shown = "from the recipe" if row.default is REQUIRED else f"`{default}`" if default else "empty"
            limits = f"`{allowed(row)}`" if row.file_option else allowed(row)
            parts.append(f"| `{row.name}` | {shown} | {limits} | {row.about}{when} |")
        parts.append("")
    return "\n".join(parts)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; exit code 0, 2 for a user error."""
    return cli.run(build_parser, body, argv)


if __name__ == "__main__":
    raise SystemExit(main())
