"""Schedules: what liveness makes of them, which are refused, what recomputing and writing over cost
and save, the code they become.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from autodiff import (
    Add,
    Claims,
    Columns,
    ComputationNode,
    Cost,
    Executable,
    Exp,
    Leaf,
    Matexpand,
    Matmul,
    Matsum,
    Mul,
    Program,
    Schedule,
    ScheduleError,
    Spec,
    StoreAll,
    Tanh,
    Transpose,
    check_schedule,
    execute,
    gradients,
    linearize,
    networks,
)
from autodiff.check import held_activations
from autodiff.emit import Emitted
from autodiff.instructions import BACKWARD, FORWARD
from autodiff.liveness import lifetimes
from autodiff.recording import recording_from_specs
from autodiff.schedule import Kind, Step
from profiler.audit import audit_storages
from tests.support.graphs import RandomGraph, claims_of, graphs, schedules


def chain(n: int = 3, d: int = 4, b: int = 6, **options: Any) -> Program:
    """The exercise's chain with all its gradients."""
    network = networks.chain(n, d, b, dtype=torch.float64, **options)
    return linearize([network.loss, *gradients(network.loss, network.weights)])


def scheduled(
    program: Program,
    order: Sequence[int],
    overwrites: Mapping[int, int] | None = None,
    held: int | None = None,
) -> Schedule:
    """A schedule that claims what its order is."""
    return Schedule(
        np.array(order, dtype=int),
        replace(claims_of(program, order), held=held),
        "by_hand",
        overwrites or {},
    )


def as_created(program: Program) -> list[int]:
    """Every instruction once."""
    return list(range(len(program.instructions)))


def step_of(program: Program, node: ComputationNode) -> int:
    """The step at which a node is computed when every instruction runs once, as created."""
    return next(i for i, instruction in enumerate(program.instructions) if instruction.op is node)


# What follows from a schedule.


def test_lifetimes_by_hand() -> None:
    """A buffer lives from where it is computed to its last read, through views too.

    What is asked for outlives the steps.
    """
    x = Leaf(torch.ones(2, 3, dtype=torch.float64))
    a = Exp(x)
    b = Tanh(a)
    loss = Matsum(Matmul(a, Transpose(b)))
    program = linearize([loss, b])
    lives = check_schedule(program, StoreAll()(program))
    owners = [program.values[owner].source for owner in lives.owner]
    assert owners == [a, b, loss.input_nodes[0], loss]
    assert lives.born.tolist() == [0, 1, 3, 4]
    assert lives.dies.tolist() == [3, 5, 4, 5]
    assert lives.live(np.array([48, 48, 32, 8])).tolist() == [48, 96, 96, 128, 88]
    assert lives.phases == (FORWARD,) * 5
    assert owners[0] is program.values[lives.cleared[3][0]].source
    assert list(StoreAll()(program).steps)[:2] == [Step(Kind.COMPUTE, 0), Step(Kind.COMPUTE, 1)]


def test_a_recomputed_value_has_two_lives() -> None:
    """A value that is computed again dies after its last read before that, and its second life
    counts as recomputation.
    """
    program = linearize(
        [Matsum(Mul(Exp(a := Tanh(Leaf(torch.ones(2, 3, dtype=torch.float64)))), a))]
    )
    lives = lifetimes(program, scheduled(program, [0, 1, 0, 2, 3]))
    assert lives.born.tolist() == [0, 1, 2, 3, 4]
    assert lives.dies.tolist() == [1, 3, 3, 4, 5]
    assert lives.phases == ("forward", "forward", "recompute", "forward", "forward")


def test_a_view_of_an_older_copy() -> None:
    """A view of a view lives in the copy that it was made from, though that value was computed
    again in between.
    """
    x = Leaf(torch.ones(2, 3, dtype=torch.float64))
    program = linearize([Matsum(Mul(a := Exp(x), Transpose(Transpose(a))))])
    schedule = scheduled(program, [0, 1, 0, 2, 3, 4])
    lives = check_schedule(program, schedule)
    assert lives.born.tolist() == [0, 2, 4, 5]
    assert lives.dies.tolist() == [4, 4, 5, 6]
    audit_storages(program, schedule).raise_if_wrong()


