"""The sheets of `explain`: choose faces, draw their maps with captions, write the files."""

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
from fer_kit.config.train_config import TrainConfig
from fer_kit.data import loading
from fer_kit.drawing import pictures
from fer_kit.errors import FerKitError
from fer_kit.explain import overlay
from fer_kit.explain.maps import Layer, Maps, attention, choose_layer, class_maps, has_attention
from fer_kit.files import atomic
from fer_kit.folds import fold_spec
from fer_kit.models import weights
from fer_kit.runs import finished_folder, folders, lookup
from fer_kit.runs.training_record import read_config

RIGHT, WRONG, ROWS, AVERAGE = "right.png", "wrong.png", "rows.png", "classes.png"
SPATIAL, CHANNEL, CHANNELS = "attention-spatial.png", "attention-channel.png", "attention-channels-by-class.png"
JSON = "explain.json"
FILES = (JSON, RIGHT, WRONG, ROWS, AVERAGE, SPATIAL, CHANNEL, CHANNELS)  # every file of `write`


@dataclass(frozen=True, eq=False)
class Subject:
    """A finished fold: its network and its N held-out rows.

    ids, labels, predicted: int64 (N,). images: uint8 (N, 48, 48). probability: float64 (N, 7), as in oof.npz.
    """

    name: str
    net: nn.Module
    config: TrainConfig
    ids: NDArray[np.int64]
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    probability: NDArray[np.float64]


@dataclass(frozen=True)
class ExplainOptions:
    """The options of the command.

    rows: ids of further rows to show. faces: number of faces of each class on a sheet. average: maximal number of faces
    of each class in its average map. method, layer: see `maps.class_maps` and `maps.choose_layer`.
    """

    rows: Sequence[int] = field(default_factory=list)
    faces: int = 4
    average: int = 100
    method: str = "hirescam"
    layer: str | None = None


def load(runs_dir: Path, run: str, fold: fold_spec.Fold, data_folder: str | None) -> Subject:
    """Load the network of a finished fold and its held-out rows.

    Raises:
        FerKitError: there is no such run or fold, or the fold is not finished, has no held-out rows, or was trained on
            other data.
    """
    found = lookup.find_run(runs_dir, run)
    folder = folders.fold_folder(runs_dir, run, fold)
    if not finished_folder.is_finished(folder):
        there = [one.folder.name for one in found.folds() if one.finished]
        raise FerKitError(f"{folder} is not a finished fold; finished are: {', '.join(there) or 'none'}")
    if not fold_spec.left_out(fold):
        raise FerKitError(
            f"{folder} was trained on all rows and has no held-out faces; give the fold of a run as --fold"
        )
    settings = read_config(folder)
    net = models.build(settings)
    finished_folder.check_weights(folder)
    weights.load_weights(folder / finished_folder.WEIGHTS, net)
    net.eval()
    oof = folders.read_oof(runs_dir, folder)
    competition = loading.load(
        loading.find(data_folder), runs_dir / folders.CACHE, oof.meta["data_digest"], f"{folder}"
    )
    loading.check_labels(competition, oof.ids, oof.labels, f"{folder}")
    return Subject(
        name=f"{run} {fold_spec.in_words(fold)}",
        net=net,
        config=settings,
        ids=oof.ids,
        images=np.array(competition.train.images[oof.ids]),
        labels=np.array(competition.train.labels[oof.ids]),
        predicted=metrics.predicted(oof.logits),
        probability=metrics.softmax(oof.logits),
    )


