"""The audits agree with executor, ledger and costs on random graphs, and each fault put into the
product is named.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings, strategies as st

from autodiff import (
    Add,
    ComputationNode,
    Executable,
    Exp,
    Fill,
    GraphError,
    Leaf,
    Matsum,
    Mul,
    Program,
    ScheduleError,
    Spec,
    StoreAll,
    Tanh,
    Transpose,
    execute,
    forward_algorithm,
    gradients,
    linearize,
    networks,
)
from autodiff.check import check_schedule
from autodiff.liveness import Lifetimes
from autodiff.ops import HalfSumOfSquares
from autodiff.recording import recording_from_specs
from autodiff.schedule import Schedule
from profiler.audit import (
    AuditError,
    AuditReport,
    CountingScalar,
    StorageTracker,
    Tally,
    audit_scalars,
    audit_storages,
    count_by_scalars,
    run_on_scalars,
)
from profiler.counter import count_operations
from tests.support.graphs import RandomGraph, graphs, schedules

RANDOM = settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def close(found: Any, expected: Any) -> bool:
    """Whether two values are equal to rounding, relative to the greatest element."""
    a, b = (
        torch.as_tensor(found, dtype=torch.float64),
        torch.as_tensor(expected, dtype=torch.float64),
    )
    return a.shape == b.shape and bool(((a - b).abs() <= 1e-8 * (1 + b.abs().max())).all())


def by_autograd(graph: RandomGraph) -> list[torch.Tensor]:
    """PyTorch's gradients of the leaves in `wrt`, through the forward pass of the same graph."""
    values = [leaf.value for leaf in graph.wrt]
    for value in values:
        value.requires_grad_(True)
    forward_algorithm(graph.loss)
    found = (
        torch.autograd.grad(graph.loss.result, values, allow_unused=True)
        if graph.loss.result.requires_grad
        else [None] * len(values)
    )
    for value in values:
        value.requires_grad_(False)
    return [
        torch.zeros_like(value) if gradient is None else gradient
        for value, gradient in zip(values, found, strict=True)
    ]


@RANDOM
@given(graphs())
def test_random_graphs(graph: RandomGraph) -> None:
    """On any graph gradients are PyTorch's, storages are the ledger's, scalars count what is
    declared, prediction equals measurement.
    """
    program = graph.program()
    schedule = StoreAll()(program)
    results, recording = execute(program, schedule)
    for gradient, expected in zip(results[1:], by_autograd(graph), strict=False):
        assert close(gradient, expected)
    audit_storages(program, schedule).raise_if_wrong()
    audit_scalars(program, schedule, results=results).raise_if_wrong()
    predicted = recording_from_specs(program, schedule, check_schedule(program, schedule))
    assert predicted.sizes.tolist() == recording.sizes.tolist()
    assert predicted.events() == recording.events()


@RANDOM
@given(graphs(), st.data())
def test_random_schedules(graph: RandomGraph, data: st.DataObject) -> None:
    """Any legal schedule, of recomputations and overwrites, gives results equal bit for bit, and
    its own predicted bytes.
    """
    program = graph.program()
    schedule = data.draw(schedules(program))
    results, recording = execute(program, schedule)
    for found, expected in zip(results, execute(program, StoreAll()(program))[0], strict=True):
        assert torch.equal(torch.as_tensor(found), torch.as_tensor(expected))
    audit_storages(program, schedule).raise_if_wrong()
    predicted = recording_from_specs(program, schedule, check_schedule(program, schedule))
    assert predicted.sizes.tolist() == recording.sizes.tolist()


