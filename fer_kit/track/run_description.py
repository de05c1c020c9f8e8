"""The W&B run of a fold or blend: name, tags, config, history, pictures, artifacts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fer_kit import metrics
from fer_kit.competition import CLASSES
from fer_kit.data import loading
from fer_kit.errors import FerKitError
from fer_kit.folds import fold_spec
from fer_kit.runs import blend_record, finished_folder, folders
from fer_kit.runs.blend_record import BlendRecord
from fer_kit.runs.predictions import Predictions
from fer_kit.runs.training_record import CONFIG, ENVIRONMENT, read_object, read_result
from fer_kit.track.follow import FACTS, PLACE

if TYPE_CHECKING:
    from wandb import Artifact, Run

SAMPLES_A_CLASS, MISTAKES = 4, 12
HISTORY = {  # names in metrics.jsonl and in W&B; watched rows are part of the training folds, not of the held-out fold
    "epoch": "epoch",
    "lr": "lr",
    "train_loss": "train/loss",
    "train_accuracy": "train/accuracy",
    "watch_loss": "validation/loss",
    "watch_accuracy": "validation/accuracy",
    "sample_accuracy": "shown_only/held_out_sample_accuracy",
    "images_per_second": "images_per_second",
    "seconds": "seconds",
}
OUT_OF_FOLD = {"oof_accuracy": "out_of_fold/accuracy", "oof_log_loss": "out_of_fold/loss"}
OUT_OF_FOLD |= {"log_loss": "out_of_fold/loss"}  # its name in blend.json
OPTIONS_OF_BLEND = (
    *("name", "asked", "method", "pool", "tempered", "learned", "sharpness"),
    *("folds", "config_digest", "folds_digest", "data_digest"),
)
PICTURES = ("correlation.png", "weights.png")  # of a blend


@dataclass(frozen=True)
class ArtifactSpec:
    """The files of an artifact. The same files with the same name are the same version of the artifact."""

    name: str
    kind: str  # "model" or "predictions"
    paths: tuple[Path, ...]
    about: dict[str, Any]


@dataclass(frozen=True)
class RunDescription:
    """The description of a fold or blend for W&B. tags: model type, dataset version, experiment type."""

    folder: Path
    name: str
    group: str
    job_type: str
    tags: tuple[str, str, str]
    config: dict[str, Any]
    result: dict[str, Any]  # result.json or blend.json; empty if not finished
    uses: tuple[ArtifactSpec, ...] = ()
    makes: tuple[ArtifactSpec, ...] = ()


def is_blend(folder: Path) -> bool:
    """Whether `folder` is a blend's: whether its parent folder is `blends`."""
    return folder.absolute().parent.name == folders.BLENDS


def is_finished(folder: Path) -> bool:
    """Whether the finished mark, result.json or blend.json, exists."""
    return (folder / (finished_folder.BLEND if is_blend(folder) else finished_folder.RESULT)).is_file()


def describe(folder: Path) -> RunDescription:
    """Describe the fold or blend in `folder`.

    Raises:
        FerKitError: `folder` is neither, or a fold that is not finished and has no facts.json.
    """
    return _describe_blend(folder) if is_blend(folder) else _describe_fold(folder)


def _describe_fold(folder: Path) -> RunDescription:
    result = read_result(folder / finished_folder.RESULT) if is_finished(folder) else {}
    told = folder / PLACE / FACTS
    facts = read_object(told) if told.is_file() else {}
    if not facts and not result:
        raise FerKitError(f"{folder}: not a finished fold of a run; finish its training first, or train with --wandb")
    config = read_object(folder / CONFIG)
    env = read_object(folder / ENVIRONMENT)
    known = facts | {key: result[key] for key in result if key in facts or not facts}
    fold = folder.name.removeprefix("fold")
    kind = {"all": "full-fit"}.get(fold, "teacher" if "+" in fold else "cross-validation")
    keys = ("run", "fold", "folds", "parameters", "layers", "network", "device")
    about = {key: known[key] for key in (*keys, "config_digest", "folds_digest", "data_digest") if key in known}
    about |= {"computed_in": known["precision"]} if "precision" in known else {}  # the config may say "auto"
    about |= {"commit": env["commit"], "versions": env["versions"], "classes": list(CLASSES)}
    run = folder.absolute().parent.name
    return RunDescription(
        folder=folder,
        name=f"{run} {folder.name.replace('fold', 'fold ')}",
        group=config["recipe"],
        job_type=kind,
        tags=(config["model"], _dataset(known["data_digest"]), "trial" if facts.get("trial") else kind),
        config=config | about,
        result=result,
        makes=_of_fold(folder, result) if result else (),
    )


