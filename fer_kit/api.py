"""The Python API for notebooks and scripts: data, folds, out-of-fold predictions, models and blends.

`fer_kit.train` is in `fer_kit.train.call`. The functions read and write the same files as the commands.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fer_kit.competition import CLASSES
from fer_kit.data import loading
from fer_kit.data.loading import Competition
from fer_kit.errors import FerKitError, naming_keywords
from fer_kit.files import atomic
from fer_kit.folds.fold_spec import Fold
from fer_kit.keywords import check_types
from fer_kit.runs import finished_folder, folders, lookup
from fer_kit.runs.lookup import BlendFolder, FoldFolder, RunFolder

if TYPE_CHECKING:
    import pandas as pd

    from fer_kit.predict.model import FaceModel
    from fer_kit.runs.predictions import Predictions

Place = str | Path
PACKED = ".safetensors"  # ending of packed networks, see `predict.packed`


@dataclass(frozen=True)
class BlendResult:
    """The result of `fer_kit.blend`.

    Attributes:
        name: name of the blend, for `oof`, `test_predictions` and `load_model`.
        folder: the folder of the blend.
        method: the method of blending; for "auto" the method that was chosen.
        accuracy: out-of-fold accuracy of the cross-fitted blend, 0 to 1.
        weights: weight of each member, summing to 1; None for each if the method has no single weight ("stack").
    """

    name: str
    folder: Path
    method: str
    accuracy: float
    weights: dict[str, float | None]


@naming_keywords
@check_types
def load_data(data: Place | None = None, *, runs: Place = "runs") -> Competition:
    """Load the competition's data as numpy arrays.

    Args:
        data: a folder with train.csv and test.csv, fer2013.csv or icml_face_data.csv, plain or zipped, or one such
            file. None searches the variable FER_KIT_DATA, Kaggle's mounts and ./data.
        runs: folder of runs; parsed files are cached in its subfolder cache.

    Returns:
        A `Competition`: `.train.images` is uint8 (N, 48, 48), `.train.labels` int64 (N,), `.train.ids` int64 (N,);
        `.test.images` and `.test.ids` likewise, without labels. The arrays are read-only.

    Raises:
        FerKitError: the files are missing or damaged.
    """
    return loading.load(loading.find(data), Path(runs) / folders.CACHE)


@naming_keywords
@check_types
def make_folds(
    data: Place | None = None, *, runs: Place = "runs", folds: int = 5, seed: int = 0, force: bool = False
) -> pd.DataFrame:
    """Divide the training rows into stratified folds; twins (images of the same photo) stay in one fold.

    Nothing changes if the same folds exist already.

    Args:
        data: as for `load_data`.
        runs: folder of runs, to which folds.csv is written.
        folds: number of folds.
        seed: seed of the shuffle.
        force: replace other folds; runs trained on those cannot be blended with new runs.

    Returns:
        A DataFrame with the columns id, label, group and fold: one row for each training image. Images with the same
        group are twins.

    Raises:
        FerKitError: other folds exist and `force` is not given, or the data cannot be read.
    """
    import pandas as pd

    from fer_kit.files import lock
    from fer_kit.folds import deal

    place = Path(runs)
    with lock.held(place / "folds.csv", "another process makes folds or fetches here"):
        made = deal.make(load_data(data, runs=runs), folds, seed)
        deal.write(place, made, force)
    table = made.folds
    return pd.DataFrame({"id": table.ids, "label": table.labels, "group": table.groups, "fold": table.folds})


@check_types
def list_runs(runs: Place = "runs") -> pd.DataFrame:
    """List the runs and blends in a folder.

    Returns:
        A DataFrame with the columns name, kind ("run" or "blend"), folds (number of folds), finished (number of
        finished folds) and accuracy (out of fold, 0 to 1, mean over the finished folds; NaN without any).
    """
    import pandas as pd

    rows: list[tuple[str, str, int | None, int | None, float]] = []
    for name in folders.list_runs(runs):
        state = folders.status(runs, name)
        accuracy = folders.load(runs, name, allow_partial=True).accuracies if state.finished else ()
        score = float(np.mean(accuracy)) if accuracy else np.nan
        rows.append((name, "run", state.count, len(state.finished), score))
    for name in folders.list_blends(runs):
        blend = folders.load_blend(runs, name).record
        rows.append((name, "blend", blend.folds, blend.folds, blend.oof_accuracy))
    return pd.DataFrame(rows, columns=["name", "kind", "folds", "finished", "accuracy"])


@check_types
def oof(name: str, *, runs: Place = "runs", logits: bool = False) -> pd.DataFrame:
    """Out-of-fold predictions of a run or blend: each training row is predicted by networks not trained on that row.

    An unfinished run gives the rows of its finished folds.

    Args:
        name: name of a run or blend.
        runs: folder of runs.
        logits: return logits in place of probabilities.

    Returns:
        A DataFrame with the columns id (row number in train.csv), label, fold, the seven class names (probabilities
        that sum to 1), and predicted (the most probable class). Classes are numbers, 0 for Angry to 6 for Neutral.

    Raises:
        FerKitError: the run or blend does not exist, has no finished fold, or was made with other folds.
    """
    from fer_kit.folds import table

    place = Path(runs)
    named = lookup.find_whole(place, name)
    if isinstance(named, RunFolder):
        run = named.load(allow_partial=True)
        found, fold_of_row = run.oof, run.fold_of_row
    else:
        found = named.load().oof
        made = table.read(place / "folds.csv")
        if made.digest != found.meta["folds_digest"]:
            raise FerKitError(f"{place / 'folds.csv'}: not the folds that '{name}' was made with; restore that file")
        fold_of_row = made.folds[found.ids]
    frame = frame_of(found, logits)
    frame.insert(1, "label", found.labels)
    frame.insert(2, "fold", fold_of_row)
    return frame


@check_types
def test_predictions(name: str, *, runs: Place = "runs", logits: bool = False) -> pd.DataFrame:
    """Predictions of a run or blend for the test rows, the mean over its folds.

    Args:
        name: name of a run with all folds finished, or of a blend.
        runs: folder of runs.
        logits: return logits in place of probabilities.

    Returns:
        A DataFrame with the columns id (row number in test.csv), the seven class names (probabilities that sum to 1),
        and predicted (the most probable class, 0 to 6).

    Raises:
        FerKitError: the run or blend does not exist, or a fold is not finished.
    """
    return frame_of(lookup.find_whole(Path(runs), name).load().test, logits)


test_predictions.__test__ = False  # type: ignore[attr-defined]  # pytest: not a test


@naming_keywords
@check_types
def load_model(
    name: str | None = None,
    *,
    runs: Place = "runs",
    folds: int | Sequence[Fold] | None = None,
    device: str = "auto",
) -> FaceModel:
    """Load a finished run or blend as a classifier: `model(faces)` gives probabilities float64 (N, 7).

    Faces are uint8 (N, 48, 48), numpy or torch; the model normalises them and averages over test-time views. The model
    of a run averages the networks of its folds; the model of a blend applies the blend's weights, temperatures and kind
    of mean: both predict new faces as they predicted the test rows.

    Args:
        name: name of a run or blend, of a fold as "vgg_small/fold0", or a packed file (*.safetensors); None for the
            network that ships with fer_kit.
        runs: folder of runs.
        folds: the folds of a run to use, 0 or [0] for a single network; None uses all finished folds.
        device: "auto", "cpu", "cuda" or "cuda:1".

    Returns:
        A `FaceModel`. Besides the call it has `logits(faces)`, `predict(faces)`, `classes` and `network`, the
        `nn.Module`.

    Raises:
        FerKitError: the run or blend does not exist or has no finished fold; a file is missing or has changed; the
            blend cannot predict new faces (twin lookup, members without networks).
    """
    chosen_folds = None if folds is None else list_folds(folds)
    if chosen_folds is not None:
        if name is None or name.endswith(PACKED):
            raise FerKitError(f"folds={chosen_folds}: a packed network has no folds to choose; drop folds=")
        found = lookup.find(Path(runs), name)
        if isinstance(found, BlendFolder):
            raise FerKitError(f"folds={chosen_folds}: '{name}' is a blend and uses all folds; drop folds=")
        if isinstance(found, FoldFolder):
            raise FerKitError(f"folds={chosen_folds}: '{name}' is one fold already; drop folds=")
    from fer_kit.predict import named

    return named.model(name, Path(runs), device, chosen_folds)


@naming_keywords
@check_types
def classify_photos(
    photos: Place | Sequence[Place],
    by: str | FaceModel | None = None,
    *,
    runs: Place = "runs",
    faces: str = "find",
    detector: Place | None = None,
    device: str = "auto",
) -> pd.DataFrame:
    """Find the faces in photos and classify their expressions. The same as `fer-kit classify`.

    Args:
        photos: a photo, a folder of photos, a csv of pixels or an .npz of faces, or a list of these.
        by: a model from `load_model`, or a name for it; None for the network that ships with fer_kit.
        runs: folder of runs.
        faces: "find" searches each photo for faces, except photos of 48×48 pixels; "whole" takes each photo as a face.
        detector: a YuNet model (.onnx) or a cascade (.xml); None for the Haar cascade of OpenCV 4.
        device: "auto", "cpu", "cuda" or "cuda:1"; not used for a model.

    Returns:
        A DataFrame with a row for each face: file, face (number in the file), left, top, width, height (of the square
        that was classified, in pixels of the upright photo; missing if the whole file is the face), the seven class
        names (probabilities that sum to 1), and label (the name of the most probable class). Files that cannot be
        read, or have no face, are missing from the rows; `frame.attrs["not_answered"]` maps each to the reason.

    Raises:
        FerKitError: there is no such model or detector.
    """
    import io

    import pandas as pd

    from fer_kit.classify import answers, output, sources
    from fer_kit.predict import named

    if faces not in ("find", "whole"):
        raise FerKitError(f"faces={faces!r}: give 'find' or 'whole'")
    words = [photos] if isinstance(photos, str | PathLike) else list(photos)
    model = named.model(by, Path(runs), device) if by is None or isinstance(by, str) else by
    found = list(sources.find(words))
    chosen = answers.detector_for(found, None if detector is None else Path(detector)) if faces == "find" else None
    rows: list[answers.Answer] = []
    reasons: dict[str, str] = {}
    for one in answers.answer(found, model, chosen):
        rows += one.answers
        reasons |= {note.file: note.text for note in one.notes if not note.answered}
    frame = pd.read_csv(io.StringIO(output.as_csv(rows)), dtype={"file": str, "label": str})
    frame.attrs["not_answered"] = reasons
    return frame


@naming_keywords
@check_types
def blend(
    name: str,
    members: Place | Sequence[Place] | None = None,
    *,
    method: str = "auto",
    temperatures: str = "fitted",
    weights: Place | None = None,
    twins: str = "off",
    full_fit: str = "off",
    runs: Place = "runs",
    data: Place | None = None,
    pictures: bool = False,
    wandb: str = "off",
    force: bool = False,
) -> BlendResult:
    """Blend finished runs, and score the blend on rows that were not used to fit it. The same as `fer-kit blend`.

    Args:
        name: name of the new blend.
        members: names of runs or blends, globs such as "vgg*", folders with oof.npz and test.npz; None uses every run
            with all folds finished.
        method: "mean" (of probabilities), "logmean" (of log-probabilities), "weights", "greedy", "stack", or "auto",
            which chooses by the accuracy on held-out folds.
        temperatures: "fitted" first scales each member's log-probabilities; "none" leaves them unscaled.
        weights: a JSON file {member: weight} or a blend.json, in place of fitted weights.
        twins: "off", "exact" or "near": also write a blend "<name>-twins", whose test predictions use the labels of
            training rows that show the same photo.
        full_fit: "off", "instead" or "beside": predict the test rows with networks trained on all rows, instead of or
            beside the networks of the folds.
        runs: folder of runs.
        data: as for `load_data`; used by `twins`.
        pictures: draw correlation.png and weights.png.
        wandb: "off", "offline" or "online".
        force: replace another blend of that name.

    Returns:
        A `BlendResult` with method, accuracy and weights; `oof`, `test_predictions` and `load_model` take its name.

    Raises:
        FerKitError: a member is missing, unfinished or made with other folds; another blend has that name and `force`
            is not given; two options exclude each other.
    """
    from ensembles.blend import BlendRequest, run

    run(
        BlendRequest(
            name=name,
            runs=Path(runs),
            members=None if members is None else list_members(members),
            method=method,
            temperatures=temperatures,
            weights=None if weights is None else str(weights),
            twins=twins,
            full_fit=full_fit,
            data=None if data is None else str(data),
            wandb=wandb,
            pictures=pictures,
            force=force,
        )
    )
    folder = folders.load_blend(runs, name).folder
    record = atomic.read_json(folder / finished_folder.BLEND)
    shares = {entry["run"]: entry["weight"] for entry in record["members"]}
    return BlendResult(name, folder, record["method"], record["oof_accuracy"], shares)


def list_folds(folds: int | Sequence[Fold]) -> list[Fold]:
    """The folds for the keyword `folds` of `load_model`: a number, or a list or array of numbers.

    Raises:
        FerKitError: no number, a number below 0, or a number twice.
    """
    given: Any = [folds] if isinstance(folds, Integral) else folds
    listed = list(given) if isinstance(given, Sequence) or np.ndim(given) == 1 else []
    found: list[Fold] = []
    for fold in listed:
        if isinstance(fold, tuple) and all(isinstance(one, int) for one in fold):  # full fit, or two held-out folds
            found.append(fold)
        elif not isinstance(fold, bool) and isinstance(fold, Integral) and int(fold) >= 0:
            found.append(int(fold))
    if not found or len(found) < len(listed) or len(set(found)) < len(found):
        raise FerKitError(f"folds={folds!r}: give a number from 0, a list of different numbers as [0, 2], or None")
    return found


def list_members(members: Place | Sequence[Place]) -> tuple[str, ...]:
    """The names for the keyword `members` of `blend`.

    Raises:
        FerKitError: neither a name nor a list of names, or an empty name.
    """
    given: Any = [members] if isinstance(members, str | PathLike) else members
    given = list(given) if isinstance(given, Iterable) else None
    if given is None or not all(isinstance(one, str | PathLike) for one in given):
        raise FerKitError(f"members={members!r}: give a list of names of runs or blends, or None")
    if "" in given:
        raise FerKitError(f"members={members!r}: a name is empty; give names of runs or blends")
    return tuple(map(str, given))


def frame_of(predictions: Predictions, logits: bool) -> pd.DataFrame:
    """Predictions as a DataFrame: id, one column per class, predicted."""
    import pandas as pd

    from fer_kit import metrics

    values: NDArray[np.floating] = predictions.logits if logits else metrics.softmax(predictions.logits)
    columns = {name: values[:, number] for number, name in enumerate(CLASSES)}
    return pd.DataFrame({"id": predictions.ids, **columns, "predicted": metrics.predicted(predictions.logits)})
