"""Whole layers in one op cost what the same layers cost op by op: the LSTM of oneDNN, attention and
encoder layer of inference.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import nn

from autodiff.aten import TABLE, Call, cost_of
from autodiff.cost import Cost
from profiler import Profile, profile_step
from profiler.audit.counting import CountingScalar, Tally
from profiler.pytorch.costs import _cost


@contextmanager
def op_by_op() -> Iterator[None]:
    """Without the fused layers."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    on = torch.backends.mkldnn.enabled
    # PyTorch's own test utilities, once imported, refuse to set `mkldnn.enabled`, and the context
    # manager that they allow warns about another vendor's flags.
    torch._C._set_mkldnn_enabled(False)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        torch._C._set_mkldnn_enabled(on)  # type: ignore[attr-defined]


def both(step: Callable[[], Any], op: str) -> tuple[Profile, Profile]:
    """The profiles of a step with its fused op, and op by op."""
    fused = profile_step(step)
    with op_by_op():
        plain = profile_step(step)
    ops = [{str(node).split("#")[0] for node in one.timeline()["node"]} for one in (fused, plain)]
    assert op in ops[0]
    assert op not in ops[1]
    assert fused.uncounted == plain.uncounted == {}
    return fused, plain


def lstm(steps: int, batch: int, inner: int, hidden: int, bias: bool) -> Callable[[], Any]:
    """An LSTM whose every result is used, and every argument differentiated."""
    model = nn.LSTM(inner, hidden, bias=bias)
    x, h, c = (
        torch.randn(shape, requires_grad=True)
        for shape in ((steps, batch, inner), (1, batch, hidden), (1, batch, hidden))
    )
    seeds = [
        torch.ones(shape)
        for shape in ((steps, batch, hidden), (1, batch, hidden), (1, batch, hidden))
    ]

    def step() -> None:
        out, (last, cell) = model(x, (h, c))
        torch.autograd.grad([out, last, cell], [x, h, c, *model.parameters()], seeds)

    return step


@pytest.mark.parametrize(
    ("steps", "batch", "inner", "hidden", "bias"),
    [(1, 1, 1, 1, True), (3, 2, 4, 5, True), (2, 3, 5, 4, False), (7, 4, 3, 2, True)],
)
def test_an_lstm_costs_what_its_ops_cost(
    steps: int, batch: int, inner: int, hidden: int, bias: bool
) -> None:
    """oneDNN's LSTM, forward and backward, counts what PyTorch's own ops count for the same layer,
    with every kind and matmul flop.
    """
    fused, plain = both(lstm(steps, batch, inner, hidden, bias), "mkldnn_rnn_layer")
    assert fused.ops_by_phase["forward"] == plain.ops_by_phase["forward"]
    assert fused.ops_by_phase["backward"] == plain.ops_by_phase["backward"]


HEADS, BATCH, ROWS, WIDTH = 2, 2, 5, 12


def as_inference_does(plain: Cost) -> Cost:
    """The slow path's cost without the logarithm of each row's sum, kept for a backward pass, and
    with queries scaled in place of scores.
    """
    rows = BATCH * HEADS * ROWS
    scaled = Cost(multiplications=BATCH * ROWS * WIDTH) + Cost(multiplications=rows * ROWS) * -1
    return plain + Cost(additions=rows, elementary=rows) * -1 + scaled


@pytest.mark.parametrize(("activation", "first"), [("gelu", False), ("relu", True)])
def test_an_encoder_layer_costs_what_its_ops_cost(activation: str, first: bool) -> None:
    """The encoder layer that inference takes counts what its ops count."""
    model = nn.TransformerEncoderLayer(
        WIDTH, HEADS, 20, activation=activation, norm_first=first, batch_first=True
    ).eval()
    x = torch.randn(BATCH, ROWS, WIDTH)

    def step() -> torch.Tensor:
        with torch.no_grad():
            out: torch.Tensor = model(x)
        return out

    fused, plain = both(step, "_transformer_encoder_layer_fwd")
    assert fused.ops == as_inference_does(plain.ops)


def test_attention_costs_what_its_ops_cost() -> None:
    """The attention that inference takes counts what its ops count; weights that are wanted are
    their heads' mean.
    """
    model = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True).eval()
    x = torch.randn(BATCH, ROWS, WIDTH)

    def step(weights: bool) -> Callable[[], Any]:
        def run() -> Any:
            with torch.no_grad():
                return model(x, x, x, need_weights=weights)

        return run

    fused, plain = both(step(False), "_native_multi_head_attention")
    assert fused.ops == as_inference_does(plain.ops)
    wanted, _ = both(step(True), "_native_multi_head_attention")
    assert wanted.ops == fused.ops + Cost(
        multiplications=BATCH * ROWS * ROWS, additions=BATCH * ROWS * ROWS * (HEADS - 1)
    )


def test_a_wrong_row_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that forgets the biases disagrees with the ops."""
    right = TABLE["mkldnn_rnn_layer"]
    monkeypatch.setitem(
        TABLE,
        "mkldnn_rnn_layer",
        lambda call: right(Call((*call.args[:12], False, *call.args[13:]), {}, call.results)),
    )
    monkeypatch.setattr(
        "profiler.pytorch.costs._cost", _cost.__wrapped__
    )  # which remembers nothing
    fused, plain = both(lstm(3, 2, 4, 5, True), "mkldnn_rnn_layer")
    assert fused.ops_by_phase["forward"] != plain.ops_by_phase["forward"]


@pytest.mark.parametrize("boundaries", [1, 2, 3, 4, 7, 8, 9, 100])
def test_a_search_by_halves(boundaries: int) -> None:
    """Finding a place among k sorted values takes at most ⌈log₂(k + 1)⌉ comparisons, as a search
    over scalars that count says.
    """
    tally = Tally()
    sorted_values = [CountingScalar(float(i), tally) for i in range(boundaries)]
    most = 0
    for place in range(-1, boundaries + 1):
        tally.take()
        bisect.bisect_left(sorted_values, place + 0.5)
        most = max(most, tally.take().comparisons)
    for op, args in (("bucketize", ((6,), (boundaries,))), ("searchsorted", ((boundaries,), (6,)))):
        assert cost_of(op, Call(args, {}, ((6,),))) == Cost(comparisons=6 * most)


def test_a_complex_number_of_a_length_and_an_angle() -> None:
    """r·cos φ and r·sin φ: two products and two elementary functions for each."""
    assert cost_of("polar", Call(((5,), (5,)), {}, ((5,),))) == Cost(
        multiplications=10, elementary=10
    )
