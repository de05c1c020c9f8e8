"""What recipes are worth: expected accuracy after a number of epochs, and what further members add to a blend.

The planner compares plans by these numbers; they are no forecast of a score. Sources: docs/recipes.md (accuracies out
of fold on the real faces) and tests/benchmarks/records.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

# A recipe with fewer epochs than in WORTH loses 1.0 · d + 0.12 · d³ points, d = log2 of the ratio. vgg_tiny has 64.15%
# after 20 epochs, where the formula gives 64.4% to vgg_small.
LOST_LINEAR, LOST_CUBIC = 1.0, 0.12
GAINED, MOST_STRETCH = 0.5, 2.0  # twice the epochs gain half a point; more than that is not planned
# Further members of about equal strength. Means of two networks on fold 0, by rotated views (vgg_small and air_small
# with the augmentation of air, two seeds of air, tf_efficientnet_lite0; 66.2% to 67.3%): a member of another layout
# adds 0.2 to 1.2 points to the better one, another seed or width -0.1 to 0.5. A weaker member loses two thirds of the
# difference.
MEMBER_GAINS = (0.9, 0.25, 0.2, 0.15)
ALIKE = 0.5  # of the gain, for another seed or width of a layout that is in the blend already
WEAKER = 0.65
# The same recipe trained again with the out-of-fold predictions of the first time as soft targets: `air` on five folds,
# with the labels of near twins 74.08% after 73.00% out of fold, and a forecast of 74.61% after 74.02%, where the mean
# with another run on labels has 73.91%. Without the labels of twins the forecast does not rise (docs/recipes.md).
SOFT_TARGETS_GAIN = 1.1
# Students of the same targets agree more: on five folds the mean of air and vgg_medium has 69.40%, 0.42 points more
# than air, where MEMBER_GAINS alone would give 0.75.
STUDENT_GAIN_SHARE = 0.5
TEACHER = "air"  # was trained first in these measurements; vgg_medium and air_large were its students as well
VIEW_GAINS = {"flip": 0.0, "rotations": 0.7}  # five folds: vgg_tiny 0.50, vgg_small 0.54, air 0.95


@dataclass(frozen=True)
class Worth:
    """A recipe that the planner can choose.

    accuracy: out of fold, in percent, of one network with flipped views after `epochs` epochs. layout: networks of one
    layout make similar errors. on_labels: False for a recipe that was measured on soft targets alone; plans train it in
    a second round alone.
    """

    recipe: str
    layout: str
    epochs: int
    accuracy: float
    on_labels: bool = True

    def after(self, epochs: int) -> float:
        """Expected accuracy after `epochs` epochs of a schedule of that length."""
        halvings = math.log2(self.epochs / epochs)
        if halvings <= 0:
            return self.accuracy + GAINED * min(-halvings, math.log2(MOST_STRETCH))
        return self.accuracy - LOST_LINEAR * halvings - LOST_CUBIC * halvings**3


# In the order in which their speed is measured. vgg_medium has 67.02% with flipped views on the two folds that were
# trained, and air 66.66% there; but with rotated views, which plans prefer, 0.23 points less than air, and so has its
# value here. air_large has 0.93 points more than air on the same soft targets. `vgg` and `wide` are not yet trained on
# all faces: they have the value of `residual` and half of their advantage at equal FLOPs in a short training
# (ablation_networks.json).
WORTH = (
    Worth("vgg_small", "vgg", 47, 65.84),
    Worth("air", "air", 50, 66.40),
    Worth("vgg_medium", "vgg", 50, 66.17),
    Worth("air_large", "air", 50, 67.33, on_labels=False),
    Worth("air_small", "air", 42, 65.08),
    Worth("vgg", "vgg", 100, 66.9),
    Worth("residual_tiny", "residual", 20, 61.91),
    Worth("vgg_tiny", "vgg", 20, 64.15),
    Worth("wide", "wide", 100, 66.0),
    Worth("residual", "residual", 40, 65.10),
)


def unknown(recipe: str, layout: str, epochs: int) -> Worth:
    """A recipe without a result, taken for as good as the best measured one."""
    return Worth(recipe, layout, epochs, 65.84)


def of_blend(members: Sequence[tuple[Worth, float]], views: str, soft_targets: bool = False) -> float:
    """Expected accuracy of a blend of `members`, each with its own expected accuracy on labels.

    soft_targets: they are trained on the same soft targets.
    """
    best, *others = sorted(members, key=lambda member: -member[1])
    total, layouts = best[1] + VIEW_GAINS.get(views, 0.0), {best[0].layout}
    gain_share = STUDENT_GAIN_SHARE if soft_targets else 1.0
    gains = [*MEMBER_GAINS, *[MEMBER_GAINS[-1] / 2] * len(others)]
    for (worth, accuracy), gain in zip(others, gains, strict=False):
        share = gain_share * (ALIKE if worth.layout in layouts else 1.0)
        total += max(0.0, share * gain - WEAKER * (best[1] - accuracy))
        layouts.add(worth.layout)
    return total + (SOFT_TARGETS_GAIN if soft_targets else 0.0)