@settings(RANDOM, max_examples=40)
@given(graphs(max_steps=5))
def test_random_graphs_differentiated_twice(graph: RandomGraph) -> None:
    """The gradients of half the squared norm of the gradients pass the audits too, and are
    PyTorch's.
    """
    values = [leaf.value.requires_grad_(True) for leaf in graph.wrt]
    forward_algorithm(graph.loss)
    first = (
        torch.autograd.grad(graph.loss.result, values, create_graph=True, allow_unused=True)
        if graph.loss.result.requires_grad
        else []
    )
    norm = sum(
        (0.5 * (gradient * gradient).sum() for gradient in first if gradient is not None),
        torch.zeros((), dtype=torch.float64),
    )
    found = (
        torch.autograd.grad(norm, values, allow_unused=True)
        if norm.requires_grad
        else [None] * len(values)
    )
    for value in values:
        value.requires_grad_(False)

    squares = [HalfSumOfSquares(gradient) for gradient in graph.gradients]
    loss = squares[0]
    for square in squares[1:]:
        loss = Add(loss, square)
    reached = set(loss.sorted_nodes())
    wrt = [leaf for leaf in graph.wrt if leaf in reached]
    program = linearize([loss, *gradients(loss, wrt)])
    schedule = StoreAll()(program)
    (value, *seconds), _ = execute(program, schedule)
    assert close(value, norm.detach())
    ours = dict(zip(wrt, seconds, strict=True))
    for leaf, expected in zip(graph.wrt, found, strict=True):
        assert close(
            ours.get(leaf, torch.zeros_like(leaf.value)),
            torch.zeros_like(leaf.value) if expected is None else expected,
        )
    audit_storages(program, schedule).raise_if_wrong()
    audit_scalars(program, schedule, results=[value, *seconds]).raise_if_wrong()


def chain(n: int = 3, micro_batches: int = 1, **options: Any) -> Program:
    """A chain of the exercise, 5 wide on a batch of 4, with all its gradients."""
    network = networks.chain(n, 5, 4, dtype=torch.float64, micro_batches=micro_batches, **options)
    return linearize([network.loss, *gradients(network.loss, network.weights)])


@pytest.mark.parametrize("micro_batches", [1, 2])
@pytest.mark.parametrize("loss", networks.LOSSES)
@pytest.mark.parametrize("activation", networks.ACTIVATIONS)
def test_chains(activation: str, loss: str, micro_batches: int) -> None:
    """Both audits agree on the network of the exercise; scalars count each phase as declared."""
    program = chain(activation=activation, loss=loss, micro_batches=micro_batches)
    schedule = StoreAll()(program)
    assert audit_storages(program, schedule) == AuditReport("storages", 2 * len(schedule) + 2)
    audit_scalars(program, schedule).raise_if_wrong()
    assert count_by_scalars(program, schedule) == count_operations(
        recording_from_specs(program, schedule, check_schedule(program, schedule))
    )


def test_scalars_without_values() -> None:
    """A program of shapes alone is counted with stand-in values.

    A recomputation is counted in its own phase.
    """
    program = chain(values=False, loss="cross_entropy")
    audit_scalars(program).raise_if_wrong()
    order = np.array([0, *range(len(program.instructions))])
    by_phase = count_by_scalars(program, replace(StoreAll()(program), order=order))
    assert by_phase == {
        **count_by_scalars(program),
        "recompute": program.instructions[0].op.cost(Spec((5, 5), None), Spec((5, 4), None)),
    }
    with pytest.raises(GraphError, match="has no value"):
        audit_storages(program, StoreAll()(program))


def test_scalars_take_given_values() -> None:
    """Values that are given by number take the place of the leaves' own."""
    program = linearize([Mul(Leaf(torch.ones(2, 3)), 2.0)])
    x = next(value for value in program.given if program.values[value].spec.shape)
    (doubled,) = run_on_scalars(program, given={x: torch.full((2, 3), 5.0)}).values
    assert doubled.tolist() == [[10.0] * 3] * 2


