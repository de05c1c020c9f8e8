"""`fer-kit recipes [PATTERN]`: the recipes with size, time and measured accuracy; names of timm's networks.

python -m fer_kit.listing.recipes 'vgg*'
"""

from __future__ import annotations

import argparse
import fnmatch
import json
from collections.abc import Sequence
from typing import Any

from fer_kit import cli
from fer_kit.config import recipes, recipes_timm
from fer_kit.config.networks import known_cost
from fer_kit.config.results import CPU_FP32_MS, CPU_MS, CPU_MS_ON, ON_SOFT_TARGETS, RESULTS
from fer_kit.errors import FerKitError, did_you_mean

FOLD_ROWS = 22_967  # training rows of FER2013 with one of five folds held out
MOST_BUILT = 12  # networks of timm that are built to count their parameters; each takes about a quarter of a second


def build_parser() -> argparse.ArgumentParser:
    """The command line of `python -m fer_kit.listing.recipes`."""
    parser = cli.parser(
        "python -m fer_kit.listing.recipes",
        "List the recipes: network, size, minutes an epoch and accuracy where they were measured.",
    )
    parser.add_argument(
        "pattern",
        nargs="?",
        metavar="PATTERN",
        help="only names like this, with * and ?; timm/PATTERN lists the networks of timm, e.g. 'timm/*resnet50*'",
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    return parser


def body(args: argparse.Namespace) -> None:
    """Print the list."""
    if args.pattern is not None and args.pattern.startswith(recipes_timm.PREFIX):
        rows = of_timm(args.pattern.removeprefix(recipes_timm.PREFIX))
        lines = timm_lines(rows)
    else:
        rows = ours(args.pattern or "*")
        lines = own_lines(rows)
        if args.pattern is None:
            lines += ready_lines()
    print(json.dumps(rows, indent=2) if args.json else "\n".join(lines))


def ours(pattern: str) -> list[dict[str, Any]]:
    """One record for each recipe that fits `pattern`; None where a value was not measured.

    Raises:
        FerKitError: none fits.
    """
    names = [name for name in recipes.RECIPES if fnmatch.fnmatchcase(name, pattern)]
    if not names:
        hint = did_you_mean(pattern, recipes.RECIPES)
        raise FerKitError(f"no recipe is like '{pattern}'{hint}; there are: {', '.join(recipes.RECIPES)}, timm/NAME")
    return [record_of(name) for name in names]


def record_of(name: str) -> dict[str, Any]:
    """What is known of the recipe `name`."""
    config, result, soft = recipes.RECIPES[name], RESULTS.get(name), ON_SOFT_TARGETS.get(name)
    cost = known_cost(config.model, config.width_mult)
    return {
        "recipe": name,
        "network": config.model,
        "parameters": None if cost is None else cost.parameters,
        "flops": None if cost is None else cost.flops,
        "epochs": config.epochs,
        "cpu_ms_an_image": CPU_MS.get(name),
        "cpu_fp32_ms_an_image": CPU_FP32_MS.get(name),
        "minutes_an_epoch": result and result.minutes_an_epoch,
        "device": result and result.device,
        "oof_accuracy": result and result.oof_accuracy,
        "folds": result and result.folds,
        "epochs_trained": result and result.epochs,
        "oof_accuracy_on_soft_targets": soft and soft.oof_accuracy,
        "folds_on_soft_targets": soft and soft.folds,
    }


def own_lines(rows: list[dict[str, Any]]) -> list[str]:
    """The records as a table, with notes."""
    head = [
        "recipe",
        "network",
        "parameters",
        "GFLOPs",
        "epochs",
        "CPU ms",
        "fp32 ms",
        "min an epoch",
        "out of fold",
        "folds",
        "trained",
    ]
    table = [head]
    for row in rows:
        cells = [
            row["recipe"],
            row["network"],
            "-" if row["parameters"] is None else f"{row['parameters'] / 1e6:.2f} M",
            "-" if row["flops"] is None else f"{row['flops'] / 1e9:.3f}",
            f"{row['epochs']}",
            milliseconds(row["cpu_ms_an_image"]),
            milliseconds(row["cpu_fp32_ms_an_image"]),
            "-" if row["minutes_an_epoch"] is None else f"{row['minutes_an_epoch']:.2f}",
            "-" if row["oof_accuracy"] is None else f"{row['oof_accuracy']:.2%}",
            "-" if row["folds"] is None else f"{row['folds']}",
            "-" if row["epochs_trained"] is None else f"{row['epochs_trained']:g}",
        ]
        table.append(cells)
    notes = ["GFLOPs: one image, one view, 2 for each multiply-add. epochs: the recipe's; some recipes stop early."]
    if any(row["cpu_ms_an_image"] for row in rows):
        notes.append(f"CPU ms: of a training image on {CPU_MS_ON}. fp32 ms: where there is AVX2 alone, without bf16.")
    if any(row["folds"] for row in rows):
        notes.append("Out of fold: on FER2013, mean over `folds` of 5 folds, after `trained` epochs on average.")
    if soft := [row for row in rows if row["folds_on_soft_targets"]]:
        told = (f"{row['recipe']} {row['oof_accuracy_on_soft_targets']:.2%} ({folds_of(row)})" for row in soft)
        notes.append(f"On soft targets made from earlier runs (docs/recipes.md), out of fold: {', '.join(told)}.")
    for device in dict.fromkeys(row["device"] for row in rows if row["device"]):
        notes.append(f"Minutes on {device}: {', '.join(row['recipe'] for row in rows if row['device'] == device)}.")
    return [*cli.aligned(table, left=(0, 1)), "", *notes]


def folds_of(row: dict[str, Any]) -> str:
    """`1 fold` or `5 folds`: on how many folds the result on soft targets was measured."""
    count = row["folds_on_soft_targets"]
    return f"{count} fold{'' if count == 1 else 's'}"


def milliseconds(value: float | None) -> str:
    """`0.915`, `94.7` or `1,700`; `-` if the time was not measured."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def ready_lines() -> list[str]:
    """The ready recipes of timm's networks as a table, and how to come to the others."""
    table = [["to fine-tune", "epochs", "CPU ms", "days of a CPU thread"]]
    for network in recipes_timm.READY:
        name = f"{recipes_timm.PREFIX}{network}"
        config, found = recipes.get(name), CPU_MS.get(name)
        days = found and found * config.epochs * FOLD_ROWS / 1000 / 86_400
        table.append([name, f"{config.epochs}", milliseconds(found), f"{days:.2f}" if days else "-"])
    return [
        "",
        *cli.aligned(table),
        "",
        f"days: CPU ms × epochs × {FOLD_ROWS:,} rows of a fold. Any other network of timm is a recipe, too: timm/NAME;",
        "'timm/*resnet*' lists names.",
    ]


def of_timm(pattern: str) -> list[dict[str, Any]]:
    """timm's networks that fit `pattern`; with parameters as we build them where there are few.

    Raises:
        FerKitError: none fits.
    """
    from fer_kit.models import cost  # brings torch and timm, which takes seconds

    names = cost.timm_names(pattern)
    if not names:
        raise FerKitError(f"timm has no network like '{pattern}'; use * and ?, e.g. 'timm/*resnet50*'")
    counted = len(names) <= MOST_BUILT
    rows = []
    for name in names:
        recipe = recipes_timm.get(f"{recipes_timm.PREFIX}{name}")
        found = cost.measure(recipe) if counted else None
        rows.append(
            {
                "recipe": f"{recipes_timm.PREFIX}{name}",
                "parameters": found and found.parameters,
                "flops": found and found.flops,
            }
        )
    return rows


def timm_lines(rows: list[dict[str, Any]]) -> list[str]:
    """The records as a table; as names alone if nothing was counted."""
    if rows[0]["parameters"] is None:
        few = f"{len(rows)} networks; parameters are counted for {MOST_BUILT} or fewer"
        return [*(row["recipe"] for row in rows), "", few]
    table = [["recipe", "parameters", "GFLOPs"]]
    table += [[row["recipe"], f"{row['parameters'] / 1e6:.2f} M", f"{row['flops'] / 1e9:.3f}"] for row in rows]
    return [*cli.aligned(table), "", "GFLOPs: one image at the network's own size, 2 for each multiply-add."]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; exit code 0, 2 for a user error."""
    return cli.run(build_parser, body, argv)


if __name__ == "__main__":
    raise SystemExit(main())
