"""The benchmark of steps: kinds of operations, and a round on a few images."""

from __future__ import annotations

import pytest
import torch

from tests.benchmarks import bench_steps


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("aten::convolution_backward", "convolutions"),
        ("aten::mkldnn_convolution", "convolutions"),
        ("aten::native_batch_norm_backward", "norms"),
        ("aten::max_pool2d_with_indices_backward", "pooling"),
        ("aten::threshold_backward", "activations"),
        ("aten::addmm", "matrix products"),
        ("aten::copy_", "copies and casts"),
        ("aten::_fused_adamw_", "rest"),
    ],
)
def test_operations_have_a_kind(operation: str, kind: str):
    assert bench_steps.kind_of(operation) == kind


def test_shares_sum_to_one_and_begin_with_the_largest():
    shares = bench_steps.shares_of({"aten::mm": 1.0, "aten::bmm": 1.0, "aten::relu": 6.0, "aten::add": 2.0})
    assert list(shares.items()) == [("activations", 0.6), ("matrix products", 0.2), ("rest", 0.2)]


@pytest.mark.slow
def test_a_ratio_and_a_profile_are_measured():
    device = torch.device("cpu")
    found = bench_steps.ratio("vgg_tiny", 128, 1, device)
    assert len(found["all_rounds"]) == 1
    assert found["images_per_cpu_second"] > 0
    step = bench_steps.profiled("vgg_tiny", 128, device)
    assert step["shares"]["convolutions"] > 0.1
    assert sum(step["shares"].values()) == pytest.approx(1, abs=1e-3)
