"""The weights of the face-recognition network are read, and trained further as what they compute."""

from __future__ import annotations

import json

import numpy as np
import pytest
import timm
import torch

from tests.benchmarks import face_weights


@pytest.fixture
def model(tmp_path):
    """A model of TensorFlow.js in two shards, with the tensors of the real one and random values as float16."""
    rng = np.random.default_rng(0)
    net = timm.create_model(face_weights.NETWORK)
    shapes = {"conv1/convolution/merged_input": (3, 3, 3, 32), "conv1_bn/batchnorm_1/sub": (32,)}
    blocks = [block for stage in net.blocks for block in stage]
    for number, block in enumerate(blocks, start=1):
        out, inside = block.conv_pw.weight.shape[:2]
        shapes[f"conv_dw_{number}/depthwise_kernel"] = (3, 3, inside, 1)
        shapes[f"conv_dw_{number}_bn/batchnorm_1/mul"] = shapes[f"conv_dw_{number}_bn/batchnorm_1/sub"] = (inside,)
        shapes[f"conv_pw_{number}/convolution/merged_input"] = (1, 1, inside, out)
        shapes[f"conv_pw_{number}_bn/batchnorm_1/sub"] = (out,)
    values = {name: (rng.normal(size=shape) / 8).astype(np.float16) for name, shape in shapes.items()}
    content = b"".join(value.tobytes() for value in values.values())
    (tmp_path / "a.bin").write_bytes(content[:1001])
    (tmp_path / "b.bin").write_bytes(content[1001:])
    entries = [
        {"name": name, "shape": list(value.shape), "dtype": "float32", "quantization": {"dtype": "float16"}}
        for name, value in values.items()
    ]
    manifest = {"weightsManifest": [{"paths": ["a.bin", "b.bin"], "weights": entries}]}
    (tmp_path / "model.json").write_text(json.dumps(manifest))
    return tmp_path / "model.json", values


def test_the_network_computes_the_same_with_norms_of_its_own(model):
    path, values = model
    read = face_weights.read(path)
    assert all(np.array_equal(read[name].numpy(), value.astype(np.float32)) for name, value in values.items())
    net = face_weights.folded(read)
    faces = face_weights.prepared(np.random.default_rng(1).integers(0, 256, (16, 48, 48), np.uint8), 64)
    assert faces.shape == (16, 3, 64, 64) and faces.min() >= -1 and faces.max() <= 1
    with torch.no_grad():
        first = net.conv_stem(faces)[:, :, 8:-8, 8:-8]  # far from the edge, where zeros stand beside grey levels
        grey = torch.nn.functional.conv2d(
            faces * 127.5 + 127.5 - torch.tensor(face_weights.MEANS).view(1, 3, 1, 1),
            net.conv_stem.weight / 127.5,
            stride=2,
            padding=1,
        )[:, :, 8:-8, 8:-8]
        shift = net.bn1.bias.view(-1, 1, 1) - read["conv1_bn/batchnorm_1/sub"].view(-1, 1, 1)
        torch.testing.assert_close(first + shift, grey, rtol=1e-3, atol=1e-2)
        before = net.forward_features(faces)
        face_weights.unfold(net, faces)
        torch.testing.assert_close(net.forward_features(faces), before, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(net.train().forward_features(faces), before, rtol=1e-3, atol=1e-4)
