"""The entry point: what `profile` measures, predicts, says and refuses."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from autodiff import (
    Exp,
    GraphError,
    Leaf,
    Mean,
    PlannerError,
    Revolve,
    Spec,
    StoreAll,
    gradients,
    linearize,
    networks,
)
from experiments import theory
from profiler import Profile, planner_savings, predict, profile, program_of


def numbers(found: Profile) -> tuple[object, ...]:
    """Every number of a profile that does not depend on the clock."""
    return (
        found.ops_by_phase,
        found.matmul_flops,
        found.peak_bytes,
        found.peak_by_role,
        found.live_after_bytes,
        found.parameter_bytes,
        found.input_bytes,
    )


@pytest.mark.parametrize("activation", theory.ACTIVATIONS)
@pytest.mark.parametrize("loss", theory.LOSSES)
def test_shapes_alone_give_the_measured_numbers(activation: str, loss: str) -> None:
    """`execute=False` gives the numbers of the executed run, without values, and both are the
    theory's.
    """
    for n, d, b in [(1, 3, 2), (3, 4, 9), (4, 9, 2)]:
        shapes = networks.chain(n, d, b, activation=activation, loss=loss, values=False)
        network = networks.chain(n, d, b, activation=activation, loss=loss)
        for mode, wrt, stop in [
            ("no_grad", 0, "backward"),
            ("forward", n, "forward"),
            ("full", n, "backward"),
            ("w1_only", 1, "backward"),
        ]:
            measured = profile(network.loss, network.weights[:wrt], stop_after=stop)
            predicted = profile(shapes.loss, shapes.weights[:wrt], stop_after=stop, execute=False)
            assert numbers(measured) == numbers(predicted)
            assert measured.peak_bytes == 4 * theory.peak_elements(
                mode, n, d, b, activation=activation, loss=loss
            )
            assert measured.live_after_bytes == 4 * theory.live_after_elements(
                mode, n, d, b, activation=activation, loss=loss
            )
            assert measured.ops.total == theory.total_operations(
                mode, n, d, b, activation=activation, loss=loss
            )
            assert measured.parameter_bytes == 4 * theory.parameter_elements(n, d)
            assert measured.input_bytes == theory.input_bytes(d, b, loss)


def test_gradients_are_pytorchs_own() -> None:
    """Loss and gradients equal those of PyTorch's autograd to the last bit, in the order of
    `wrt`.
    """
    network = networks.chain(4, 6, 5, loss="cross_entropy", dtype=torch.float64)
    assert network.target is not None
    found = profile(network.loss, network.weights[::-1])
    weights = [weight.value.clone().requires_grad_() for weight in network.weights]
    h = network.input.value
    for weight in weights:
        h = torch.tanh(weight @ h)
    loss = torch.nn.functional.cross_entropy(h.T, network.target.value, reduction="sum")
    expected = torch.autograd.grad(loss, weights[::-1])
    assert torch.allclose(found.loss, loss.detach(), rtol=1e-14)
    for mine, theirs in zip(found.gradients, expected, strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-12, atol=1e-14)


def test_roles_and_phases_add_up() -> None:
    """Roles add up to the peak, phases to the operations, and every phase is a key."""
    network = networks.chain(3, 5, 4)
    found = profile(network.loss, network.weights)
    assert sum(found.peak_by_role.values()) == found.peak_bytes
    assert list(found.ops_by_phase) == ["forward", "recompute", "backward"]
    assert sum(cost.total for cost in found.ops_by_phase.values()) == found.ops.total
    assert found.ops_by_phase["recompute"].total == 0


def test_the_timeline_ends_with_what_lives_on() -> None:
    """Its greatest total is the peak, its last what lives after, its roles add up, and freed never
    exceeds allocated.
    """
    network = networks.chain(3, 5, 4, activation="gelu")
    found = profile(network.loss, network.weights)
    frame = found.timeline()
    assert frame["live_bytes"].max() == found.peak_bytes
    assert frame["live_bytes"].iloc[-1] == found.live_after_bytes
    assert (frame[list(found.peak_by_role)].sum(axis=1) == frame["live_bytes"]).all()
    assert (frame["live_bytes"] >= 0).all()
    assert frame["time_ns"].is_monotonic_increasing
    assert set(frame["event"]) == {"allocated", "computed", "freed"}


def test_who_is_alive_at_the_peak_says_why() -> None:
    """The buffers at the peak add up to it, and each says which step it waits for."""
    network = networks.chain(4, 4, 16)
    found = profile(network.loss, network.weights)
    alive = found.alive_at_peak().set_index("node")
    assert alive["bytes"].sum() == found.peak_bytes
    assert alive.loc["x_3", "why"] == "because ∂W_3 will read it"
    assert alive.loc["L", "why"] == "because it was asked for"
    assert str(alive.loc["L", "dies"]) == "<NA>"


def test_times_are_there_when_it_ran() -> None:
    """Wall time has each phase after a run, with a spread over repeats, and is None from shapes
    alone.
    """
    network = networks.chain(2, 3, 3)
    found = profile(network.loss, network.weights, repeats=3)
    assert found.wall_ns is not None
    assert found.wall_ns_spread is not None
    assert found.wall_ns["forward"] > 0
    assert found.wall_ns["backward"] > 0
    assert found.wall_ns["recompute"] == 0
    assert profile(network.loss, network.weights, execute=False).wall_ns is None


def test_a_chrome_trace_has_spans_and_counters(tmp_path: Path) -> None:
    """The trace has one span a step in order of time, and counters whose greatest total is the
    peak.
    """
    network = networks.chain(2, 3, 3)
    for execute in (True, False):
        found = profile(network.loss, network.weights, execute=execute)
        events = json.loads(found.to_chrome_trace(tmp_path / "trace.json").read_text())[
            "traceEvents"
        ]
        spans = [event for event in events if event["ph"] == "X"]
        counters = [event for event in events if event["ph"] == "C"]
        assert [span["name"] for span in spans][:3] == ["z_1", "x_2", "z_2"]
        assert all(
            before["ts"] + before["dur"] <= after["ts"] + 1e-6 for before, after in pairwise(spans)
        )
        assert max(sum(counter["args"].values()) for counter in counters) == found.peak_bytes
        assert list(tmp_path.iterdir()) == [tmp_path / "trace.json"]


def test_a_planner_may_be_a_text() -> None:
    """A text names the planner that the class makes, wherever one is taken; wrong ones say so."""
    network = networks.chain(6, 3, 4)
    named = profile(network.loss, network.weights, planner="revolve(snapshots=2)")
    made = profile(network.loss, network.weights, planner=Revolve(2))
    assert (named.ops, named.peak_bytes) == (made.ops, made.peak_bytes)
    predicted = predict(network.loss, network.weights, planner="revolve(snapshots=2)")
    assert predicted.peak_bytes == made.peak_bytes
    table = planner_savings(program_of(network.loss, network.weights), ["revolve(snapshots=2)"])
    assert table["peak_bytes"].tolist()[1] == made.peak_bytes
    with pytest.raises(PlannerError, match="evolve"):
        profile(network.loss, network.weights, planner="evolve")


def test_a_profile_prints_as_a_table() -> None:
    """Text and HTML show the phases, the peak and the buffers to blame."""
    network = networks.chain(2, 3, 3)
    found = profile(network.loss, network.weights)
    text, html = str(found), found._repr_html_()
    for word in (
        "forward",
        "backward",
        "peak",
        "parameters",
        f"{found.ops.total:,}",
        f"{found.peak_bytes:,}",
    ):
        assert word in text
        assert word in html
    assert "∂W_2" in text


def test_python_numbers_are_measured_too() -> None:
    """A graph of plain numbers, eight bytes each, is profiled: the exercise's cosh."""
    x = Leaf(math.log(2), "x")
    found = profile(Mean(Exp(x), Exp(-x)), [x])
    assert (found.loss, found.gradients) == (1.25, [0.75])
    assert found.ops.total == 10
    assert found.live_after_bytes == 16


