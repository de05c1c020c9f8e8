"""Sharpness-aware minimization: against its formula, and in company with everything else."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from fer_kit.config.train_config import override
from fer_kit.engine import loop, losses, sam
from fer_kit.engine.device import Precision
from tests.helpers.toy_training import CPU, EXACT, PLAIN, drawn, small_net, start, train, weights

RHO = 0.2


def gradient(net, x, labels):
    """Of the loss at the present weights, one vector."""
    found = torch.autograd.grad(F.cross_entropy(net(x), labels), list(net.parameters()))
    return torch.cat([part.flatten() for part in found])


def test_the_step_is_that_of_the_gradient_at_the_worst_point_nearby():
    x, labels = drawn([24])[0]
    net = small_net(norm=False)
    start = nn.utils.parameters_to_vector(net.parameters()).detach().clone()
    up = gradient(net, x, labels)
    nn.utils.vector_to_parameters(start + RHO * up / up.norm(), net.parameters())
    expected = start - 0.5 * gradient(net, x, labels)

    state, loss, _ = train(small_net(norm=False), override(PLAIN, [f"sam_rho={RHO}"]), [(x, labels)])
    torch.testing.assert_close(nn.utils.parameters_to_vector(state.net.parameters()), expected)
    usual, usual_loss, _ = train(small_net(norm=False), PLAIN, [(x, labels)])
    assert loss == usual_loss  # at the weights that are kept, not at those nearby
    assert (weights(usual.net) - weights(state.net)).norm() > 1e-3


def test_statistics_and_draws_are_those_of_one_pass_and_units_drop_out_alike():
    """The network differs in nothing that a single pass leaves behind, but for its gradients."""
    x, labels = drawn([24])[0]
    net, usual = small_net(), small_net()
    masks = []
    net[3].register_forward_hook(lambda module, inputs, output: masks.append(output.detach() == 0))
    before = [weight.detach().clone() for weight in net.parameters()]

    def backward(network):
        loss = F.cross_entropy(network(x), labels)
        loss.backward()
        return loss

    torch.manual_seed(5)
    sam.backward_nearby(net, 0.001, lambda: backward(net))
    drawn_after = torch.get_rng_state()
    torch.manual_seed(5)
    backward(usual)
    assert torch.equal(drawn_after, torch.get_rng_state())
    first, second = masks
    assert (first == second).float().mean() > 0.99  # a few zeros are those of the activation, at other weights
    for name, value in usual.state_dict().items():
        assert torch.equal(net.state_dict()[name], value), name
    assert net[1].num_batches_tracked == 1 and net[1].track_running_stats
    assert all(torch.equal(weight, kept) for weight, kept in zip(net.parameters(), before, strict=True))


def test_accumulated_batches_have_one_worst_point():
    groups = drawn([9, 8, 7])
    large = [tuple(map(torch.cat, zip(*groups, strict=True)))]
    one, _, _ = train(small_net(norm=False), override(PLAIN, ["sam_rho=0.3"]), large)
    some, _, _ = train(small_net(norm=False), override(PLAIN, ["sam_rho=0.3", "accumulate=3"]), groups)
    torch.testing.assert_close(weights(some.net), weights(one.net), rtol=1e-5, atol=1e-6)


def test_it_works_with_fp16_clipping_and_the_weight_average():
    """The scale of fp16's gradients cancels; the step is clipped, and goes into the average."""
    settings = (f"sam_rho={RHO}", "grad_clip_norm=0.02", "lr=1", "average_decay=0.9")
    half, exact = (
        train(small_net(), override(PLAIN, settings), drawn([32, 32]), form)[0]
        for form in (Precision("fp16", CPU), EXACT)
    )
    start = nn.utils.parameters_to_vector(small_net().parameters())
    steps = [nn.utils.parameters_to_vector(state.net.parameters()) - start for state in (half, exact)]
    assert F.cosine_similarity(steps[0], steps[1], dim=0) > 0.99
    assert 0.02 < steps[1].norm().item() < 0.0401  # two steps of 0.02
    assert not torch.equal(weights(exact.averaged_net), weights(exact.net))


def test_a_gradient_that_overflows_in_fp16_skips_the_step_and_harms_nothing():
    """The loss itself is finite, as in a first step whose scale is too large."""
    config, form = override(PLAIN, ["sam_rho=0.1"]), Precision("fp16", CPU)
    state = start(small_net(norm=False), config, form=form)
    state.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**60)
    before = weights(state.net)
    groups = drawn([16])
    loop.train_epoch(state, groups, losses.make_loss(config, groups[0][1].numpy(), CPU), config, form)
    assert torch.equal(weights(state.net), before)
    assert state.scaler.get_scale() < 2.0**60
