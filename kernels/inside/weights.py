"""Pretrained weights of a kernel: the attached Kaggle model or dataset, and --weights of its trainings."""

from __future__ import annotations

import re
from pathlib import Path

from fer_kit.config.train_config import TrainConfig
from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.pretrained.source import DATASET_FORM, HUB, MODEL_FORM, NONE, PACKAGE, is_dataset, is_model, mounted

OPTION = "--weights"
ALLOWED = f"{MODEL_FORM} (a Kaggle model, e.g. timm/convnext/pyTorch/atto/1), {DATASET_FORM} (in a Kaggle dataset)"
_MOUNT = re.compile(r"/kaggle/input/(?:models/)?")


def check(source: str) -> str:
    """Check the value of `--weights`: a Kaggle model or dataset, `hub` or `none`; return the value for the script.

    A path below /kaggle/input is allowed too if it contains the owner of the model or dataset.

    Raises:
        FerKitError: any other value, such as a local file, which cannot be attached to a kernel.
    """
    text = _MOUNT.sub("", source, count=1) if source.startswith("/kaggle/input/") else source
    if text in (HUB, NONE) or is_model(text) or is_dataset(text):
        return text
    if source.startswith(PACKAGE) or atomic.expanded(source).exists():
        raise FerKitError(
            f"{OPTION} {source}: a kernel does not take files of this machine; upload the file as a Kaggle "
            f"dataset or model and write {ALLOWED}"
        )
    raise FerKitError(f"{OPTION} {source}: allowed are {ALLOWED}, {HUB} and {NONE}")


def check_reachable(config: TrainConfig, source: str | None, internet: bool) -> None:
    """Check that the kernel can get its weights.

    Raises:
        FerKitError: the weights come from the hub, and the kernel has no internet access.
    """
    if internet or (source or config.weights) != HUB:
        return
    raise FerKitError(
        f"recipe {config.recipe} starts from weights of the hub, but the kernel has no internet; attach the weights "
        f"with {OPTION} {MODEL_FORM} --tag NAME, or allow access with --internet"
    )


def sources(source: str | None) -> tuple[list[str], list[str]]:
    """The model_sources and dataset_sources of kernel-metadata.json."""
    parts = (source or "").split("/")
    if is_dataset(source or ""):
        return [], ["/".join(parts[1:3])]
    return (["/".join(parts[:5])], []) if is_model(source or "") else ([], [])


def find(inputs: Path, source: str) -> str:
    """The value of `--weights` for the trainings: the file of the attached model or dataset, in either layout.

    Raises:
        FerKitError: the model or dataset is not mounted, or does not have exactly one file of weights.
    """
    text = check(source)
    return text if text in (HUB, NONE) else str(mounted(inputs, text))
