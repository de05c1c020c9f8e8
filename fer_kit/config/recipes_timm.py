"""Recipes `timm/<name>`: fine-tuning of timm's networks. Five are adapted; all others have the values of their family.

Sized for Kaggle's T4 (16 GB, fp16). Its memory was not measured but estimated: batch size × the tensors that a forward
pass saves for the backward pass, in float32 and so about twice those of fp16, × 1.25 for temporary tensors, + five
copies of the weights (weights, gradients, two moments of AdamW, average). `python -m tests.benchmarks.bench_backbones`
measures the saved tensors with torch's hooks; its record is tests/benchmarks/records/bench_backbones.json.
"""

from __future__ import annotations

from typing import Any

from fer_kit.config.networks import TIMM_NAME
from fer_kit.config.train_config import TrainConfig
from fer_kit.errors import FerKitError

PREFIX = "timm/"

# One learning rate for all layers and a higher one for the classifier; networks built of one kind of block have rates
# that fall towards the input instead. Only the classifier learns in the first epoch, so that its random weights do not
# distort the pretrained features (Kumar et al.,
# "Fine-Tuning can Distort Pretrained Features", ICLR 2022). Strength of augmentation and mixup as in `residual`.
BASE: dict[str, Any] = {
    "weights": "hub",
    "epochs": 20,
    "batch_size": 64,
    "freeze_epochs": 1,
    "optimizer": "adamw",
    "lr": 3e-4,
    "head_lr_mult": 5.0,
    "weight_decay": 0.05,
    "decay_norms": False,
    "schedule": "cosine",
    "warmup_epochs": 2.0,
    "average_decay": 0.998,
    "label_smoothing": 0.1,
    "mixup_alpha": 0.2,
    "flip_prob": 0.5,
    "rotation_deg": 12.0,
    "shift_frac": 0.08,
    "scale_frac": 0.12,
    "brightness_frac": 0.2,
    "contrast_frac": 0.2,
    "edges": "reflection",
}

# Layer decay and rates near those of the papers' own fine-tuning: Touvron et al., "DeiT III", ECCV 2022; Liu et al.,
# "Swin Transformer", ICCV 2021; Woo et al., "ConvNeXt V2", CVPR 2023; Bao et al., "BEiT", ICLR 2022.
TRANSFORMER = {"lr": 2e-4, "layer_decay": 0.75, "head_lr_mult": 1.0, "drop_path_prob": 0.1}
WINDOWS = {"lr": 1e-4, "layer_decay": 0.9, "head_lr_mult": 2.0, "drop_path_prob": 0.1}
CONVNEXT = {"lr": 2e-4, "layer_decay": 0.9, "head_lr_mult": 2.0, "drop_path_prob": 0.1}
MOBILE = {"lr": 5e-4, "weight_decay": 0.02}

# Fine-tuning of CLIP on FER2013 as reported with fusion_bench (tanganke.github.io/fusion_bench): Adam with a constant
# rate of 5e-6, no weight decay, 4,000 steps of 128 images (22 epochs of four folds), flips alone. There the classifier
# is made of CLIP's text embeddings and stays fixed; here it is new and starts at zero, and the rate of the classifier,
# 100 times the published rate, is our choice and has not been tried.
CLIP: dict[str, Any] = {
    "epochs": 22,
    "batch_size": 128,
    "freeze_epochs": 0,
    "optimizer": "adam",
    "lr": 5e-6,
    "head_lr_mult": 100.0,
    "layer_decay": 1.0,
    "drop_path_prob": 0.0,
    "weight_decay": 0.0,
    "decay_norms": True,
    "schedule": "constant",
    "warmup_epochs": 0.0,
    "average_decay": 0.0,
    "label_smoothing": 0.0,
    "mixup_alpha": 0.0,
    "rotation_deg": 0.0,
    "shift_frac": 0.0,
    "scale_frac": 0.0,
    "brightness_frac": 0.0,
    "contrast_frac": 0.0,
    "edges": "zeros",
}

# The best of the short fine-tunings of EfficientNet-Lite0 on FER2013 (tests/benchmarks/records/lite_trials.json).
LITE: dict[str, Any] = {
    "image_px": 96,
    "epochs": 8,
    "batch_size": 32,
    "freeze_epochs": 0,
    "lr": 1e-3,
    "head_lr_mult": 1.0,
    "warmup_epochs": 0.5,
    "mixup_alpha": 0.0,
    "views": "rotations",
}

# beginnings of names, and the settings of that family; the first match counts
FAMILIES: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    (("vit_", "deit", "beit", "eva", "flexivit", "cait", "xcit", "test_vit"), TRANSFORMER),
    (("swin", "maxvit", "maxxvit", "coatnet", "davit", "mvit", "hiera", "twins"), WINDOWS),
    (("convnext", "convformer", "caformer", "poolformer", "inception_next", "test_convnext"), CONVNEXT),
    (("efficientnet", "tf_efficientnet", "mobilenet", "mobileone", "ghostnet", "lcnet", "mnasnet", "fbnet"), MOBILE),
)

# network: the weights that its bare name stands for, and the settings of its recipe; estimated peak memory in GiB
READY: dict[str, tuple[str, dict[str, Any]]] = {
    "resnet50": ("a1_in1k", {"drop_path_prob": 0.05}),  # 6.8
    "efficientnet_b0": ("ra_in1k", {"drop_path_prob": 0.1}),  # 6.6
    "convnextv2_nano": ("fcmae_ft_in22k_in1k", {}),  # 8.1
    "vit_small_patch16_224": ("augreg_in21k_ft_in1k", {}),  # 4.8
    "swin_tiny_patch4_window7_224": ("ms_in1k", {}),  # 8.4
    "vit_base_patch16_clip_224": ("openai", CLIP),
    "vit_large_patch14_clip_224": ("openai", CLIP),
    "tf_efficientnet_lite0": ("in1k", LITE),  # for a CPU; its weights are a package, too
}


def get(recipe: str) -> TrainConfig:
    """The recipe `timm/<name>`. Whether timm has such a network is checked when it is built.

    Raises:
        FerKitError: `recipe` cannot be the name of a network of timm.
    """
    if not TIMM_NAME.fullmatch(recipe):
        raise FerKitError(
            f"recipe '{recipe}': give {PREFIX} and the name of a network of timm, with or without its weights, e.g. "
            f"timm/resnet50 or timm/resnet50.a1_in1k; adapted: {', '.join(PREFIX + name for name in READY)}"
        )
    network, _, tag = recipe.removeprefix(PREFIX).partition(".")
    meant, changes = READY.get(network, ("", {}))
    tag = tag or meant
    family = next((values for starts, values in FAMILIES if network.startswith(starts)), {})
    model = f"{PREFIX}{network}.{tag}" if tag else f"{PREFIX}{network}"
    return TrainConfig(recipe=recipe, model=model, **{**BASE, **family, **changes})
