"""What a network starts from: timm's weights from the hub, those of a file, or those of a finished run."""

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
from fer_kit.pretrained.fit import fitted, without_classifier
from fer_kit.pretrained.read import Tensors, read


@dataclass(frozen=True, eq=False)
class Start:
    """What a network starts from. tensors: by their names in `models.build(config)`; the classifier's are not among
    them unless the file is of a run of ours. about: one line for the log.
    """

    tensors: Tensors
    about: str

    def put_into(self, net: nn.Module) -> None:
        """Copy the tensors, where there are any, into a network of the config that they were made for."""
        if not self.tensors:
            return
        left = net.load_state_dict(self.tensors, strict=False)
        assert not left.unexpected_keys and all(
            fine_tuning.belongs(key, fine_tuning.classifier(net)) for key in left.missing_keys
        ), left


def prepare(config: TrainConfig, path: Path | None, fold: Fold, identity: Mapping[str, str]) -> Start | None:
    """What the network of `config` starts from; None for one of ours that starts from random weights.

    path: the file that `config.weights` names. identity: folds_digest and data_digest of the fold to be trained.

    Raises:
        FerKitError: the network cannot be built; weights cannot be fetched, read, or do not fit; they have seen rows
            that `fold` leaves out.
    """
    # Our own networks are built on the meta device, without values: only their structure is checked. timm's networks
    # and the user's may read values while they are built, and weights of a file are copied into the network.
    with torch.device("meta" if config.model in NETWORKS and not config.weights else "cpu"):
        net = models.build(config)
    fine_tuning.check(config, net)
    if not config.weights:
        return Start({}, "weights random, as --weights none asks for") if isinstance(net, Backbone) else None
    if config.weights == source.HUB:
        tensors, about = from_hub(config, net)
    else:
        if path is None:
            raise FerKitError(f"weights={config.weights}: the file is not given; give it as --weights FILE")
        tensors, trained = read(path)
        refuse_seen(path, trained, fold, identity)
        tensors, about = fitted(config, net, tensors, trained, path), config.weights
    learns = [name for name in fine_tuning.classifier(net) if f"{name}.weight" not in tensors]
    fresh = f"; random: {', '.join(learns)}" if learns else ""
    if config.freeze_epochs >= config.epochs:
        fresh += "; all the rest stays frozen in every epoch"
    return Start(tensors, f"weights {about} ({len(tensors)} tensors, digest {digest(tensors)[:12]}{fresh})")


def digest(tensors: Tensors) -> str:
    """sha256 over names and values, 64 hex digits: the hub gives no file that a config could name."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        total.update(name.encode() + tensors[name].contiguous().numpy().tobytes())
    return total.hexdigest()


def from_hub(config: TrainConfig, net: nn.Module) -> tuple[Tensors, str]:
    """timm's own weights of a network, fetched or from the hub's cache, without the classifier; and what they are.

    Raises:
        FerKitError: not a network of timm, one without weights, or the hub cannot be reached: with the ways out.
    """
    if not isinstance(net, Backbone):
        raise FerKitError(f"weights=hub: {config.model} is no network of timm; give --weights FILE of a run of it")
    if not timm.is_model_pretrained(net.name):
        raise FerKitError(
            f"timm has no weights of {net.name}; give a file of your own as --weights FILE, or --weights none to train "
            "from random ones"
        )
    print(f"weights of {config.model}: from the hub's cache, or fetched", flush=True)
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it retries for a minute, with 22 lines on that
    try:
        body = net.create(pretrained=True, num_classes=config_of(net.name)["num_classes"])
    except FerKitError:
        raise
    except Exception as error:  # of the network, the hub's client or its cache: each library has kinds of its own
        raise FerKitError(
            f"the weights of {config.model} did not come from the hub ({first_line(error)}); {source.offline_help()}"
        ) from None
    tag = record_of(body).get("tag")  # of a bare name it is timm's choice, which changes with its version
    about = f"timm/{net.name.partition('.')[0]}{f'.{tag}' if tag else ''} from the hub"
    return without_classifier(net, body), about


def refuse_seen(path: Path, trained: Mapping[str, Any], fold: Fold, identity: Mapping[str, str]) -> None:
    """Raise FerKitError where a run of ours has learnt from rows that `fold` is to predict.

    On other data than ours nothing can be told, and with nothing to predict (`--fold all`) nothing is to be hidden.
    """
    if not left_out(fold) or trained.get("data_digest") != identity["data_digest"]:
        return
    theirs = trained.get("fold")
    hidden = set(theirs if isinstance(theirs, list) else [theirs])
    if trained.get("folds_digest") != identity["folds_digest"] or not set(left_out(fold)) <= hidden:
        raise FerKitError(
            f"{path}: its network (run {trained.get('run')}, fold {theirs}) learnt from rows that fold "
            f"{recorded(fold)} is to predict; give the run's folder as --weights, which takes the same fold"
        )
