"""What the folder of a fold holds before its training, and whether the training may begin. Needs no torch."""

from __future__ import annotations

from pathlib import Path

from fer_kit.config.train_config import TrainConfig
from fer_kit.errors import FerKitError
from fer_kit.files import lock
from fer_kit.folds import deal, fold_spec
from fer_kit.runs import finished_folder
from fer_kit.runs.training_record import CONFIG, LAST, read_config
from fer_kit.train import siblings
from fer_kit.train.request import ResolvedRequest


def refuse_early(resolved: ResolvedRequest) -> None:
    """Refuse a training before data and torch are loaded, as far as its folder and folds.csv tell.

    Raises:
        FerKitError: folds.csv has no such fold; see also `inspect_folder` and `siblings.refuse_others`.
    """
    path = resolved.request.runs / "folds.csv"
    if lock.is_held(resolved.folder):  # the training waits for the lock, and says so
        return
    if inspect_folder(resolved) == "finished" or not path.exists():
        return
    folds = deal.read(path)
    for number in fold_spec.left_out(resolved.request.fold):
        folds.rows_out(number)
    siblings.refuse_others(resolved, {"folds_digest": folds.digest})


def inspect_folder(resolved: ResolvedRequest) -> str:
    """The state of the fold's folder: "finished", "resume" or "new".

    Raises:
        FerKitError: the folder holds a training and neither --resume nor --restart is given, or --resume comes with
            other settings than the training was started with, finished or not.
    """
    folder, request = resolved.folder, resolved.request
    if finished_folder.is_finished(folder):
        if request.resume:
            _refuse_other_settings(folder, resolved.config)
            return "finished"
        if not request.smoke:
            raise FerKitError(
                f"{folder} is finished and will not be overwritten; name a new run with --tag, or delete the folder"
            )
    if resolved.discards_old or not folder.exists() or not any(folder.iterdir()):
        return "new"
    if not request.resume:
        raise FerKitError(f"{folder} holds an unfinished training; continue with --resume, or delete it with --restart")
    if (folder / LAST).exists():
        _refuse_other_settings(folder, resolved.config)
    return "resume"


def _refuse_other_settings(folder: Path, config: TrainConfig) -> None:
    """Refuse to resume the training in `folder` with other settings than those in its config.json.

    The checkpoint holds only the digest of the config, which cannot tell which settings differ.
    """
    if not (folder / CONFIG).exists():
        return
    begun = read_config(folder)
    if others := siblings.differing(begun, config):
        then, asked = (" ".join(f"{name}={getattr(one, name)}" for name in others) for one in (begun, config))
        raise FerKitError(
            f"{folder} was started with {then}, this command has {asked}; use the same settings with --resume, "
            "start again with --restart, or name a new run with --tag"
        )