def write(subject: Subject, out: Path, options: ExplainOptions) -> Iterator[str]:
    """Write all sheets into `out`, in place of the files of an earlier call; yields the lines to print."""
    layer = choose_layer(subject.net, options.layer)
    maker = Maker(subject, layer, options.method)
    requested = _positions(subject, options.rows)
    for name in FILES:  # sheets of other rows or another method would look like those of this call
        (out / name).unlink(missing_ok=True)
    yield f"{subject.name}: {options.method} at layer '{layer.name}', a map of {layer.side[0]}×{layer.side[1]}"
    about: dict[str, Any] = {"run": subject.name, "method": options.method, "layer": layer.name, "side": layer.side}

    right, wrong = chosen(subject, True, options.faces), chosen(subject, False, options.faces)
    average = [
        spread_out(
            _by_confidence(subject, np.flatnonzero((subject.labels == k) & (subject.predicted == k))), options.average
        )
        for k in range(len(CLASSES))
    ]
    pairs = sum(map(len, right)) + 2 * sum(map(len, wrong)) + sum(map(len, average)) + 2 * len(requested)
    with tqdm(total=pairs, unit=" maps", leave=False, disable=None) as bar:
        maker.on_batch = bar.update
        titles = {RIGHT: "correct predictions", WRONG: "wrong predictions: maps of the predicted and the true class"}
        for name, rows in ((RIGHT, right), (WRONG, wrong)):
            about[name] = {CLASSES[k]: subject.ids[rows[k]].tolist() for k in range(len(CLASSES))}
            if not any(map(len, rows)):
                yield f"no {name}: there are no {titles[name].partition(':')[0]}"
                continue
            pictures.save(prediction_sheet(maker, rows, titles[name]), out / name)
            yield f"wrote {out / name}"
        if len(requested):
            cells = [("", maker.cells(row)) for row in requested]
            pictures.save(overlay.sheet(cells, f"{subject.name}, rows of --rows"), out / ROWS)
            yield f"wrote {out / ROWS}"
        means, faces = maker.averages(average)
    about["light"] = {CLASSES[k]: overlay.shares(means[k]) for k in range(len(CLASSES)) if len(average[k])}
    about["light_if_even"] = overlay.even_shares()
    about["averaged"] = {CLASSES[k]: len(average[k]) for k in range(len(CLASSES))}
    if any(map(len, average)):
        pictures.save(average_sheet(subject, means, faces, [len(rows) for rows in average]), out / AVERAGE)
        yield f"wrote {out / AVERAGE}"
    else:
        yield "no average maps: no held-out row is predicted correctly"
    if has_attention(subject.net):
        yield from write_attention(subject, right, average, out)
    atomic.write_json(out / JSON, about)
    if about["light"]:
        yield from light_table(about["light"], about["light_if_even"])


class Maker:
    """Computes the maps of a network, and the pictures of a face for a sheet."""

    def __init__(self, subject: Subject, layer: Layer, method: str) -> None:
        self.subject, self.layer, self.method = subject, layer, method
        self.on_batch: Any = lambda images: None

    def maps(self, rows: NDArray[np.int64], classes: NDArray[np.int64]) -> Maps:
        """Maps float32 (N, 48, 48) of held-out rows int64 (N,) for classes int64 (N,)."""
        views, net = self.subject.config.views, self.subject.net
        images = self.subject.images[rows]
        return class_maps(net, self.layer, images, classes, views, self.method, self.on_batch)

    def cells(self, row: int) -> list[tuple[NDArray[np.uint8], str]]:
        """The face and the map of the predicted class; for a wrong prediction also the map of the true class."""
        subject, truth, predicted = self.subject, int(self.subject.labels[row]), int(self.subject.predicted[row])
        classes = np.array([predicted] if predicted == truth else [predicted, truth])
        rows = np.full(len(classes), row)
        maps = self.maps(rows, classes)
        lit = overlay.lit(subject.images[rows], maps)
        shares = [f"{subject.probability[row, k]:.0%}" for k in classes]
        below = ["" if predicted == truth else "predicted class", "true class"]
        below = [words if found.any() else "empty map" for words, found in zip(below, maps, strict=False)]
        notes = [f"→ {CLASSES[predicted]} {shares[0]}\n{below[0]}"]
        notes += [f"{CLASSES[truth]} {share}\n{below[1]}" for share in shares[1:]]
        first = f"{CLASSES[truth]}\nrow {subject.ids[row]}"
        shown = list(zip(lit, notes, strict=True))
        return [(overlay.bare(subject.images[[row]])[0], first), *shown]

    def averages(self, rows: Sequence[NDArray[np.int64]]) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
        """Mean map and mean face of each class, both (7, 48, 48). The map of each face is scaled to sum to 1."""
        means, faces = np.zeros((len(rows), 48, 48)), np.zeros((len(rows), 48, 48), np.uint8)
        for k, chosen in enumerate(rows):
            if len(chosen):
                maps = self.maps(chosen, np.full(len(chosen), k)).astype(np.float64)
                sums = maps.sum(axis=(1, 2), keepdims=True)
                means[k] = (maps / np.maximum(sums, 1e-12)).mean(axis=0)
                faces[k] = self.subject.images[chosen].mean(axis=0).round()
        return means, faces


def chosen(subject: Subject, right: bool, count: int) -> list[NDArray[np.int64]]:
    """For each true class, `count` correct or wrong predictions, evenly spaced in confidence, highest first."""
    hit = subject.predicted == subject.labels
    return [
        spread_out(_by_confidence(subject, np.flatnonzero((subject.labels == k) & (hit == right))), count)
        for k in range(len(CLASSES))
    ]


