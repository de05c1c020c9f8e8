"""Pretrained weights for a kernel: the Kaggle model or dataset that is attached, and the --weights of its trainings."""

from __future__ import annotations

import re
from pathlib import Path

from fer_kit.config.train_config import TrainConfig
from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.pretrained import source as weights_files

OPTION = "--weights"
FORM = weights_files.MODEL_FORM
ALLOWED = (
    f"{FORM} (a Kaggle model, e.g. timm/convnext/pyTorch/atto/1), {weights_files.DATASET_FORM} (in a Kaggle dataset)"
)
_MOUNT = re.compile(r"/kaggle/input/(?:models/)?")


def check(source: str) -> str:
    """What `--weights source` asks for, as the script keeps it: a Kaggle model or dataset, `hub` or `none`.

    A path below /kaggle/input may be given too, where it tells whose model or dataset it is.

    Raises:
        FerKitError: anything else, such as a file here: only what is on Kaggle can be attached.
    """
    text = _MOUNT.sub("", source, count=1) if source.startswith("/kaggle/input/") else source
    if (
        text in (weights_files.HUB, weights_files.NONE)
        or weights_files.is_model(text)
        or weights_files.is_dataset(text)
    ):
        return text
    if atomic.expanded(source).exists():
        raise FerKitError(
            f"{OPTION} {source}: a kernel does not take local files; upload it as a Kaggle dataset or model and "
            f"write {ALLOWED}"
        )
    raise FerKitError(f"{OPTION} {source}: write {ALLOWED}, {weights_files.HUB} or {weights_files.NONE}")


def check_reachable(config: TrainConfig, source: str | None, internet: bool) -> None:
    """Raise FerKitError if the kernel would need weights from the hub without internet access."""
    if internet or (source or config.weights) != weights_files.HUB:
        return
    raise FerKitError(
        f"recipe {config.recipe} starts from weights of the hub, and the kernel has no internet; attach them with "
        f"{OPTION} {FORM} --tag NAME, or give access with --internet"
    )


def sources(source: str | None) -> tuple[list[str], list[str]]:
    """The model_sources and dataset_sources of kernel-metadata.json."""
    parts = (source or "").split("/")
    if weights_files.is_dataset(source or ""):
        return [], ["/".join(parts[1:3])]
    return (["/".join(parts[:5])], []) if weights_files.is_model(source or "") else ([], [])


def find(inputs: Path, source: str) -> str:
    """What the trainers are given as `--weights`: the one file of what is attached, in either layout of the mounts.

    Raises:
        FerKitError: not mounted, or not exactly one file that could be weights.
    """
    text = check(source)
    return text if text in (weights_files.HUB, weights_files.NONE) else str(weights_files.mounted(inputs, text))
