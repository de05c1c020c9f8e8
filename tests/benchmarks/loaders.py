"""The other ways to feed and to train the same network: a DataLoader, timm's loader, Lightning's Trainer.

All read one face at a time, as PIL image, through per-image transforms in worker processes, which stay between
epochs: each the way its documentation shows. Lightning also gets our batches, which leaves the Trainer's own cost.
"""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from fer_kit import models
from fer_kit.competition import PIXEL_MEAN, PIXEL_STD
from fer_kit.config.train_config import TrainConfig
from fer_kit.engine import optim
from fer_kit.engine.device import Precision
from fer_kit.engine.losses import Loss

Batches = Iterable[tuple[Tensor, Tensor]]
LIGHTNING_PRECISION = {"bf16": "bf16-mixed", "fp16": "16-mixed", "fp32": "32-true"}


class Faces(Dataset[tuple[Any, int]]):
    """One PIL image and its label at a time, through `transform`, which timm's loader sets itself."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, transform: Callable[[Any], Any] | None = None) -> None:
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[Any, int]:
        image = Image.fromarray(self.images[row])
        return (self.transform(image) if self.transform else image), int(self.labels[row])


def torchvision_transform(config: TrainConfig) -> transforms.Compose:
    """What the recipe does to an image, image by image, as the public FER projects do it."""
    steps: list[Any] = []
    if config.flip_prob:
        steps.append(transforms.RandomHorizontalFlip(config.flip_prob))
    if config.rotation_deg or config.shift_frac or config.scale_frac or config.shear_deg:
        shift, scale = (config.shift_frac,) * 2, (1 - config.scale_frac, 1 + config.scale_frac)
        bilinear = transforms.InterpolationMode.BILINEAR
        steps.append(transforms.RandomAffine(config.rotation_deg, shift, scale, config.shear_deg, bilinear))
    if config.brightness_frac or config.contrast_frac:
        steps.append(transforms.ColorJitter(config.brightness_frac, config.contrast_frac))
    steps += [transforms.ToTensor(), transforms.Normalize(PIXEL_MEAN, PIXEL_STD)]
    if config.erase_prob:
        steps.append(transforms.RandomErasing(config.erase_prob))
    return transforms.Compose(steps)


def plain_loader(images: np.ndarray, labels: np.ndarray, config: TrainConfig, workers: int) -> Batches:
    """torch's DataLoader with torchvision's transforms."""
    faces = Faces(images, labels, torchvision_transform(config))
    return DataLoader(faces, config.batch_size, shuffle=True, num_workers=workers, persistent_workers=workers > 0)


def timm_loader(
    images: np.ndarray, labels: np.ndarray, config: TrainConfig, device: torch.device, workers: int
) -> Batches:
    """timm's training loader with its own augmentation: random crop, flip, jitter of light, erasing."""
    from timm.data import create_loader

    return create_loader(
        Faces(images, labels),
        input_size=(1, 48, 48),
        batch_size=config.batch_size,
        is_training=True,
        re_prob=config.erase_prob,
        hflip=config.flip_prob,
        scale=(0.8, 1.0),
        color_jitter=(config.brightness_frac, config.contrast_frac, 0.0),  # no colour to saturate
        mean=(PIXEL_MEAN,),
        std=(PIXEL_STD,),
        num_workers=workers,
        device=device,
        use_prefetcher=device.type == "cuda",  # made for it
        persistent_workers=workers > 0,
    )


def plain_training(loader: Batches, config: TrainConfig, device: torch.device) -> Callable[[], None]:
    """The loop of the public FER projects: Adam, float32, the loss read after every step."""
    net = models.build(config).to(device)
    optimizer = torch.optim.Adam(net.parameters(), config.lr, weight_decay=config.weight_decay)

    def epoch() -> None:
        net.train()
        for x, y in loader:
            loss = F.cross_entropy(net(x.to(device)), y.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()

    return epoch


def laid_out(loader: Batches, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """A loader's batches, on the device and channels-last, as our loop takes them."""
    for x, y in loader:
        yield x.to(device).contiguous(memory_format=torch.channels_last), y.to(device)


class Fed:
    """An iterable that starts anew each time it is asked, for a Trainer that takes no generator."""

    def __init__(self, start: Callable[[], Batches], length: int) -> None:
        self.start, self.length = start, length

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter(self.start())

    def __len__(self) -> int:
        return self.length


def has_lightning() -> bool:
    """Whether Lightning is installed; it is an extra of its own: pip install 'fer_kit[bench]'."""
    return importlib.util.find_spec("lightning") is not None


def lightning_training(
    loader: Batches, config: TrainConfig, loss_of: Loss, precision: Precision, now: Callable[[], float]
) -> Callable[[], float]:
    """An epoch of Lightning's Trainer on the network, optimizer, loss and number format of the recipe, in seconds.

    Its own times by the clock `now`: from the start of training to the end of the epoch, without what `fit` prepares.
    """
    import lightning

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = models.build(config).to(memory_format=torch.channels_last)

        def training_step(self, batch: tuple[Tensor, Tensor], number: int) -> Tensor:
            x, y = batch
            return loss_of(self.net(x.contiguous(memory_format=torch.channels_last)).float(), y)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return optim.make_optimizer(self.net, config)

    class Clock(lightning.Callback):
        began = seconds = 0.0

        def on_train_start(self, *_: Any) -> None:
            self.began = now()

        def on_train_epoch_end(self, *_: Any) -> None:
            if precision.device.type == "cuda":
                torch.cuda.synchronize(precision.device)
            self.seconds = now() - self.began

    module, clock = Module(), Clock()
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    where = {"accelerator": "gpu" if precision.device.type == "cuda" else "cpu", "devices": 1}
    options: dict[str, Any] = {**quiet, **where, "precision": LIGHTNING_PRECISION[precision.name]}

    def epoch() -> float:
        trainer = lightning.Trainer(max_epochs=1, callbacks=[clock], **options)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # advice on the number of workers
            trainer.fit(module, loader)
        return clock.seconds

    return epoch