def test_a_program_stands_for_its_loss() -> None:
    """A Program gives the numbers of the graph that it was made of, and takes no `wrt`."""
    network = networks.chain(2, 3, 4)
    program = linearize([network.loss, *gradients(network.loss, network.weights)])
    assert numbers(profile(program)) == numbers(
        profile(network.loss, network.weights, planner=StoreAll())
    )
    with pytest.raises(GraphError, match="wrt was given with a Program"):
        profile(program, network.weights)


def test_tied_parameters_count_once() -> None:
    """Two leaves that hold one tensor are one buffer of parameters."""
    shared = torch.ones(3, 3)
    a, b = Leaf(shared, "a", "parameter"), Leaf(shared, "b", "parameter")
    assert profile((a @ b).sum(), [a, b]).parameter_bytes == 36


def test_what_cannot_be_profiled_is_told() -> None:
    """No value, an unknown stop, no node, no dependence: each is one line."""
    shapes = networks.chain(1, 2, 2, values=False)
    network = networks.chain(1, 2, 2)
    other = Leaf(torch.ones(2, 2), "other")
    cases = [
        (lambda: profile(shapes.loss), "execute=False"),
        (lambda: profile(network.loss, stop_after="never"), "stop_after='never'"),
        (lambda: profile(3), "loss is a int"),  # type: ignore[arg-type]
        (lambda: profile(network.loss, [other]), "does not depend on other"),
        (lambda: profile(network.loss, repeats=0), "repeats=0"),
        (lambda: profile(Leaf(None, "empty", spec=None).sum()), "neither a value nor a spec"),
    ]
    for ask, words in cases:
        with pytest.raises(GraphError, match=words) as caught:
            ask()
        assert "\n" not in str(caught.value)