def _of_fold(folder: Path, result: dict[str, Any]) -> tuple[ArtifactSpec, ...]:
    """The artifacts of a fold: weights, and predictions with their scores."""
    name = f"{result['run']}-{folder.name}"
    about = {key: value for key, value in result.items() if isinstance(value, str | int | float)}
    weights = tuple(folder / file for file in (finished_folder.WEIGHTS, CONFIG))
    return (ArtifactSpec(_safe(f"{name}-model"), "model", weights, about), _predictions(name, folder, about))


def _predictions(name: str, folder: Path, about: dict[str, Any]) -> ArtifactSpec:
    """The artifact of oof.npz (which a full fit does not have) and test.npz."""
    paths = [folder / file for file in (finished_folder.OOF, finished_folder.TEST) if (folder / file).is_file()]
    return ArtifactSpec(_safe(f"{name}-predictions"), "predictions", tuple(paths), about)


def _describe_blend(folder: Path) -> RunDescription:
    record = blend_record.read(folder / finished_folder.BLEND)
    members = {
        member.run: {key: getattr(member, key) for key in ("kind", "recipe", "weight", "temperature", "oof_accuracy")}
        for member in record.members
    }
    config = {key: getattr(record, key) for key in OPTIONS_OF_BLEND} | {"members": members}
    result = {key: value for key, value in record.to_json().items() if value is not None}
    about = {key: value for key, value in result.items() if isinstance(value, str | int | float)}
    return RunDescription(
        folder=folder,
        name=f"blend {folder.absolute().name}",
        group="blend",
        job_type="blend",
        tags=(f"blend-{record.method}", _dataset(str(record.data_digest)), "blend"),
        config=config,
        result=result,
        uses=tuple(_of_members(folder, record)),
        makes=(_predictions(f"blend-{folder.absolute().name}", folder, about),),
    )


def _of_members(folder: Path, record: BlendRecord) -> list[ArtifactSpec]:
    """The artifacts of the members of a blend: folds of runs, other blends, prediction files."""
    bundles = []
    for source in (source for member in record.members for source in member.sources):
        place = folder.absolute().parent.parent / source.path
        if source.kind == "blend":
            bundles.append(_predictions(f"blend-{place.name}", place, {}))
        elif source.kind == "run":
            parts = {path.split("/")[0] for path in source.sha256}
            parts |= {fold_spec.folder_name(fold_spec.ALL)} if record.full_fit else set()
            there = sorted(part for part in parts if (place / part / finished_folder.TEST).is_file())
            bundles += [_predictions(f"{place.name}-{part}", place / part, {}) for part in there]
        else:
            bundles.append(_predictions(f"files-{place.name}", place, {}))
    return bundles


def history_row(record: dict[str, Any]) -> dict[str, Any]:
    """A line of metrics.jsonl with the names of W&B, which groups them into panels."""
    return {HISTORY.get(key, key): value for key, value in record.items()}