def spread_out(rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """`count` of the rows, evenly spaced and including the first; all rows if there are fewer."""
    if len(rows) <= count:
        return rows
    return rows[np.linspace(0, len(rows) - 1, count).round().astype(int)]


def prediction_sheet(maker: Maker, rows: Sequence[NDArray[np.int64]], title: str) -> Any:
    """A line for each class that has rows; the title names the other classes."""
    cells = [(CLASSES[k], [cell for row in rows[k] for cell in maker.cells(row)]) for k in range(len(CLASSES))]
    none = ", ".join(name for name, found in cells if not found)
    named = f"{maker.subject.name}, {title}" + (f"; none of {none}" if none else "")
    return overlay.sheet([line for line in cells if line[1]], named)


def average_sheet(subject: Subject, means: NDArray[np.float64], faces: NDArray[np.uint8], counts: Sequence[int]) -> Any:
    """Mean map on the mean face of each class, and below it the part above the mean of all classes."""
    there = [k for k in range(len(CLASSES)) if counts[k]]
    top = float(means[there].max())
    overall = means[there].mean(axis=0)
    more = np.maximum(means - overall, 0)
    lit = overlay.lit(faces, means, top)
    special = overlay.lit(faces, more, float(more[there].max()))
    rows = [
        (
            "mean face",
            [(overlay.bare(faces[[k]])[0], f"{CLASSES[k]}\n{counts[k]} face{'s' * (counts[k] != 1)}") for k in there],
        ),
        ("mean map", [(lit[k], overlay.strongest_band(means[k])) for k in there]),
        ("above others", [(special[k], "") for k in there]),
    ]
    return overlay.sheet(rows, f"{subject.name}, average map of the correct predictions of each class")


def write_attention(
    subject: Subject, right: Sequence[NDArray[np.int64]], average: Sequence[NDArray[np.int64]], out: Path
) -> Iterator[str]:
    """Spatial and channel attention for faces of the sheet of correct predictions; channel attention by class."""
    rows = np.array([group[0] for group in right if len(group)], np.int64)
    if not len(rows):
        return
    faces = subject.images[rows]
    stages = attention(subject.net, faces)
    names = [f"{CLASSES[subject.labels[row]]}\nrow {subject.ids[row]}" for row in rows]
    first = ("face", [(face, name) for face, name in zip(overlay.bare(faces), names, strict=True)])
    for name, title, kind in (
        (
            SPATIAL,
            "spatial attention, each map from its lowest to its highest weight",
            "spatial",
        ),
        (CHANNEL, "channel attention: activation of the channels with the largest weights in each stage", "strongest"),
    ):
        sheet = [first]
        for number, stage in enumerate(stages):
            maps = getattr(stage, kind)
            if maps is not None:
                low, high = maps.min(axis=(1, 2), keepdims=True), maps.max(axis=(1, 2))
                lit = overlay.lit(faces, maps - low, high - low[:, 0, 0])
                texts = [f"{a:.2f} to {b:.2f}" for a, b in zip(low[:, 0, 0], high, strict=True)]
                sheet.append((f"stage {number + 1}", list(zip(lit, texts, strict=True))))
        if len(sheet) > 1:
            pictures.save(overlay.sheet(sheet, f"{subject.name}, {title}"), out / name)
            yield f"wrote {out / name}"
    there = [k for k in range(len(CLASSES)) if len(average[k])]
    if len(there) > 1:  # classes without correct predictions have no faces to average
        by_class = [attention(subject.net, subject.images[average[k]]) for k in there]
        weights = [
            (f"stage {n + 1}", np.stack([of[n].channel.mean(axis=0) for of in by_class]))  # type: ignore[union-attr]
            for n in range(len(stages))
            if stages[n].channel is not None
        ]
        title = f"{subject.name}, channel attention of each class minus the mean of the classes shown"
        pictures.save(overlay.channels(weights, [CLASSES[k] for k in there], title), out / CHANNELS)
        yield f"wrote {out / CHANNELS}"


def light_table(light: dict[str, dict[str, float]], even: dict[str, float]) -> list[str]:
    """The table of shares as lines to print."""
    from fer_kit.cli import aligned

    head = ["share of the map on", *even]
    rows = [[name, *(f"{share:.0%}" for share in shares.values())] for name, shares in light.items()]
    return ["", *aligned([head, *rows, ["(an even map)", *(f"{share:.0%}" for share in even.values())]])]


def _positions(subject: Subject, ids: Sequence[int]) -> NDArray[np.int64]:
    """Positions of the ids of --rows."""
    for wanted in ids:
        if wanted not in subject.ids:
            raise FerKitError(
                f"--rows {wanted}: not a held-out row of {subject.name}; allowed are its {len(subject.ids):,} held-out "
                f"rows, e.g. {', '.join(map(str, subject.ids[:3]))}"
            )
    return np.searchsorted(subject.ids, np.array(ids, np.int64))


def _by_confidence(subject: Subject, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    return rows[np.argsort(-subject.probability[rows].max(axis=1), kind="stable")]