def by_tokens(program: Program, schedule: Schedule) -> list[int]:
    """Live bytes by definition: hand each value a token, look which tokens are touched when, and
    add up those to be touched again.
    """
    token_in: dict[int, int] = {}
    touched: list[list[int]] = []
    nbytes: list[int] = []
    replaced_at: dict[int, int] = {}
    for at, i in enumerate(schedule.order.tolist()):
        _, reads, writes, _ = program.instructions[i]
        for read in reads:
            if read in token_in:
                touched[token_in[read]].append(at)
        tokens = {program.values[read].buffer: token_in.get(read) for read in reads}
        if at in schedule.overwrites:
            replaced_at[token_in[reads[schedule.overwrites[at]]]] = at
        for write in writes:
            root = program.values[write].buffer
            if root != write:
                shared = tokens[root]
                token_in.pop(write, None)
                if shared is not None:
                    token_in[write] = shared
                continue
            token_in[write] = len(touched)
            touched.append([at])
            nbytes.append(program.values[write].spec.nbytes)
    for target in program.targets:
        if target in token_in:
            touched[token_in[target]].append(len(schedule))
    live = [0] * len(schedule)
    for token, steps in enumerate(touched):
        for at in range(steps[0], min(replaced_at.get(token, steps[-1] + 1), len(schedule))):
            live[at] += nbytes[token]
    return live


@settings(max_examples=100)
@given(graphs(), st.data())
def test_liveness_by_definition(graph: RandomGraph, data: st.DataObject) -> None:
    """On random graphs and random legal schedules the live totals are those of the definition, step
    by step.
    """
    program = graph.program()
    schedule = data.draw(schedules(program))
    lives = check_schedule(program, schedule)
    sizes = recording_from_specs(program, schedule, lives).sizes
    assert lives.live(sizes).tolist() == by_tokens(program, schedule)
    assert np.array_equal(
        lives.live(np.stack([sizes, 2 * sizes], axis=1))[:, 1], 2 * lives.live(sizes)
    )


# What is refused.


def test_reading_before_computing_is_refused() -> None:
    """A step that reads what is not computed yet is named, with what it reads."""
    program = chain(2)
    with pytest.raises(
        ScheduleError, match=r"step 0 computes x_2 from z_1, which is not computed yet"
    ):
        check_schedule(program, scheduled(program, [1, *as_created(program)]))


def test_a_target_that_is_never_computed_is_refused() -> None:
    """A schedule that leaves out a target is refused."""
    program = chain(2)
    with pytest.raises(ScheduleError, match=r"the target ∂W_1 is never computed"):
        check_schedule(
            program,
            scheduled(
                program,
                [
                    i
                    for i in as_created(program)
                    if program.instructions[i].writes[0] != program.targets[1]
                ],
            ),
        )


@pytest.mark.parametrize("instruction", [-1, 99])
def test_an_unknown_instruction_is_refused(instruction: int) -> None:
    """A step that runs an instruction which the program does not have is refused, below zero
    too.
    """
    program = chain(2)
    schedule = Schedule(np.array([*as_created(program), instruction]), Claims(0, 0, 0))
    with pytest.raises(
        ScheduleError,
        match=rf"runs instruction {instruction}; expected one of 0 to "
        rf"{len(program.instructions) - 1}",
    ):
        check_schedule(program, schedule)


class Dropout(Tanh):
    """An op that gives other numbers each time."""

    repeatable = False


def test_computing_a_random_value_again_is_refused() -> None:
    """An op that is not repeatable may run once, not twice."""
    program = linearize([Matsum(Dropout(Leaf(torch.ones(2, 2))))])
    check_schedule(program, scheduled(program, [0, 1]))
    with pytest.raises(
        ScheduleError, match=r"step 1 computes Dropout again, which would give other numbers"
    ):
        check_schedule(program, scheduled(program, [0, 0, 1]))


@pytest.mark.parametrize("part", ["forward", "recompute", "backward"])
def test_a_false_claim_is_refused(part: str) -> None:
    """A schedule that has more or fewer steps of a phase than it claims is refused."""
    program = chain(2)
    schedule = scheduled(program, [0, *as_created(program)])
    check_schedule(program, schedule)
    for change in (1, -1):
        claims = replace(schedule.claims, **{part: getattr(schedule.claims, part) + change})
        with pytest.raises(
            ScheduleError, match=rf"by_hand claims \d+ {part} steps; its schedule has \d+"
        ):
            check_schedule(program, replace(schedule, claims=claims))