def test_every_operation_of_a_scalar_counts() -> None:
    """Each operator and function of a counting scalar is noted once, in the kind that the
    convention says.
    """
    tally = Tally()
    x, y = CountingScalar(0.5, tally), CountingScalar(2.0, tally)
    assert [(x + y).value, (1 + y).value, (x - y).value, (1 - y).value, (-x).value] == [
        2.5,
        3.0,
        -1.5,
        -1.0,
        -0.5,
    ]
    assert tally.take().additions == 5
    assert [(x * y).value, (3 * y).value, (x / y).value, (3 / y).value] == [1.0, 6.0, 0.25, 1.5]
    assert tally.take().multiplications == 4
    assert [x < y, x <= y, x > y, x >= y, x == y, x != y, x > 0.1] == [
        True,
        True,
        False,
        False,
        False,
        True,
        True,
    ]
    assert tally.take().comparisons == 7
    assert [(x**2).value, (2**y).value] == [0.25, 4.0]
    functions = [x.exp(), x.log(), x.tanh(), x.erf(), x.sigmoid(), x.sqrt()]
    point = torch.tensor(0.5, dtype=torch.float64)
    expected = [point.exp(), point.log(), point.tanh(), point.erf(), point.sigmoid(), point.sqrt()]
    assert [function.value for function in functions] == pytest.approx(
        [float(value) for value in expected]
    )
    counts = tally.take()
    assert counts.elementary == counts.total == 8
    with pytest.raises(TypeError, match="CountingScalar"):
        float(x)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="x > 0"):
        bool(x)


def test_the_tracker_sees_births_deaths_and_growth() -> None:
    """Storages count from birth to death, once however many views they have.

    Temporaries of composed ops and grown outputs count too.
    """
    given = torch.ones(4, 3)
    with StorageTracker([given]) as tracker:
        product = given * 2
        view = product.t()
        assert (tracker.live_bytes, tracker.identity(view), tracker.identity(given)) == (
            48,
            tracker.identity(product),
            -1,
        )
        del product
        assert tracker.live_bytes == 48
        tracker.mark()
        total = torch.einsum("ij,kj->ik", view, view.contiguous())
        assert (tracker.live_bytes, tracker.peak_bytes) == (48 + 36, 48 + 48 + 36)
        del view, total
        assert tracker.live_bytes == 0
        grown = torch.add(given, given, out=torch.empty(0))
        assert tracker.live_bytes == 48
        del grown
    assert (tracker.live_bytes, tracker.births) == (0, 4)


# Negative controls: each puts a fault into the product.


class Leaking(Tanh):
    """tanh that keeps each of its results."""

    kept: list[torch.Tensor]

    def kernel(self, x: Any) -> Any:
        result = torch.tanh(x)
        self.kept = [*getattr(self, "kept", []), result]
        return result


class Copying(Transpose):
    """A transpose that is declared a view and makes a copy."""

    def kernel(self, x: Any) -> Any:
        return x.t().clone()


class Sharing(Exp):
    """An op that is declared to make a value of its own and hands back its input."""

    def compute(self, x: Any) -> Any:
        return x


class Remembering(Tanh):
    """tanh that multiplies by ones which it made while the graph was built, out of every ledger's
    sight.
    """

    def __init__(self, x: Any) -> None:
        super().__init__(x)
        self.parameters = (torch.ones(3, 4, dtype=torch.float64),)

    def kernel(self, x: Any) -> Any:
        return torch.tanh(x) * self.parameters[0]


@pytest.mark.parametrize(
    ("fault", "what"),
    [
        (Leaking, "its dead dropped: the ledger holds 96 bytes, 192 are tracked"),
        (Copying, "the ledger holds 96 bytes, 192 are tracked"),
        (Sharing, "the ledger holds 192 bytes, 96 are tracked"),
        (Remembering, "the ledger holds 192 bytes, 288 are tracked"),
    ],
)
def test_faulty_ops_are_caught(fault: type[ComputationNode], what: str) -> None:
    """An op that leaks, copies what it declares to share, shares what it declares to own, or brings
    memory along is named.
    """
    program = linearize([Matsum(Exp(fault(Exp(Leaf(torch.ones(3, 4, dtype=torch.float64))))))])
    report = audit_storages(program, StoreAll()(program))
    assert f"{fault.__name__} {fault.__name__}" in str(report.first_mismatch) or fault is Leaking
    with pytest.raises(AuditError, match=what):
        report.raise_if_wrong()


