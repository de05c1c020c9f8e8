"""What a training needs on a GPU, as far as a CPU can show it: operations that CUDA has, the place of the state."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from fer_kit import models
from fer_kit.batches import epoch
from fer_kit.config import recipes
from fer_kit.config.train_config import TrainConfig, override
from fer_kit.engine import loop, optim
from fer_kit.engine.device import Precision
from fer_kit.engine.losses import make_loss
from fer_kit.models.networks.head import resized_by_products
from fer_kit.train import checkpoints, job

CPU = torch.device("cpu")
# Operations on bytes that CUDA has: they move, compare or convert bytes. Look a new one up before it comes in here:
# CUDA lacks kernels for bytes that CPUs have, and the error appears at the first batch on a GPU.
ON_BYTES = {"_to_copy", "copy_", "detach", "flip", "index", "select", "set_", "slice", "split", "to", "unsqueeze"}
ON_BYTES |= {"view", "where"}
RESIZE = "_upsample_bilinear2d_aa"  # CUDA: floats only


class OperationsOnBytes(TorchDispatchMode):
    """Collects the names of operations with a uint8 tensor among their arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        every = [one for arg in args for one in (arg if isinstance(arg, list | tuple) else [arg])]
        if any(isinstance(one, torch.Tensor) and one.dtype == torch.uint8 for one in every):
            self.names.add(str(func.overloadpacket).removeprefix("aten."))
        return func(*args, **(kwargs or {}))


def operations_of_a_training(config: TrainConfig) -> set[str]:
    """Operations on bytes in the first and the last epoch of a training on 48 faces, and in predictions of them."""
    images, labels = torch.randint(0, 256, (48, 48, 48), dtype=torch.uint8), torch.arange(48) % 7
    rows = SimpleNamespace(images=images, labels=labels, targets=None)
    of = SimpleNamespace(config=config, rows=rows, seed_number=0)
    precision = Precision("fp32", CPU)
    with OperationsOnBytes() as found:
        state = loop.start(config, precision, epoch.count(48, config.batch_size))
        loss_of = make_loss(config, labels.numpy(), CPU)
        for number in (1, config.epochs):
            batches = epoch.epoch(job.images_of(of, number), labels, config, torch.Generator().manual_seed(0))
            loop.train_epoch(state, batches, loss_of, config, precision)
        loop.predict(state.net, images, config.views, precision)
    return found.names


@pytest.mark.parametrize("recipe", ["air", "vgg_small", "attention"])
def test_trainings_use_bytes_only_in_operations_that_cuda_has(recipe):
    config = override(recipes.get(recipe), ["batch_size=24", "epochs=2"])
    found = operations_of_a_training(config)
    assert "index" in found  # something was seen at all
    assert found - {RESIZE} <= ON_BYTES and (RESIZE in found) == bool(config.progressive_px)


def test_on_a_gpu_growing_faces_are_resized_as_floats():
    """The operation on bytes does not exist there."""
    config = override(recipes.get("air"), ["alternate_flip=false"])
    faces = torch.empty(5, 48, 48, dtype=torch.uint8, device="meta")  # any device that is not the CPU
    of = SimpleNamespace(config=config, rows=SimpleNamespace(images=faces), seed_number=0)
    with OperationsOnBytes() as found:
        images = job.images_of(of, 1)
    assert images.shape == (5, 32, 32) and images.dtype == torch.uint8 and images.device.type == "meta"
    assert found.names <= ON_BYTES


@pytest.mark.parametrize("side", [8, 32, 40])
def test_floats_and_bytes_are_resized_alike(side):
    faces = torch.randint(0, 256, (20, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    faces[0], faces[1] = 0, 255
    bytes_, floats = epoch.resized(faces, side).int(), epoch.resized_as_floats(faces, side).int()
    assert (bytes_ - floats).abs().max() <= 1 and (floats[0] == 0).all() and (floats[1] == 255).all()


@pytest.mark.parametrize("side", [1, 3, 4])
def test_products_of_matrices_resize_kernels_as_the_filter_does(side):
    """`--deterministic` on a GPU needs a gradient that is the same each time."""
    one = torch.randn(6, 1, 5, 5, requires_grad=True)
    two = one.detach().clone().requires_grad_()
    weights = torch.randn(6, 1, side, side)
    made = F.interpolate(one, (side, side), mode="bilinear", align_corners=False, antialias=True)
    with torch.autocast("cpu", torch.bfloat16):  # must not round the kernels
        again = resized_by_products(two, side)
    torch.testing.assert_close(again, made)
    (made * weights).sum().backward()
    (again * weights).sum().backward()
    torch.testing.assert_close(two.grad, one.grad)


@pytest.mark.filterwarnings("ignore:for .* copying from a non-meta parameter")
def test_a_resumed_training_keeps_step_counts_on_the_cpu(tmp_path):
    """timm's Muon reads them at every step; on a GPU each read would wait for the device."""
    config = override(recipes.get("air_small"), ["batch_size=16", "epochs=2", "width_mult=0.25"])
    labels = torch.arange(48) % 7
    faces = torch.randint(0, 256, (48, 48, 48), dtype=torch.uint8)
    state = loop.start(config, Precision("fp32", CPU), 3)
    batches = epoch.epoch(faces, labels, config, torch.Generator().manual_seed(0))
    loop.train_epoch(state, batches, make_loss(config, labels.numpy(), CPU), config, Precision("fp32", CPU))
    checkpoints.save(tmp_path / "last.pt", state, {})

    state.net = models.build(config).to("meta")  # stands for a GPU
    state.optimizer = optim.make_optimizer(state.net, config)
    checkpoints.load(tmp_path / "last.pt", state, {})
    kept = [value for one in state.optimizer.state.values() for value in one.items() if torch.is_tensor(value[1])]
    assert {value.device.type for name, value in kept if name == "step"} == {"cpu"}
    assert {value.device.type for name, value in kept if name != "step"} == {"meta"}
