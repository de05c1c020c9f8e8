"""Out of memory: recognise the error, and find by trials a batch size that fits, for the error message."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import torch

from fer_kit.config.settings import TABLE
from fer_kit.config.train_config import TrainConfig
from fer_kit.engine import loop
from fer_kit.engine.environment import device_name
from fer_kit.engine.losses import Loss
from fer_kit.errors import FerKitError, first_line
from fer_kit.train.job import Job, batches_of

# Parts of the messages of plain RuntimeErrors by torch on CPUs (Linux, Windows), C++, CUDA, cuBLAS and cuDNN.
WORDS = (
    "can't allocate memory",
    "not enough memory",
    "std::bad_alloc",
    "out of memory",
    "STATUS_ALLOC_FAILED",
    "unable to find an engine",  # cuDNN: not enough scratch space for any algorithm
)
# Whole messages of oneDNN, which computes convolutions on CPUs, without memory for its code or scratch space.
ONEDNN_WORDS = ("could not create a primitive", "could not create a memory object")
TRIED_STEPS = 2  # in the second step the optimizer state is allocated


def caused(error: BaseException) -> bool:
    """Whether `error` is an out-of-memory error."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    message = str(error).strip()
    return isinstance(error, RuntimeError) and (message in ONEDNN_WORDS or any(words in message for words in WORDS))


@contextlib.contextmanager
def oom_as_user_error(folder: Path) -> Iterator[None]:
    """Turn an out-of-memory error outside the training steps into a FerKitError of one line.

    Raises:
        FerKitError: memory ran out.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not caused(error):
            raise
        raise FerKitError(
            f"{folder}: out of memory before or after the training steps ({first_line(error)}); free memory, "
            "or choose another device with --device, and continue with --resume"
        ) from None


def advice(job: Job, state: loop.State, loss_of: Loss) -> str:
    """The error message for batches that are too large, with the largest equal part of a batch that fits.

    Each candidate is tried for two training steps. Call this function outside the `except` block, because the
    traceback keeps the tensors of the failed step alive. `state` is unusable afterwards; saved epochs remain.
    """
    config = job.config
    device = device_name(job.precision.device)
    failed = f"{job.folder}: out of memory on {device} in epoch {state.epoch + 1} with batches of {config.batch_size}"
    images = config.batch_size * config.accumulate
    for parts in cuts(images, config.accumulate):
        smaller = dataclasses.replace(config, batch_size=images // parts, accumulate=parts)
        if fits(job, state, smaller, loss_of):
            settings = f"--set batch_size={smaller.batch_size} accumulate={parts}"
            return (
                f"{failed}; batches of {smaller.batch_size} fit{peak(job.precision.device)}: train a new run with "
                f"{settings} --tag NAME (or --accumulate {parts} --tag NAME), still {images} images per step"
            )
    ways = "choose another device with --device, or a smaller network"
    return f"{failed}, and smaller batches do not fit either; {ways}"


def cuts(images: int, parts: int) -> Iterator[int]:
    """Numbers of equal batches above `parts` that a step of `images` can be split into; each at least doubles."""
    for more in range(2 * parts, images // int((TABLE["batch_size"].limits or (2, 0))[0]) + 1):
        if images % more == 0 and more >= 2 * parts:
            parts = more
            yield parts


def fits(job: Job, state: loop.State, config: TrainConfig, loss_of: Loss) -> bool:
    """Whether `TRIED_STEPS` training steps with `config` fit into memory.

    The steps are those of the last epoch, which needs most memory: no layer is frozen, and growing images have their
    full size.
    """
    state.optimizer.zero_grad(set_to_none=True)
    state.scaler = job.precision.scaler()  # the failed step may have interrupted an update of the old one
    gc.collect()
    if job.precision.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(job.precision.device)
    state.epoch = config.epochs - 1
    batches = islice(batches_of(job, config.epochs, config), TRIED_STEPS * config.accumulate)
    try:
        loop.train_epoch(state, batches, loss_of, config, job.precision)
    except loop.NotFiniteError:  # an error of the numbers, so memory was sufficient
        return True
    except (RuntimeError, MemoryError) as error:
        if not caused(error):
            raise
        return False
    return True


def peak(device: torch.device) -> str:
    """The peak memory of the last trial in words; "" on CPUs, where torch does not measure memory."""
    if device.type != "cuda":
        return ""
    used, total = torch.cuda.max_memory_reserved(device), torch.cuda.get_device_properties(device).total_memory
    return f" (peak {used / 2**30:.1f} of {total / 2**30:.1f} GiB)"