def with_cleared(change: Any) -> Any:
    """`check_schedule` whose result drops other values than liveness says."""

    def broken(program: Program, schedule: Schedule) -> Lifetimes:
        lives = check_schedule(program, schedule)
        return replace(lives, cleared=change(dict(lives.cleared)))

    return broken


def forgetting(cleared: dict[int, Any]) -> dict[int, Any]:
    """Drop nothing after one of the steps at which something dies."""
    step = sorted(cleared)[3]
    return {at: values for at, values in cleared.items() if at != step}


def late(cleared: dict[int, Any]) -> dict[int, Any]:
    """Drop everything one step later."""
    return {at + 1: values for at, values in cleared.items()}


@pytest.mark.parametrize("change", [forgetting, late])
def test_an_executor_that_drops_late_is_caught(
    change: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An executor that forgets to drop a value, or drops it a step too late, holds more than the
    ledger says, step and node named.
    """
    program = chain()
    schedule = StoreAll()(program)
    monkeypatch.setattr(
        import_module("autodiff.executable"), "check_schedule", with_cleared(change)
    )
    report = audit_storages(program, schedule)
    step = sorted(check_schedule(program, schedule).cleared)[3 if change is forgetting else 0]
    instruction = program.instructions[step]
    name = f"{type(instruction.op).__name__} {program.label(instruction.writes[0])}"
    expected = f"step {step}, {name}, its dead dropped: the ledger holds"
    assert str(report.first_mismatch).startswith(expected)


def test_an_executor_that_notes_wrong_bytes_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that are noted otherwise than the specs say are reported, though the storages
    themselves are right.
    """
    monkeypatch.setattr(
        Executable, "_sizes", lambda self, noted: np.array([nbytes + 8 for nbytes in noted])
    )
    program = chain()
    report = audit_storages(program, StoreAll()(program))
    assert str(report.first_mismatch).startswith("the bytes that the execution noted")


def test_a_program_with_a_wrong_buffer_is_caught() -> None:
    """A value that is said to live in another value's buffer of the same bytes is found, though
    every total is right.
    """
    x = Leaf(torch.ones(3, 3))
    first, second = Exp(x), Tanh(x)
    program = linearize([Matsum(Add(Transpose(first), second))])
    values = list(program.values)
    of_transpose = next(i for i, value in enumerate(values) if type(value.source) is Transpose)
    values[of_transpose] = values[of_transpose]._replace(
        buffer=next(i for i, value in enumerate(values) if value.source is second)
    )
    wrong = replace(program, values=tuple(values))
    report = audit_storages(wrong, StoreAll()(wrong))
    assert "declared in a buffer of Tanh, computed in another" in str(report.first_mismatch)


def test_a_schedule_that_is_illegal_is_not_audited() -> None:
    """An illegal schedule is refused before anything runs."""
    program = chain()
    with pytest.raises(ScheduleError, match="not computed yet"):
        audit_storages(program, replace(StoreAll()(program), order=np.array([1, 0])))


def test_numbers_are_left_out() -> None:
    """Python numbers have no storage; a program of numbers, or of numbers and tensors, is
    audited all the same.
    """
    x = Leaf(3.0)
    loss = Mul(x, x) + Fill(Spec((), torch.float32), 2.0)
    program = linearize([loss, *gradients(loss, [x])])
    schedule = StoreAll()(program)
    audit_storages(program, schedule).raise_if_wrong()
    results, _ = execute(program, schedule)
    audit_scalars(program, schedule, results=results).raise_if_wrong()
    assert float(results[0]) == 11.0
    assert float(results[1]) == 6.0