def calls_of(function: Callable[[], object]) -> int:
    """How many functions of Python a function calls."""
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(None)
    return calls


def layers(n: int) -> Profile:
    """A chain of n layers, predicted."""
    network = networks.chain(n, 4, 64, values=False)
    return profile(network.loss, network.weights, execute=False)


def readers(n: int) -> Profile:
    """One leaf that is read n times, and the sums of these reads."""
    x = Leaf(torch.ones(3), "x")
    total = x.tanh()
    for _ in range(n):
        total = total + x
    return profile(total.sum(), [x], execute=False)


@pytest.mark.parametrize("make", [layers, readers])
def test_the_text_of_a_deep_graph_takes_linear_time(make: Callable[[int], Profile]) -> None:
    """Text and the list of what is alive take work in proportion to the steps, not to its
    square.
    """
    str(make(3))  # what is imported at first is not counted
    once, twice = (calls_of(make(n).__str__) for n in (400, 800))
    assert twice < 2.2 * once
    few, many = (calls_of(make(n).alive_at_peak) for n in (400, 800))
    assert many < 2.2 * few
    assert len(layers(400).alive_at_peak()) >= 400


def test_why_a_buffer_is_alive_is_the_next_step_that_reads_it() -> None:
    """The reader that is named is the first that computes from a buffer, through a view or not."""
    x, y = Leaf(torch.ones(2, 2), "x"), Leaf(torch.ones(2, 2), "y")
    a = Exp(x, name="a")
    late = (a.T @ y).sum()
    late.input_nodes[0].name = "late"
    found = profile(late, [x])
    names = found.ledger.names
    buffer = next(i for i in range(9) if names.buffer(i) == "a")
    assert names.why(buffer, 0) == "because late will read it"
    steps = [names.step(step) for step in range(len(found.ledger.phases))]
    assert names.why(buffer, steps.index("late")) == "because late reads it"
    assert names.why(buffer, steps.index("late") + 1) == "because ∂x will read it"


def test_a_spec_alone_makes_a_leaf() -> None:
    """A graph of one's own is predicted from specs."""
    w = Leaf(None, "w", "parameter", spec=Spec((3, 4), torch.float32))
    x = Leaf(None, "x", "input", spec=Spec((4, 5), torch.float32))
    found = profile((w @ x).tanh().sum(), [w], execute=False)
    assert found.ops_by_phase["forward"].total == 3 * 5 * (2 * 4 - 1) + 15 + 14
    assert found.parameter_bytes == 48
