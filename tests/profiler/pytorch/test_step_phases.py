"""`profile_step`: what is forward, recomputation and backward."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

from profiler import profile_step
from tests.support.torch_chain import B, Chain, D, N, blocks, x


def test_checkpointing_is_recomputation() -> None:
    """Every block checkpointed: 4n − 1 products instead of 3n − 1, and each recomputed product is
    in the phase recompute.
    """
    for reentrant in (False, True):
        model, batch = blocks(), x()

        def step(
            model: nn.Sequential = model, batch: torch.Tensor = batch, reentrant: bool = reentrant
        ) -> None:
            h = batch.clone().requires_grad_() if reentrant else batch
            for block in model:
                h = checkpoint(block, h, use_reentrant=reentrant)
            h.sum().backward()

        found = profile_step(step, model=model)
        products = 2 * B * D * D
        assert (
            found.ops_by_phase["forward"].matmul_flops
            == found.ops_by_phase["recompute"].matmul_flops
            == N * products
        )
        assert (
            found.ops_by_phase["backward"].matmul_flops
            == (2 * N - (0 if reentrant else 1)) * products
        )
        rows = found.by_module().set_index("module")
        assert (rows["calls"]["0.0"], rows["recomputed"]["0.0"]) == (1, 1)
        assert rows["ops_recompute"]["0.0"] == rows["ops_forward"]["0.0"]


@pytest.mark.parametrize("segments", [2, 4])
def test_checkpoint_sequential_leaves_its_last_segment_alone(segments: int) -> None:
    """With k segments n/k products are saved: 4n − 1 − n/k."""
    model, batch = blocks(8), x()
    found = profile_step(
        lambda: checkpoint_sequential(model, segments, batch, use_reentrant=False).sum().backward(),
        model=model,
    )
    assert found.matmul_flops == (4 * 8 - 1 - 8 // segments) * 2 * B * D * D


def test_a_checkpoint_that_turns_autograd_off_inside() -> None:
    """What is computed again with autograd off is recompute, too; and a backward pass that builds a
    graph is no recomputation.
    """
    weight, batch = torch.randn(D, D, requires_grad=True), torch.randn(D, B)

    def block(h: torch.Tensor) -> torch.Tensor:
        h = torch.tanh(weight @ h)
        with torch.no_grad():
            scale = h.exp()
        return torch.tanh((h * scale) @ batch.t())

    for create_graph in (False, True):
        found = profile_step(
            lambda create_graph=create_graph: torch.autograd.grad(
                checkpoint(block, batch, use_reentrant=False).sum(),
                weight,
                create_graph=create_graph,
            )
        )
        recomputed, forward = found.ops_by_phase["recompute"], found.ops_by_phase["forward"]
        assert recomputed.elementary == forward.elementary == 2 * D * B + D * D
        assert recomputed.matmul_flops == forward.matmul_flops


def test_gradients_of_gradients_are_backward() -> None:
    """The products of both backward passes are of the backward phase; the penalty between them,
    which is taped, is forward.
    """
    weight, batch = torch.randn(D, D, requires_grad=True), torch.randn(D, B)

    def step() -> None:
        (gradient,) = torch.autograd.grad((weight @ batch).tanh().sum(), weight, create_graph=True)
        (gradient * gradient).sum().backward()

    found = profile_step(step)
    assert found.ops_by_phase["recompute"].total == 0
    assert found.ops_by_phase["forward"].matmul_flops == 2 * D * D * B
    assert found.ops_by_phase["forward"].multiplications == D * D * B + D * D
    assert found.ops_by_phase["backward"].matmul_flops == 3 * 2 * D * D * B


def test_updates_by_hand_are_backward() -> None:
    """Clipping and updating with autograd off, which read gradients, are backward; reading the loss
    is not.
    """
    chain = Chain(1)

    def step() -> float:
        loss = chain.loss()
        loss.backward()
        with torch.no_grad():
            for weight in chain.weights:
                assert weight.grad is not None
                weight -= 0.5 * weight.grad
        return loss.detach().mul(2).item()

    found = profile_step(step)
    plain = profile_step(Chain(1).step)
    assert found.ops_by_phase["backward"].total == plain.ops_by_phase["backward"].total + 2 * D * D
    assert found.ops_by_phase["forward"].total - plain.ops_by_phase["forward"].total == 1


def test_inference_counts_what_training_counts() -> None:
    """Under no_grad and inference_mode forward has the same operations, and no graph is kept: two
    activations are alive at most.
    """
    model, batch = nn.Sequential(*[layer for block in blocks() for layer in block]), x()
    trained = profile_step(lambda: model(batch), model=model)
    for off in (torch.no_grad(), torch.inference_mode()):
        with off:
            found = profile_step(model, batch, model=model)
        assert found.ops_by_phase == trained.ops_by_phase
        assert found.peak_bytes == 2 * 4 * B * D
        assert found.parameter_bytes == trained.parameter_bytes


def test_frozen_parameters_get_no_gradient() -> None:
    """With all but the last block frozen one product is left for the backward pass; frozen
    parameters are parameters.
    """
    model, batch = blocks(), x()
    model[:-1].requires_grad_(False)
    found = profile_step(lambda: model(batch).sum().backward(), model=model)
    assert found.ops_by_phase["backward"].matmul_flops == 2 * B * D * D
    assert found.parameter_bytes == 4 * N * D * D
    assert found.live_after_bytes == 4 * D * D


def test_autocast_computes_in_half_precision() -> None:
    """Under autocast the operations are the same, and activations take half the bytes."""
    model, batch = blocks(), x(64)
    plain = profile_step(lambda: model(batch).sum().backward(), model=model)
    model.zero_grad()

    def step() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(batch).sum()
        loss.backward()

    found = profile_step(step, model=model)
    assert found.matmul_flops == plain.matmul_flops
    assert found.peak_bytes < plain.peak_bytes
    assert found.live_after_bytes == plain.live_after_bytes