def log_results(run: Run, description: RunDescription, data_folder: str | None) -> None:
    """Log scores to the summary, confusion matrix and samples to the history, and files as artifacts."""
    import wandb

    final: dict[str, Any] = {
        new: description.result[old] for old, new in OUT_OF_FOLD.items() if old in description.result
    }
    if (description.folder / finished_folder.OOF).is_file():
        oof = folders.read_oof(description.folder.absolute().parent.parent, description.folder)
        assert oof.labels is not None
        final["confusion_matrix"] = wandb.plot.confusion_matrix(
            y_true=oof.labels.tolist(),
            preds=metrics.predicted(oof.logits).tolist(),
            class_names=list(CLASSES),
            title="Out of fold",
        )
        if (table := _samples(oof, description, data_folder)) is not None:
            final["samples"] = table
    for picture in PICTURES:
        if (description.folder / picture).is_file():
            final[picture.removesuffix(".png")] = wandb.Image(str(description.folder / picture))
    run.log(final, step=max(run.step, description.result.get("epochs_trained", 0) + 1), commit=True)
    numbers = {key: value for key, value in description.result.items() if isinstance(value, int | float)}
    if "epoch" in numbers:  # epoch of the weights; the summary's own "epoch" is the last epoch
        numbers["weights_of_epoch"] = numbers.pop("epoch")
    run.summary.update(numbers)
    for artifact in description.uses:
        _use(run, _artifact(artifact))
    for artifact in description.makes:
        run.log_artifact(_artifact(artifact), aliases=["latest"])


def _samples(oof: Predictions, description: RunDescription, data_folder: str | None) -> Any:
    """A table of faces with their predictions; None, with a warning, if the faces cannot be loaded."""
    import wandb

    try:
        cache = description.folder.absolute().parent.parent / folders.CACHE
        competition = loading.load(
            loading.find(data_folder), cache, description.config["data_digest"], f"{description.folder}"
        )
        loading.check_labels(competition, oof.ids, oof.labels, f"{description.folder}")
    except FerKitError as error:
        wandb.termwarn(f"no sample pictures: {error}")
        return None
    probabilities = metrics.softmax(oof.logits)
    predicted = metrics.predicted(oof.logits)
    table = wandb.Table(columns=["row", "why", "face", "true", "predicted", "right", "probability", *CLASSES])
    for row, why in choose(oof):
        truth = CLASSES[int(competition.train.labels[oof.ids[row]])]
        answer = CLASSES[predicted[row]]
        face = wandb.Image(competition.train.images[oof.ids[row]], caption=f"{truth} → {answer}")
        shares = [round(float(p), 4) for p in probabilities[row]]
        table.add_data(
            int(oof.ids[row]), why, face, truth, answer, truth == answer, float(probabilities[row].max()), *shares
        )
    return table


def choose(oof: Predictions) -> list[tuple[int, str]]:
    """Positions of the sample rows, each with its reason: some of each class, then the most confident mistakes."""
    if oof.labels is None:
        return []
    chosen = []
    for number, name in enumerate(CLASSES):
        rows = np.flatnonzero(oof.labels == number)
        at = np.linspace(0, len(rows) - 1, min(SAMPLES_A_CLASS, len(rows))).round().astype(int)
        chosen += [(int(row), f"some {name}") for row in rows[at]]
    return chosen + [(int(row), "confident mistake") for row in confident_mistakes(oof.logits, oof.labels)[:MISTAKES]]


def confident_mistakes(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions of the wrong rows, those with the highest probability first."""
    wrong = np.flatnonzero(metrics.predicted(logits) != labels)
    return wrong[np.argsort(-metrics.softmax(logits[wrong]).max(axis=1), kind="stable")] if len(wrong) else wrong


def _artifact(spec: ArtifactSpec) -> Artifact:
    """The artifact. Its files are not copied, because a finished folder does not change."""
    import wandb

    artifact = wandb.Artifact(spec.name, spec.kind, metadata=spec.about)
    for path in spec.paths:
        artifact.add_file(str(path), policy="immutable", skip_cache=True)
    return artifact


def _use(run: Run, artifact: Artifact) -> None:
    """Log the artifact as an input of the run. `use_artifact` refuses offline runs, its inner call does not."""
    if run.offline:
        run._log_artifact(artifact, aliases=["latest"], is_user_created=True, use_after_commit=True)
    else:
        run.use_artifact(artifact, aliases=["latest"])


def _dataset(digest: str) -> str:
    return f"fer2013-{digest[:8]}"


def _safe(name: str, longest: int = 128) -> str:
    """`name` with characters replaced that artifact names may not have, and cut to `longest`."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", name)[:longest]
