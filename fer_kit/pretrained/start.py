"""Initial weights of a network: timm's weights from the hub, weights of a file, or weights of a finished run."""

from __future__ import annotations

from fer_kit.models import timm_alone  # noqa: F401 (before timm)

# isort: split

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from fer_kit import models
from fer_kit.config.networks import NETWORKS
from fer_kit.config.train_config import TrainConfig
from fer_kit.errors import FerKitError, first_line
from fer_kit.folds.fold_spec import Fold, left_out, recorded
from fer_kit.models import fine_tuning
from fer_kit.models.backbone import Backbone, config_of, record_of
from fer_kit.pretrained import source
from fer_kit.pretrained.fit import fitted, listed, without_classifier
from fer_kit.pretrained.read import Tensors, read


@dataclass(frozen=True, eq=False)
class Start:
    """Initial weights of a network.

    tensors: by their names in `models.build(config)`; those of the classifier are included only if a run of fer_kit
    trained the weights. about: one line for the log.
    """

    tensors: Tensors
    about: str

    def put_into(self, net: nn.Module) -> None:
        """Copy the tensors, if there are any, into a network that was built from the same config."""
        if not self.tensors:
            return
        left = net.load_state_dict(self.tensors, strict=False)
        assert not left.unexpected_keys and all(
            fine_tuning.belongs(key, fine_tuning.classifier(net)) for key in left.missing_keys
        ), left


def prepare(config: TrainConfig, path: Path | None, fold: Fold, identity: Mapping[str, str]) -> Start | None:
    """Prepare the initial weights of the network of `config`.

    Args:
        path: the file that `config.weights` names.
        fold: the fold to be trained.
        identity: folds_digest and data_digest of the data that will be trained on.

    Returns:
        None if a network of fer_kit or of the user starts from random weights.

    Raises:
        FerKitError: the network cannot be built; the weights cannot be fetched or read, or do not fit; the weights
            were trained on rows that `fold` holds out.
    """
    # Networks of fer_kit are built on the meta device, without values: only their structure is checked. Networks of
    # timm and of the user may read values while they are built, and weights of a file are copied into the network.
    with torch.device("meta" if config.model in NETWORKS and not config.weights else "cpu"):
        net = models.build(config)
    fine_tuning.check(config, net)
    if not config.weights:
        return Start({}, "weights random (--weights none)") if isinstance(net, Backbone) else None
    if config.weights == source.HUB:
        (tensors, about), how = from_hub(config, net), ""
    else:
        if path is None:
            raise FerKitError(f"weights={config.weights}: the file was not passed; pass it as --weights FILE")
        file = read(path)
        refuse_seen(path, file.about, fold, identity)
        found = fitted(config, net, file, path)
        tensors, about, how = (
            found.tensors,
            config.weights,
            f", {found.rule}{f' under the key {file.key!r}' if file.key else ''}",
        )
        if not file.about and not isinstance(net, Backbone):
            how += "; the file does not say on which rows they were trained"
        if found.left_out:
            how += f"; not used: {listed('of the file', found.left_out)}"
    learns = [name for name in fine_tuning.classifier(net) if f"{name}.weight" not in tensors]
    fresh = f"; random: {', '.join(learns)}" if learns else ""
    if config.freeze_epochs >= config.epochs:
        fresh += "; all other tensors stay frozen in every epoch"
    return Start(tensors, f"weights {about} ({len(tensors)} tensors, digest {digest(tensors)[:12]}{how}{fresh})")


def digest(tensors: Tensors) -> str:
    """sha256 of names and values, 64 hex digits; it identifies weights of the hub, which have no file to name."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        total.update(name.encode() + tensors[name].contiguous().numpy().tobytes())
    return total.hexdigest()


def from_hub(config: TrainConfig, net: nn.Module) -> tuple[Tensors, str]:
    """timm's pretrained weights of a network, from the hub or its cache, without the classifier; and their name.

    Raises:
        FerKitError: the network is not one of timm, timm has no weights of the network, or the hub cannot be reached.
            The message says what to do instead.
    """
    if not isinstance(net, Backbone):
        raise FerKitError(
            f"weights=hub: {config.model} is not a network of timm; give --weights FILE with weights of {config.model}"
        )
    if not timm.is_model_pretrained(net.name):
        raise FerKitError(
            f"weights=hub: timm has no weights of {net.name}; give a file as --weights FILE, or --weights none to "
            "start from random weights"
        )
    print(f"loading weights of {config.model} from the hub or its cache", flush=True)
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # the client retries for a minute and logs 22 lines
    try:
        body = net.create(pretrained=True, num_classes=config_of(net.name)["num_classes"])
    except FerKitError:
        raise
    except Exception as error:  # the connection, the hub's client and its cache each raise their own kinds of errors
        own_px = config_of(net.name)["input_size"][-1]
        if "size mismatch" in str(error):  # torch's error for tensors of another shape: the hub was reached
            raise FerKitError(
                f"weights=hub: the weights of {config.model} fit image_px={own_px} alone, not {net.image_px}; set "
                f"image_px={own_px}, or choose a network without a fixed size"
            ) from None
        raise FerKitError(
            f"weights=hub: the weights of {config.model} could not be loaded from the hub ({first_line(error)}); "
            f"{source.offline_help()}"
        ) from None
    tag = record_of(body).get("tag")  # for a name without a tag timm chooses one, which depends on its version
    about = f"timm/{net.name.partition('.')[0]}{f'.{tag}' if tag else ''} from the hub"
    return without_classifier(net, body), about


def refuse_seen(path: Path, trained: Mapping[str, Any], fold: Fold, identity: Mapping[str, str]) -> None:
    """Refuse weights of a run that was trained on rows which `fold` holds out.

    The check needs a run on the same data. A full fit (`--fold all`) holds out no rows, so any weights are allowed.

    Raises:
        FerKitError: the weights were trained on held-out rows of `fold`.
    """
    if not left_out(fold) or trained.get("data_digest") != identity["data_digest"]:
        return
    if "fold" not in trained:
        raise FerKitError(
            f"{path}: the weights ({trained.get('run')}) were trained on these faces, and the file does not name "
            f"a fold that they left out, so they may have seen the rows that fold {recorded(fold)} holds out; give the "
            "folder of a finished run as --weights, which takes the same fold"
        )
    theirs = trained["fold"]
    hidden = set(theirs if isinstance(theirs, list) else [theirs])
    if trained.get("folds_digest") != identity["folds_digest"] or not set(left_out(fold)) <= hidden:
        raise FerKitError(
            f"{path}: the weights (run {trained.get('run')}, fold {theirs}) were trained on rows that fold "
            f"{recorded(fold)} holds out; give the folder of the run as --weights, which takes the same fold"
        )
