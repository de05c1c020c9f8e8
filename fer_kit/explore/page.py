"""The page of `explore` and the summary that the command prints, from the facts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fer_kit.cli import aligned
from fer_kit.competition import CLASSES
from fer_kit.drawing import html
from fer_kit.explore.pictures import Picture

JSON, PAGE = "explore.json", "explore.html"
STYLE = ".wide th:first-child { position: sticky; left: 0; background: var(--paper); }"  # stays while a table scrolls
NO_FOLDS = "no folds yet, so twins are exact copies only; fer-kit folds finds the others and makes the folds"


def summary_lines(facts: dict[str, Any]) -> list[str]:
    """The summary that the command prints."""
    rows = facts["rows"]
    lines = [f"{name:<20} {value}" for name, value in summary(facts)]
    lines += ["", *aligned(class_table(facts))]
    if facts["folds"] is not None:
        lines += ["", *aligned(fold_table(facts))]
    else:
        lines += ["", f"note: {NO_FOLDS}"]
    return [f"{rows['train']:,} train rows with labels, {rows['test']:,} test rows without", "", *lines]


def summary(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """(name, value as text) of each fact that fits a line."""
    rows, pixels, copies, twins = (facts[key] for key in ("rows", "pixels", "copies", "twins"))
    imbalance, width = facts["imbalance"], facts["image_px"]
    train, test = pixels["train"], pixels["test"]
    return [
        ("images", f"{width[0]}×{width[1]} px, grey, 0 to 255"),
        ("missing values", f"{facts['missing_values']} (files with missing values are refused)"),
        ("imbalance", f"{imbalance['ratio']:.2f} {imbalance['most']} to one {imbalance['least']}"),
        (
            "pixels",
            f"train mean {train['mean']:.2f}, spread {train['std']:.2f} ({train['mean_0_to_1']:.4f}, "
            f"{train['std_0_to_1']:.4f} on 0 to 1); test {test['mean']:.2f}, {test['std']:.2f}",
        ),
        (
            "constant images",
            f"{facts['constant_images']['train']} in train, {facts['constant_images']['test']} in test; nearly so "
            f"(spread under 5): {facts['flat_images']['train']}, {facts['flat_images']['test']}",
        ),
        (
            "exact copies",
            f"{copies['redundant_train_rows']:,} redundant train rows "
            f"({copies['train_rows_with_a_copy']:,} have a copy in train); "
            f"{copies['redundant_test_rows']:,} redundant test rows; "
            f"{_of(copies['test_rows_with_a_train_copy'], rows['test'])} test rows are copies of train rows",
        ),
        (
            "contradicting copies",
            f"{copies['sets_with_different_labels']:,} sets of copies carry different labels "
            f"({copies['rows_in_them']:,} rows)",
        ),
        (
            "twins",
            f"{_of(twins['train_rows_in_them'], rows['train'])} train rows in "
            f"{twins['train_groups_of_two_and_more']:,} groups of at most {twins['largest_group']}; "
            f"{_of(twins['test_rows_with_a_train_twin'], rows['test'])} test rows have a train twin "
            f"({'as in folds.csv' if twins['from_folds'] else 'exact copies only'})",
        ),
        (
            "contradicting twins",
            f"{twins['groups_with_different_labels']:,} groups carry different labels ({twins['rows_in_them']:,} rows)",
        ),
    ]


def class_table(facts: dict[str, Any]) -> list[list[str]]:
    """Rows and share of each class."""
    total = facts["rows"]["train"]
    table = [["class", "rows", "share", "× rarest"]]
    rarest = facts["classes"][facts["imbalance"]["least"]]
    for name, count in facts["classes"].items():
        table.append([name, f"{count:,}", f"{count / total:.1%}", f"{count / rarest:.2f}"])
    return table


def fold_table(facts: dict[str, Any]) -> list[list[str]]:
    """Rows of each fold: to train on, held out, and held out of each class."""
    folds = facts["folds"]
    table = [["fold", "train", "held out", *CLASSES]]
    for number, (train, out) in enumerate(zip(folds["train_rows"], folds["held_out_rows"], strict=True)):
        classes = [f"{count:,}" for count in folds["held_out_classes"][number].values()]
        table.append([str(number), f"{train:,}", f"{out:,}", *classes])
    return table


def page(facts: dict[str, Any], drawn: Sequence[tuple[Picture, bytes, bytes]]) -> str:
    """The page. drawn: each picture with its PNG in light and in dark colours."""
    rows, copies, twins, classes = facts["rows"], facts["copies"], facts["twins"], facts["classes"]
    shown = {picture.file: html.figure(light, dark, picture.alt, picture.caption) for picture, light, dark in drawn}
    clash = shown.get("twins-with-different-labels.png", html.paragraph("No twins carry different labels."))
    largest = max(classes.values())
    parts = [
        html.paragraph("The content of the files, counted from the images and the train labels."),
        html.cards(
            [
                (f"{rows['train']:,}", "train rows"),
                (f"{rows['test']:,}", "test rows"),
                (
                    f"{facts['imbalance']['ratio']:.2f} : 1",
                    f"{facts['imbalance']['most']} to {facts['imbalance']['least']}",
                ),
                (f"{copies['redundant_train_rows']:,}", "redundant train rows"),
                (f"{twins['train_rows_in_them'] / rows['train']:.1%}", "of train rows have a twin in train"),
                (f"{twins['test_rows_with_a_train_twin'] / rows['test']:.1%}", "of test rows have a twin in train"),
            ]
        ),
        html.heading("Facts"),
        html.pairs(summary(facts)),
        html.heading("Classes"),
        html.table(
            "Train rows of each class", *_split(class_table(facts)), [count / largest for count in classes.values()]
        ),
        shown["samples.png"],
        shown["mean-faces.png"],
        html.heading("Pixels"),
        shown["grey-levels.png"],
        html.heading("The same photo twice"),
        html.paragraph(
            "Rows of the same photo (twins) must be in the same fold, since a network that was trained on a row "
            "recognises its twin. Test rows have twins in train too, so leaderboard scores are higher than out-of-fold "
            "scores."
        ),
        clash,
        html.heading("Folds"),
        html.table("Rows of each fold, and held-out rows of each class", *_split(fold_table(facts)))
        if facts["folds"] is not None
        else html.paragraph(f"There are {NO_FOLDS}."),
        html.paragraph(f"Data digest {facts['data_digest'][:12]}; the numbers are in {JSON}.", soft=True),
    ]
    return html.page("The data of the Facial Expression Recognition Challenge", *parts, style=STYLE)


def _of(part: int, whole: int) -> str:
    return f"{part:,} ({part / whole:.1%})"


def _split(table: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    return table[0], table[1:]