def halves(program: Program, forget: int | None = None) -> list[int]:
    """Run the forward part; where the backward part first reads what its first half computed, run
    that half again, but for `forget`.
    """
    forward = [
        i for i, instruction in enumerate(program.instructions) if instruction.phase == FORWARD
    ]
    backward = [
        i for i, instruction in enumerate(program.instructions) if instruction.phase == BACKWARD
    ]
    first = forward[: len(forward) // 2 - 1]
    dropped = {write for i in first for write in program.instructions[i].writes}
    at = next(
        at for at, i in enumerate(backward) if dropped.intersection(program.instructions[i].reads)
    )
    return [*forward, *backward[:at], *(i for i in first if i != forget), *backward[at:]]


def most_held(program: Program, order: Sequence[int]) -> int:
    """The most activations that are alive at once."""
    return int(held_activations(program, lifetimes(program, scheduled(program, order))).max())


def test_a_forgotten_recomputation_is_refused() -> None:
    """Liveness would forgive a recomputation that is left out by keeping the older copy.

    The claim of how much is held does not.
    """
    program = chain(10)
    order = halves(program)
    held = most_held(program, order)
    assert held < most_held(program, as_created(program))
    check_schedule(program, scheduled(program, order, held=held))
    forgotten = halves(program, forget=1)
    check_schedule(program, scheduled(program, forgotten))
    with pytest.raises(
        ScheduleError,
        match=rf"by_hand claims to hold at most {held} activations; at step \d+ {held + 1} "
        rf"are alive",
    ):
        check_schedule(program, scheduled(program, forgotten, held=held))


# Recomputing.


@pytest.mark.parametrize("activation", networks.ACTIVATIONS)
def test_recomputing_halves(activation: str) -> None:
    """Recomputing the first half gives gradients equal bit for bit, the operations that it claims,
    and the peak that specs predict.
    """
    program = chain(10, 4, 12, activation=activation)
    schedule = scheduled(program, halves(program))
    results, recording = execute(program, schedule)
    expected, plain = execute(program, StoreAll()(program))
    assert all(torch.equal(found, right) for found, right in zip(results, expected, strict=True))
    predicted = recording_from_specs(program, schedule, check_schedule(program, schedule))
    peak = int(recording.lifetimes.live(recording.sizes).max())
    assert peak == int(predicted.lifetimes.live(predicted.sizes).max())
    assert peak < int(plain.lifetimes.live(plain.sizes).max())
    audit_storages(program, schedule).raise_if_wrong()


# Writing over a dying input.

X = Leaf(torch.tensor([[0.5, -1.0], [2.0, 0.25]], dtype=torch.float64), "x")
Y = Leaf(torch.tensor([[1.5, 0.1], [-2.0, 3.0]], dtype=torch.float64), "y")


@pytest.mark.parametrize("read", [0, 1])
def test_writing_over_a_dying_input(read: int) -> None:
    """An elementwise result may take the place of an input that dies there.

    Equal bits, and a buffer less at the peak.
    """
    add = Add(Exp(X), Tanh(Y))
    program = linearize([Matsum(add)])
    over = scheduled(program, as_created(program), {step_of(program, add): read})
    (found,), recording = execute(program, over)
    (expected,), plain = execute(program, StoreAll()(program))
    assert torch.equal(found, expected)
    assert recording.lifetimes.live(recording.sizes).tolist() == [32, 64, 64, 40]
    assert plain.lifetimes.live(plain.sizes).tolist() == [32, 64, 96, 40]
    audit_storages(program, over).raise_if_wrong()


def test_writing_over_what_is_read_twice() -> None:
    """A value that is both inputs of the op may be written over.

    So may one that was itself written over another.
    """
    doubled = Add(a := Exp(X), a)
    again = Add(doubled, Tanh(Y))
    program = linearize([Matsum(again)])
    over = scheduled(
        program, as_created(program), {step_of(program, doubled): 0, step_of(program, again): 0}
    )
    (found,), recording = execute(program, over)
    assert torch.equal(found, (2 * torch.exp(X.value) + torch.tanh(Y.value)).sum())
    assert recording.lifetimes.live(recording.sizes).max() == 64
    audit_storages(program, over).raise_if_wrong()


def read_later() -> tuple[ComputationNode, ComputationNode]:
    add = Add(a := Exp(X), Tanh(Y))
    return add, Mul(add, a)


def read_later_through_a_view() -> tuple[ComputationNode, ComputationNode]:
    view = Transpose(a := Exp(X))
    add = Add(a, Tanh(Y))
    return add, Matmul(add, view)


def read_in_another_order() -> tuple[ComputationNode, ComputationNode]:
    add = Add(a := Exp(X), Transpose(a))
    return add, add


def single(add: ComputationNode) -> tuple[ComputationNode, ComputationNode]:
    return add, add


ILLEGAL = {
    "not elementwise": lambda: single(Matmul(Exp(X), Tanh(Y))),
    "expanded": lambda: single(Add(Matexpand(Matsum(X), (2, 2)), Tanh(Y))),
    "caller-owned": lambda: single(Add(X, Tanh(Y))),
    "caller-owned through a view": lambda: single(Add(Transpose(X), Tanh(Y))),
    "needed later": read_later,
    "needed later through a view": read_later_through_a_view,
    "read in another order": read_in_another_order,
    "of another dtype": lambda: single(Add(Exp(Leaf(torch.ones(2, 2))), Tanh(Y))),
    "part of a buffer": lambda: single(Add(Columns(Exp(X), 0, 1), Columns(Tanh(Y), 0, 1))),
    "part of a buffer, without gaps": lambda: single(
        Add(Columns(Transpose(Exp(X)), 0, 1), Columns(Transpose(Tanh(Y)), 0, 1))
    ),
}


@pytest.mark.parametrize("case", ILLEGAL)
def test_an_illegal_overwrite_is_refused(case: str) -> None:
    """What is not elementwise, or writes over what is expanded, partial, caller-owned or still
    needed, is refused, both nodes named.
    """
    add, last = ILLEGAL[case]()
    program = linearize([Matsum(last)])
    reason = "is needed after it" if case.startswith("needed") else "expected an elementwise op"
    with pytest.raises(ScheduleError, match=rf"step \d+ writes .*over .*{reason}"):
        check_schedule(program, scheduled(program, as_created(program), {step_of(program, add): 0}))


def test_other_illegal_overwrites_are_refused() -> None:
    """Writing over an input of another layout, over a target, and over a read that there is not,
    are refused.
    """
    add = Add(Exp(X), Transpose(b := Tanh(Y)))
    for targets, read in (
        ([Matsum(add)], 1),
        ([Matsum(add), add.input_nodes[0]], 0),
        ([Matsum(add)], 2),
        ([Matsum(add), b], 1),
    ):
        program = linearize(targets)
        with pytest.raises(ScheduleError, match=r"step \d+ writes .*over"):
            check_schedule(
                program, scheduled(program, as_created(program), {step_of(program, add): read})
            )


def product() -> ComputationNode:
    return Matsum(Mul(X, Y))


@pytest.mark.parametrize(
    ("first", "asked_for", "in_place"),
    [(product, False, True), (product, True, False), (lambda: Matsum(X), False, False)],
)
def test_accumulating(
    first: Callable[[], ComputationNode], asked_for: bool, in_place: bool
) -> None:
    """A slice's gradient is added to in place, unless it is a view or is asked for by itself."""
    losses = [first(), Matsum(Mul(X, X))]
    (earlier,) = gradients(losses[0], [X])
    (both,) = gradients(losses[1], [X], onto={X: earlier})
    program = linearize([Add(*losses), both, *([earlier] if asked_for else [])])
    schedule = StoreAll()(program)
    assert bool(schedule.overwrites) is in_place
    (_, found, *alone), _ = execute(program, schedule)
    before = Y.value if first is product else torch.ones_like(X.value)
    assert torch.equal(found, before + 2 * X.value)
    assert not asked_for or torch.equal(alone[0], before)
    audit_storages(program, schedule).raise_if_wrong()


@pytest.mark.parametrize("read_again", [True, False])
def test_accumulating_onto_what_may_not_change(read_again: bool) -> None:
    """What is read again, or is caller-owned, is not added to in place."""
    add = Add(a := Exp(X), Tanh(Y)) if read_again else Add(X, Tanh(Y))
    add.accumulates = True
    program = linearize([Matsum(Mul(add, a) if read_again else add)])
    schedule = StoreAll()(program)
    assert not schedule.overwrites
    audit_storages(program, schedule).raise_if_wrong()


# The code that a schedule becomes.


def source(program: Program) -> str:
    """The code of plain backpropagation."""
    return Executable(program, StoreAll()(program)).source


def test_source_is_one_for_all_shapes() -> None:
    """Programs of one structure become the same code, whatever their shapes and dtypes.

    Other structures become other code.
    """
    assert source(chain(3, 4, 6)) == source(chain(3, 7, 2)) == source(chain(3, 1, 1))
    assert source(chain(3)) != source(chain(4))
    assert source(chain(3)) != source(chain(3, activation="gelu"))


def test_source_reads_as_the_steps() -> None:
    """Each line computes one value, notes its bytes and the clock.

    A line after it drops what dies there; what lives on is handed over.
    """
    program = linearize([Matsum(Tanh(Exp(X)))])
    assert source(program).splitlines() == [
        "def steps(v, s, c):",
        "    v0 = v[0]",
        "    v1 = Exp(v0); s(v1.untyped_storage().nbytes()); c(t())",
        "    v2 = Tanh(v1); s(v2.untyped_storage().nbytes()); c(t())",
        "    v1 = None",
        "    v3 = Matsum(v2); s(v3.untyped_storage().nbytes()); c(t())",
        "    v2 = None",
        "    v[3] = v3",
    ]


def test_further_runs_ask_tensors_for_their_bytes() -> None:
    """From the second run on the lines ask the tensors themselves, and note the same bytes."""
    program = chain(3, 4, 6)
    executable = Executable(program, StoreAll()(program))
    assert ".nbytes)" not in executable.source
    first = executable.run()
    assert "storage" not in executable.source
    again = executable.run()
    assert np.array_equal(first[1].sizes, again[1].sizes)
    assert all(torch.equal(one, other) for one, other in zip(first[0], again[0], strict=True))


class Spacious(Tanh):
    """A tanh whose kernel's result lies in a storage twice as large as it needs."""

    kernel = staticmethod(
        lambda x: (
            torch.empty(2 * x.numel(), dtype=x.dtype)[: x.numel()]
            .view(x.shape)
            .copy_(torch.tanh(x))
        )
    )


def test_a_storage_that_is_larger_than_its_tensor_is_noted_in_every_run() -> None:
    """Where a kernel takes more than its result's elements, no run asks the tensor, which would not
    tell.
    """
    program = linearize([Matsum(Spacious(X))])
    executable = Executable(program, StoreAll()(program))
    noted = [executable.run()[1].sizes.tolist() for _ in range(3)]
    assert noted == [[2 * X.value.nbytes, 8]] * 3


@settings(max_examples=40)
@given(st.data())
def test_nothing_changes_where_steps_are_cut_into_functions(data: st.DataObject) -> None:
    """Wherever one function ends and the next begins, values, bytes and lifetimes are the same, and
    storages are freed at the same steps.
    """
    program = data.draw(graphs(max_steps=5)).program()
    schedule = data.draw(schedules(program))
    whole = execute(program, schedule)
    with mock.patch("autodiff.emit.STEPS_A_FUNCTION", data.draw(st.integers(1, 4))):
        audit_storages(program, schedule).raise_if_wrong()
        cut = execute(program, schedule)
    assert np.array_equal(whole[1].sizes, cut[1].sizes)
    for one, other in zip(whole[0], cut[0], strict=True):
        assert torch.equal(torch.as_tensor(one), torch.as_tensor(other))


def test_a_value_that_outlives_its_last_read_is_seen() -> None:
    """The storage audit notices code that hands a dead value on to the next function."""
    program = linearize([Matsum(Tanh(Exp(X)))])
    original = Emitted._function

    def forgetful(self: Emitted, start: int, order: Sequence[int]) -> str:
        return "\n".join(
            line
            for line in original(self, start, order).splitlines()
            if not line.endswith(" = None")
        )

    with mock.patch.object(Emitted, "_function", forgetful):
        assert not audit_storages(program, StoreAll()(program)).ok


def test_an_op_may_be_called_like_a_value() -> None:
    """An op whose class has the name of a local variable of the lines does not meet it."""
    for name in ("v1", "s", "c", "t", "w", "v"):
        odd = type(name, (Tanh,), {})
        program = linearize([Matsum(odd(Exp(X)))])
        (found,), _ = execute(program, StoreAll()(program))
        assert torch.equal(found, X.value.exp().tanh().sum())


def test_long_schedules_are_cut() -> None:
    """A schedule of several thousand steps becomes several functions, and nothing changes but
    that.
    """
    node: ComputationNode = X
    for _ in range(4001):
        node = -node
    program = linearize([Matsum(node)])
    executable = Executable(program, StoreAll()(program))
    assert executable.source.count("def steps") == 3
    (found,), recording = executable.run()
    assert torch.equal(found, (-X.value).sum())
    assert recording.lifetimes.live(recording.sizes).max() == 64
    assert recording.events()[-1].step == 4001


class Scale(ComputationNode):
    """A product with a number that the class keeps and does not declare among its parameters."""

    def __init__(self, x: Any, factor: float) -> None:
        self.factor = factor
        super().__init__(x)

    def compute(self, x: Any) -> Any:
        return x * self.factor

    def result_spec(self, x: Spec) -> Spec:
        return x

    def cost(self, x: Spec) -> Cost:
        return Cost(multiplications=x.numel)


def test_ops_of_one_class_keep_their_own_state() -> None:
    """Two ops of a class that does not declare its state as parameters run each with its own."""
    program = linearize([Matsum(Scale(Scale(X, 2.0), 3.0))])
    (found,), _ = execute(program, StoreAll()(program))
    assert float(found) == 6 * float(X.value.sum())
