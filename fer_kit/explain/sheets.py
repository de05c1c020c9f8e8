"""The sheets of `explain`: which faces to show, what stands below them, and the files they become."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from fer_kit import metrics, models
from fer_kit.competition import CLASSES
from fer_kit.config import train_config as config
from fer_kit.data import loading
from fer_kit.drawing import pictures
from fer_kit.errors import FerKitError
from fer_kit.explain import maps as explain_maps
from fer_kit.explain import overlay as draw
from fer_kit.files import atomic
from fer_kit.folds import fold_spec
from fer_kit.models import weights
from fer_kit.runs import folders as run_folders
from fer_kit.runs import lookup, predictions

RIGHT, WRONG, ROWS, AVERAGE = "right.png", "wrong.png", "rows.png", "classes.png"
SPATIAL, CHANNEL, CHANNELS = "attention-spatial.png", "attention-channel.png", "attention-channels-by-class.png"
JSON = "explain.json"
FILES = (JSON, RIGHT, WRONG, ROWS, AVERAGE, SPATIAL, CHANNEL, CHANNELS)  # all that `write` may leave


@dataclass(frozen=True, eq=False)
class Subject:
    """A finished fold with what it left out. ids, labels, said: int64 (N,); images: uint8 (N, 48, 48);
    probability: float64 (N, 7), as in oof.npz.
    """

    name: str
    net: nn.Module
    config: config.TrainConfig
    ids: NDArray[np.int64]
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    said: NDArray[np.int64]
    probability: NDArray[np.float64]


@dataclass(frozen=True)
class Wish:
    """What to show. rows: ids; faces: of a class on a sheet; average: of a class in the average map, at most."""

    rows: Sequence[int] = field(default_factory=list)
    faces: int = 4
    average: int = 100
    method: str = "hirescam"
    layer: str | None = None


def load(runs_dir: Path, run: str, fold: fold_spec.Fold, data_folder: str | None) -> Subject:
    """The network of a finished fold and the rows that it never saw.

    Raises:
        FerKitError: no such run or fold, not finished, without held-out rows, or trained on other data.
    """
    found = lookup.find_run(runs_dir, run)
    folder = run_folders.fold_folder(runs_dir, run, fold)
    if not run_folders.is_finished(folder):
        there = [one.folder.name for one in found.folds() if one.finished]
        raise FerKitError(f"{folder} is not a finished fold; finished are: {', '.join(there) or 'none'}")
    if not fold_spec.left_out(fold):
        raise FerKitError(f"{folder} was trained on every row, so there is no face it never saw; explain a fold")
    settings = config.from_json(atomic.read_json(folder / "config.json"), f"{folder / 'config.json'}")
    net = models.build(settings)
    weights.load_weights(folder / "model.safetensors", net)
    net.eval()
    oof = predictions.read(folder / run_folders.OOF)
    competition = loading.load(
        loading.find(data_folder), runs_dir / run_folders.CACHE, oof.meta["data_digest"], f"{folder}"
    )
    return Subject(
        name=f"{run} {fold_spec.in_words(fold)}",
        net=net,
        config=settings,
        ids=oof.ids,
        images=np.array(competition.train.images[oof.ids]),
        labels=np.array(competition.train.labels[oof.ids]),
        said=metrics.predicted(oof.logits),
        probability=metrics.softmax(oof.logits),
    )


def write(subject: Subject, out: Path, wish: Wish) -> Iterator[str]:
    """Write every sheet into `out`, in place of all that an earlier call left there; yields the lines to tell."""
    layer = explain_maps.choose_layer(subject.net, wish.layer)
    maker = Maker(subject, layer, wish.method)
    asked = _asked(subject, wish.rows)
    for name in FILES:  # sheets of other rows or by another method would pass for this call's
        (out / name).unlink(missing_ok=True)
    yield f"{subject.name}: {wish.method} at layer '{layer.name}', a map of {layer.side[0]}×{layer.side[1]}"
    about: dict[str, Any] = {"run": subject.name, "method": wish.method, "layer": layer.name, "side": layer.side}

    right, wrong = chosen(subject, True, wish.faces), chosen(subject, False, wish.faces)
    average = [
        spread_out(_surest_first(subject, np.flatnonzero((subject.labels == k) & (subject.said == k))), wish.average)
        for k in range(len(CLASSES))
    ]
    pairs = sum(map(len, right)) + 2 * sum(map(len, wrong)) + sum(map(len, average)) + 2 * len(asked)
    with tqdm(total=pairs, unit=" maps", leave=False, disable=None) as bar:
        maker.on_batch = bar.update
        titles = {RIGHT: "right answers", WRONG: "wrong answers: what spoke for the answer, and what for the truth"}
        for name, rows in ((RIGHT, right), (WRONG, wrong)):
            about[name] = {CLASSES[k]: subject.ids[rows[k]].tolist() for k in range(len(CLASSES))}
            if not any(map(len, rows)):
                yield f"no {name}: there are no {titles[name].partition(':')[0]}"
                continue
            pictures.save(answer_sheet(maker, rows, titles[name]), out / name)
            yield f"wrote {out / name}"
        if len(asked):
            cells = [("", maker.cells(row)) for row in asked]
            pictures.save(draw.sheet(cells, f"{subject.name}, rows asked for"), out / ROWS)
            yield f"wrote {out / ROWS}"
        means, faces = maker.averages(average)
    about["light"] = {CLASSES[k]: draw.shares(means[k]) for k in range(len(CLASSES)) if len(average[k])}
    about["light_if_even"] = draw.even_shares()
    about["averaged"] = {CLASSES[k]: len(average[k]) for k in range(len(CLASSES))}
    if any(map(len, average)):
        pictures.save(average_sheet(subject, means, faces, [len(rows) for rows in average]), out / AVERAGE)
        yield f"wrote {out / AVERAGE}"
    else:
        yield "no average maps: not one held-out row is answered right"
    if explain_maps.has_attention(subject.net):
        yield from write_attention(subject, right, average, out)
    atomic.write_json(out / JSON, about)
    if about["light"]:
        yield from light_table(about["light"], about["light_if_even"])


class Maker:
    """Makes maps of one network and the pictures of a face on a sheet."""

    def __init__(self, subject: Subject, layer: explain_maps.Layer, method: str) -> None:
        self.subject, self.layer, self.method = subject, layer, method
        self.on_batch: Any = lambda images: None

    def maps(self, rows: NDArray[np.int64], classes: NDArray[np.int64]) -> explain_maps.Maps:
        """Maps (N, 48, 48) of held-out rows for one class each."""
        views, net = self.subject.config.views, self.subject.net
        images = self.subject.images[rows]
        return explain_maps.class_maps(net, self.layer, images, classes, views, self.method, self.on_batch)

    def cells(self, row: int) -> list[tuple[NDArray[np.uint8], str]]:
        """The face, and lit for the answer; where the answer is wrong, lit for the truth too."""
        subject, truth, said = self.subject, int(self.subject.labels[row]), int(self.subject.said[row])
        classes = np.array([said] if said == truth else [said, truth])
        rows = np.full(len(classes), row)
        maps = self.maps(rows, classes)
        lit = draw.lit(subject.images[rows], maps)
        odds = [f"{subject.probability[row, k]:.0%}" for k in classes]
        below = ["" if said == truth else "for the answer", "for the truth"]
        below = [words if found.any() else "nothing for it" for words, found in zip(below, maps, strict=False)]
        notes = [f"→ {CLASSES[said]} {odds[0]}\n{below[0]}"]
        notes += [f"{CLASSES[truth]} {odd}\n{below[1]}" for odd in odds[1:]]
        first = f"{CLASSES[truth]}\nrow {subject.ids[row]}"
        shown = list(zip(lit, notes, strict=True))
        return [(draw.bare(subject.images[[row]])[0], first), *shown]

    def averages(self, rows: Sequence[NDArray[np.int64]]) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
        """Mean map and mean face of each class, (7, 48, 48) both; every face counts the same: its map sums to 1."""
        means, faces = np.zeros((len(rows), 48, 48)), np.zeros((len(rows), 48, 48), np.uint8)
        for k, chosen in enumerate(rows):
            if len(chosen):
                maps = self.maps(chosen, np.full(len(chosen), k)).astype(np.float64)
                sums = maps.sum(axis=(1, 2), keepdims=True)
                means[k] = (maps / np.maximum(sums, 1e-12)).mean(axis=0)
                faces[k] = self.subject.images[chosen].mean(axis=0).round()
        return means, faces


def chosen(subject: Subject, right: bool, count: int) -> list[NDArray[np.int64]]:
    """Of each true class, `count` rows answered right or wrong: from the surest to the least sure in even steps."""
    hit = subject.said == subject.labels
    return [
        spread_out(_surest_first(subject, np.flatnonzero((subject.labels == k) & (hit == right))), count)
        for k in range(len(CLASSES))
    ]


def spread_out(rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """`count` of the rows at even distances, the first always among them; all where there are fewer."""
    if len(rows) <= count:
        return rows
    return rows[np.linspace(0, len(rows) - 1, count).round().astype(int)]


def answer_sheet(maker: Maker, rows: Sequence[NDArray[np.int64]], title: str) -> Any:
    """A line for each class that has any of these rows; the title names the classes that have none."""
    cells = [(CLASSES[k], [cell for row in rows[k] for cell in maker.cells(row)]) for k in range(len(CLASSES))]
    none = ", ".join(name for name, found in cells if not found)
    named = f"{maker.subject.name}, {title}" + (f"; none of {none}" if none else "")
    return draw.sheet([line for line in cells if line[1]], named)


def average_sheet(subject: Subject, means: NDArray[np.float64], faces: NDArray[np.uint8], counts: Sequence[int]) -> Any:
    """Mean map on the mean face of each class, and below it only what is above the mean over the classes."""
    there = [k for k in range(len(CLASSES)) if counts[k]]
    top = float(means[there].max())
    overall = means[there].mean(axis=0)
    more = np.maximum(means - overall, 0)
    lit = draw.lit(faces, means, top)
    special = draw.lit(faces, more, float(more[there].max()))
    rows = [
        (
            "mean face",
            [(draw.bare(faces[[k]])[0], f"{CLASSES[k]}\n{counts[k]} face{'s' * (counts[k] != 1)}") for k in there],
        ),
        ("mean map", [(lit[k], draw.strongest_band(means[k])) for k in there]),
        ("above others", [(special[k], "") for k in there]),
    ]
    return draw.sheet(rows, f"{subject.name}, average map of the right answers of each class")


def write_attention(
    subject: Subject, right: Sequence[NDArray[np.int64]], average: Sequence[NDArray[np.int64]], out: Path
) -> Iterator[str]:
    """Spatial and channel attention over the same faces as on the sheet of right answers; channels by class."""
    rows = np.array([group[0] for group in right if len(group)], np.int64)
    if not len(rows):
        return
    faces = subject.images[rows]
    stages = explain_maps.attention(subject.net, faces)
    names = [f"{CLASSES[subject.labels[row]]}\nrow {subject.ids[row]}" for row in rows]
    first = ("face", [(face, name) for face, name in zip(draw.bare(faces), names, strict=True)])
    for name, title, kind in (
        (
            SPATIAL,
            "spatial attention, each map from its lowest to its highest weight",
            "spatial",
        ),
        (CHANNEL, "channel attention: what the most opened channels of each stage see", "strongest"),
    ):
        sheet = [first]
        for number, stage in enumerate(stages):
            maps = getattr(stage, kind)
            if maps is not None:
                low, high = maps.min(axis=(1, 2), keepdims=True), maps.max(axis=(1, 2))
                lit = draw.lit(faces, maps - low, high - low[:, 0, 0])
                texts = [f"{a:.2f} to {b:.2f}" for a, b in zip(low[:, 0, 0], high, strict=True)]
                sheet.append((f"stage {number + 1}", list(zip(lit, texts, strict=True))))
        if len(sheet) > 1:
            pictures.save(draw.sheet(sheet, f"{subject.name}, {title}"), out / name)
            yield f"wrote {out / name}"
    there = [k for k in range(len(CLASSES)) if len(average[k])]
    if len(there) > 1:  # of classes that are never answered right there is nothing to show
        by_class = [explain_maps.attention(subject.net, subject.images[average[k]]) for k in there]
        weights = [
            (f"stage {n + 1}", np.stack([of[n].channel.mean(axis=0) for of in by_class]))  # type: ignore[union-attr]
            for n in range(len(stages))
            if stages[n].channel is not None
        ]
        title = f"{subject.name}, channel attention of each class against the mean of those shown"
        pictures.save(draw.channels(weights, [CLASSES[k] for k in there], title), out / CHANNELS)
        yield f"wrote {out / CHANNELS}"


def light_table(light: dict[str, dict[str, float]], even: dict[str, float]) -> list[str]:
    """In words where the light falls."""
    from fer_kit.cli import aligned

    head = ["share of the light on", *even]
    rows = [[name, *(f"{share:.0%}" for share in shares.values())] for name, shares in light.items()]
    return ["", *aligned([head, *rows, ["(an even light)", *(f"{share:.0%}" for share in even.values())]])]


def _asked(subject: Subject, ids: Sequence[int]) -> NDArray[np.int64]:
    """Positions of the ids asked for."""
    for wanted in ids:
        if wanted not in subject.ids:
            raise FerKitError(
                f"--rows {wanted}: not held out by {subject.name}, whose network was trained on it or never predicted "
                f"it; held out are {len(subject.ids):,} rows such as {', '.join(map(str, subject.ids[:3]))}"
            )
    return np.searchsorted(subject.ids, np.array(ids, np.int64))


def _surest_first(subject: Subject, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    return rows[np.argsort(-subject.probability[rows].max(axis=1), kind="stable")]
