"""The closed forms compared with a liveness simulator that writes the network out,
instruction after instruction.

The simulator shares nothing with the formulas. It lists every instruction with its reads, its
buffer and its operations, keeps what the targets need, and walks the list. It also shares nothing
with the engine, which has tests of its own against the same closed forms.
"""

from __future__ import annotations

import ast
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sympy

from experiments import theory
from experiments.theory import Piece, TheoryError, peaks as theory_peaks

SHAPES = [
    (1, 1),
    (1, 2),
    (1, 7),
    (2, 1),
    (7, 1),
    (2, 2),
    (3, 3),
    (2, 3),
    (3, 2),
    (3, 8),
    (8, 3),
    (5, 40),
    (40, 5),
    (4, 60),
    (60, 4),
]
DEPTHS = range(1, 8)


# ---------------------------------------------------------------- the simulator


@dataclass(frozen=True)
class Instruction:
    """What is read, what is written, the buffer that holds it, its elements (0 for a view) and its
    operations.
    """

    reads: tuple[str, ...]
    value: str
    buffer: str
    elements: int
    counts: Counter[str]


@dataclass
class Tape:
    """A list of instructions in order of creation; values that nothing on it writes are the
    caller's.
    """

    instructions: list[Instruction] = field(default_factory=list)
    buffers: dict[str, str] = field(default_factory=dict)

    def new(self, value: str, reads: str, elements: int, **counts: int) -> str:
        """Write a value into a buffer of its own."""
        self.buffers[value] = value
        self.instructions.append(
            Instruction(tuple(reads.split()), value, value, elements, Counter(counts))
        )
        return value

    def view(self, value: str, base: str) -> str:
        """Write a value that shares its base's buffer."""
        self.buffers[value] = self.buffers.get(base, base)
        self.instructions.append(Instruction((base,), value, self.buffers[value], 0, Counter()))
        return value

    def accumulate(self, value: str, old: str, new: str, size: int) -> str:
        """Write a sum over its first term, whose buffer it takes."""
        self.buffers[value] = self.buffers[old]
        self.instructions.append(
            Instruction((old, new), value, self.buffers[old], 0, Counter({"add": size}))
        )
        return value

    def product(
        self, value: str, left: str, right: str, rows: int, inner: int, columns: int
    ) -> str:
        """Write a matrix product."""
        cells = rows * columns
        return self.new(
            value,
            f"{left} {right}",
            cells,
            mul=cells * inner,
            add=cells * (inner - 1),
            flops=2 * cells * inner,
        )


def write_forward(
    tape: Tape, n: int, d: int, b: int, activation: str, loss: str, tag: str = ""
) -> str:
    """Put the forward pass on the tape and return the name of the loss."""
    size = d * b
    sigma = {
        "tanh": {"elem": size},
        "sigmoid": {"elem": size},
        "relu": {"cmp": size},
        "gelu": {"mul": 3 * size, "add": size, "elem": size},
    }
    x = f"{tag}x1"
    for i in range(1, n + 1):
        x = tape.product(f"{tag}z{i}", f"W{i}", x, d, d, b)
        if activation != "identity":
            x = tape.new(f"{tag}x{i + 1}", x, size, **sigma[activation])
    if loss == "sum":
        return tape.new(f"{tag}L", x, 1, add=size - 1)
    if loss == "squared_error":
        tape.new(f"{tag}diff", f"{x} {tag}y", size, add=size)
        return tape.new(f"{tag}L", f"{tag}diff", 1, mul=size + 1, add=size - 1)
    columns: Counter[str] = Counter()
    for _ in range(b):
        columns += Counter({"cmp": d - 1, "add": d + (d - 1) + d, "elem": d + 1})
    tape.new(f"{tag}p", x, size, **columns)
    tape.new(f"{tag}picked", f"{tag}p {tag}classes", b)
    tape.new(f"{tag}s", f"{tag}picked", 1, add=b - 1)
    return tape.new(f"{tag}L", f"{tag}s", 1, add=1)


def write_backward(
    tape: Tape,
    n: int,
    d: int,
    b: int,
    activation: str,
    loss: str,
    tag: str = "",
    onto: tuple[str, ...] = (),
) -> list[str]:
    """Put the gradients of all weights on the tape, in the engine's order of creation, and return
    their names, W_1's first.

    Where there are earlier sums, each gradient is added onto its own as it is born.
    """
    size = d * b
    sigma = {
        "tanh": {"mul": 2 * size, "add": size},
        "sigmoid": {"mul": 2 * size, "add": size},
        "relu": {"cmp": size},
        "gelu": {"mul": 7 * size, "add": 2 * size, "elem": 2 * size},
    }
    seed = tape.new(f"{tag}seed", "", 1)
    if loss == "sum":
        g = tape.view(f"{tag}g_x{n + 1}", seed)
    elif loss == "squared_error":
        g = tape.new(f"{tag}g_x{n + 1}", f"{tag}diff {seed}", size, mul=size)
    else:
        tape.new(f"{tag}g_s", seed, 1, add=1)
        tape.view(f"{tag}g_picked", f"{tag}g_s")
        tape.new(f"{tag}g_p", f"{tag}g_picked {tag}classes", size)
        g = tape.new(
            f"{tag}g_x{n + 1}",
            f"{tag}g_p {tag}p",
            size,
            add=(d - 1) * b + size,
            elem=size,
            mul=size,
        )
    for i in range(n, 0, -1):
        if activation == "gelu":
            g = tape.new(f"{tag}g_z{i}", f"{g} {tag}z{i}", size, **sigma[activation])
        elif activation != "identity":
            g = tape.new(f"{tag}g_z{i}", f"{g} {tag}x{i + 1}", size, **sigma[activation])
        x = f"{tag}x{i}" if i == 1 or activation != "identity" else f"{tag}z{i - 1}"
        tape.product(f"{tag}dW{i}", g, tape.view(f"{tag}x{i}T", x), d, b, d)
        g = tape.product(f"{tag}g_x{i}", tape.view(f"{tag}W{i}T", f"W{i}"), g, d, d, b)
        if onto:
            tape.accumulate(f"{tag}dW{i}+", onto[i - 1], f"{tag}dW{i}", d * d)
    return [f"{tag}dW{i}" + ("+" if onto else "") for i in range(1, n + 1)]


def reachable(instructions: list[Instruction], targets: set[str]) -> list[Instruction]:
    """Keep the instructions that some target needs."""
    needed, kept = set(targets), []
    for instruction in reversed(instructions):
        if instruction.value in needed:
            needed |= set(instruction.reads)
            kept.append(instruction)
    return kept[::-1]


def walk(tape: Tape, instructions: list[Instruction], targets: set[str]) -> tuple[int, int]:
    """Run liveness of buffers and return the peak and what is alive at the end."""
    owned = {
        instruction.buffer: instruction.elements
        for instruction in instructions
        if instruction.value == instruction.buffer
    }
    last = {instruction.buffer: position for position, instruction in enumerate(instructions)}
    for position, instruction in enumerate(instructions):
        last.update({tape.buffers.get(read, read): position for read in instruction.reads})
    last.update({tape.buffers[target]: len(instructions) for target in targets})
    alive: set[str] = set()
    peak = 0
    for position, instruction in enumerate(instructions):
        alive.add(instruction.buffer)
        peak = max(peak, sum(owned.get(buffer, 0) for buffer in alive))
        alive = {buffer for buffer in alive if last[buffer] > position}
    return peak, sum(owned.get(buffer, 0) for buffer in alive)


@dataclass(frozen=True)
class Measured:
    """What the simulator finds."""

    peak: int
    after: int
    forward: Counter[str]
    backward: Counter[str]


def simulate(
    mode: str, n: int, d: int, b: int, activation: str, loss: str, j: int | None = None, k: int = 1
) -> Measured:
    """Write the network out and run it in one mode; k > 1 accumulates the gradients of k slices."""
    tape = Tape()
    total, sums = write_forward(tape, n, d, b // k, activation, loss), []
    if mode != "no_grad":
        sums = write_backward(tape, n, d, b // k, activation, loss)
    for s in range(1, k):
        part = write_forward(tape, n, d, b // k, activation, loss, f"s{s}.")
        total = tape.new(f"L+{s}", f"{total} {part}", 1, add=1)
        sums = write_backward(tape, n, d, b // k, activation, loss, f"s{s}.", tuple(sums))
    layer = 1 if mode == "w1_only" else j
    asked = set(sums if layer is None else sums[layer - 1 : layer])
    before = {instruction.value for instruction in reachable(tape.instructions, {total})}
    instructions = reachable(tape.instructions, {total} | asked)
    targets = {total} | asked
    if mode == "forward":
        read = {
            value
            for instruction in instructions
            if instruction.value not in before
            for value in instruction.reads
        }
        targets = {total} | (read & before)
        instructions = [instruction for instruction in instructions if instruction.value in before]
    peak, after = walk(tape, instructions, targets)
    phases = {True: Counter[str](), False: Counter[str]()}
    for instruction in instructions:
        phases[instruction.value in before] += instruction.counts
    return Measured(peak, after, phases[True], phases[False])


# ---------------------------------------------------------------- every point of a grid


Point = tuple[str, int, str, str, int | None]


def points(depths: range = DEPTHS) -> Iterator[Point]:
    """Every mode, depth, activation, loss and, where the mode has it, every layer."""
    for n, activation, loss in itertools.product(depths, theory.ACTIVATIONS, theory.LOSSES):
        for mode in theory.MODES:
            layers: list[int | None] = list(range(1, n + 1)) if mode in ("forward", "only") else []
            for j in layers if mode == "only" else [None, *layers]:
                yield mode, n, activation, loss, j


def as_counts(counted: theory.Operations) -> Counter[str]:
    """Bring the closed form's counts into the simulator's words."""
    kinds = {
        "mul": counted.multiplications,
        "add": counted.additions,
        "cmp": counted.comparisons,
        "elem": counted.elementary,
        "flops": counted.matmul_flops,
    }
    return Counter({kind: count for kind, count in kinds.items() if count})


@pytest.fixture(scope="module")
def measured() -> dict[tuple[Point, int, int], Measured]:
    """The simulator's answer at every point of the grid."""
    return {
        (point, d, b): simulate(point[0], point[1], d, b, point[2], point[3], point[4])
        for point in points()
        for d, b in SHAPES
    }


def first_difference(
    measured: dict[tuple[Point, int, int], Measured], pieces_of: Callable[..., list[Piece]]
) -> tuple[Point, int, int] | None:
    """Return the first point at which the greatest piece is not the simulated peak."""
    for ((mode, n, activation, loss, j), d, b), found in measured.items():
        pieces = pieces_of(mode, n, activation=activation, loss=loss, wrt=j)
        if max(piece.elements(n, d, b) for piece in pieces) != found.peak:
            return (mode, n, activation, loss, j), d, b
    return None


def test_every_peak_is_the_simulated_one(measured: dict[tuple[Point, int, int], Measured]) -> None:
    """The greatest of the named moments is the peak, to the element, in every mode, activation,
    loss, layer and regime.
    """
    assert len(measured) > 15_000
    assert first_difference(measured, theory.peak_pieces) is None
    for ((mode, n, activation, loss, j), d, b), found in measured.items():
        assert (
            theory.peak_elements(mode, n, d, b, activation=activation, loss=loss, wrt=j)
            == found.peak
        )


def test_what_stays_alive_is_the_simulated_total(
    measured: dict[tuple[Point, int, int], Measured],
) -> None:
    """After a run, the loss, the asked gradients, or what backward would read are alive and nothing
    else.
    """
    for ((mode, n, activation, loss, j), d, b), found in measured.items():
        after = theory.live_after_elements(mode, n, d, b, activation=activation, loss=loss, wrt=j)
        assert after == found.after, (mode, n, activation, loss, j, d, b)


def test_operations_are_the_summed_ones(measured: dict[tuple[Point, int, int], Measured]) -> None:
    """The operations of each phase and kind, and the flops of the products, are the sums over the
    instructions.
    """
    for ((mode, n, activation, loss, j), d, b), found in measured.items():
        phases = theory.operations(mode, n, d, b, activation=activation, loss=loss, wrt=j)
        assert list(phases) == ["forward", "recompute", "backward"]
        assert as_counts(phases["forward"]) == found.forward, (mode, n, activation, loss, j, d, b)
        assert as_counts(phases["backward"]) == found.backward, (mode, n, activation, loss, j, d, b)
        assert phases["recompute"] == theory.Operations()


def test_no_moment_is_idle() -> None:
    """From three layers on, every named moment alone sets the peak at some shape, so none could be
    left out.
    """
    shapes = [*SHAPES, *itertools.product(range(1, 13), range(1, 25))]
    for n, activation, loss in itertools.product((3, 6), theory.ACTIVATIONS, theory.LOSSES):
        layers = [
            ("no_grad", None),
            ("forward", None),
            ("full", None),
            ("w1_only", None),
            ("only", 2),
            ("only", n),
            ("only", n - 1),
        ]
        for mode, j in layers:
            pieces = theory.peak_pieces(mode, n, activation=activation, loss=loss, wrt=j)
            heights = [[piece.elements(n, d, b) for piece in pieces] for d, b in shapes]
            alone = {row.index(max(row)) for row in heights if row.count(max(row)) == 1}
            assert alone == set(range(len(pieces))), (mode, n, activation, loss, j, pieces)


@pytest.mark.slow
def test_gradient_accumulation_is_the_simulated_one() -> None:
    """With micro-batches, peak, what stays, and operations are those of slices run in turn, losses
    and gradients added.
    """
    for n, activation, loss, k in itertools.product(
        (1, 2, 3, 5), theory.ACTIVATIONS, theory.LOSSES, (1, 2, 3, 6)
    ):
        for d, b in [(1, 6), (1, 12), (2, 6), (6, 6), (2, 60), (9, 6), (30, 6), (3, 12)]:
            found = simulate("full", n, d, b, activation, loss, k=k)
            network: dict[str, Any] = {"activation": activation, "loss": loss}
            at = (n, activation, loss, k, d, b)
            assert (
                theory.peak_elements("full", n, d, b, micro_batches=k, **network) == found.peak
            ), at
            assert (
                theory.live_after_elements("full", n, d, b, micro_batches=k, **network)
                == found.after
                == n * d * d + 1
            )
            phases = theory.operations("full", n, d, b, micro_batches=k, **network)
            assert (as_counts(phases["forward"]), as_counts(phases["backward"])) == (
                found.forward,
                found.backward,
            ), at


# ---------------------------------------------------------------- negative controls


def test_a_wrong_piece_is_caught(measured: dict[tuple[Point, int, int], Measured]) -> None:
    """A moment that is one element too high, an A too low, or missing is noticed."""

    def raised(mode: str, n: int, **network: Any) -> list[Piece]:
        return [
            replace(piece, one=piece.one + 1) for piece in theory.peak_pieces(mode, n, **network)
        ]

    def lowered(mode: str, n: int, **network: Any) -> list[Piece]:
        pieces = theory.peak_pieces(mode, n, **network)
        return [replace(piece, area=piece.area - (piece.area == 3)) for piece in pieces]

    def without_last(mode: str, n: int, **network: Any) -> list[Piece]:
        pieces = theory.peak_pieces(mode, n, **network)
        return pieces[:-1] if len(pieces) > 1 else pieces

    def without_first(mode: str, n: int, **network: Any) -> list[Piece]:
        pieces = theory.peak_pieces(mode, n, **network)
        return pieces[1:] if len(pieces) > 1 else pieces

    for wrong in (raised, lowered, without_last, without_first):
        assert first_difference(measured, wrong) is not None, wrong.__name__


def test_a_wrong_table_of_kept_values_is_caught(
    measured: dict[tuple[Point, int, int], Measured], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A formula that believes gelu's gradient to read its output, as tanh's does, is noticed."""
    true_kept = theory_peaks.kept_of
    monkeypatch.setattr(
        theory_peaks, "kept_of", lambda case: true_kept(replace(case, activation="tanh"))
    )
    where = first_difference(measured, theory.peak_pieces)
    assert where is not None
    assert where[0][2] in ("gelu", "identity")


# The design's table, PyTorch, the exercise's ratios.


@pytest.mark.parametrize("n", DEPTHS)
def test_the_designs_table_for_tanh_and_sum(n: int) -> None:
    """For tanh and sum, operations and peaks are the rows that the design prints."""
    for d, b in SHAPES:
        area, weight = b * d, d * d
        run = n * (b * d * (2 * d - 1) + b * d) + b * d - 1
        full = run + 3 * n * b * d + n * d * d * (2 * b - 1) + (n - 1) * b * d * (2 * d - 1)
        first = run + 3 * n * b * d + d * d * (2 * b - 1) + (n - 1) * b * d * (2 * d - 1)
        totals = {
            mode: theory.total_operations(mode, n, d, b)
            for mode in ("no_grad", "forward", "full", "w1_only")
        }
        assert totals == {"no_grad": run, "forward": run, "full": full, "w1_only": first}
        only_first = max((n + 1) * area + 2, area + weight + 1)
        every = (
            1 + max((n + 1) * area + weight, 3 * area + (n - 1) * weight, area + n * weight)
            if n > 1
            else only_first
        )
        peaks = {mode: theory.peak_elements(mode, n, d, b) for mode in totals}
        assert peaks == {
            "no_grad": 2 * area,
            "forward": (n + 1) * area,
            "full": every,
            "w1_only": only_first,
        }
        assert theory.live_after_elements("forward", n, d, b) == n * area + 1
        assert (
            theory.live_after_elements("forward", n, d, b, activation="gelu")
            == (2 * n - 1) * area + 1
        )


def test_never_above_pytorch() -> None:
    """Wherever PyTorch's peak is known, ours is at most that, and for all weights with tanh exactly
    one element below.
    """
    known = 0
    for mode, n, activation, loss, j in points(range(2, 8)):
        for d, b in SHAPES if loss == "sum" else []:
            theirs = theory.pytorch_peak_elements(mode, n, d, b, activation, j)
            if theirs is None:
                continue
            known += 1
            ours = theory.peak_elements(mode, n, d, b, activation=activation, wrt=j)
            assert ours <= theirs
            if (mode, activation) == ("full", "tanh"):
                assert ours == theirs - 1
    assert known > 1_000


def test_pytorchs_peaks_are_given_only_where_they_were_observed() -> None:
    """One layer, other activations and weights in the middle have no observed number; W_1 alone has
    the same by both names.
    """
    assert theory.pytorch_peak_elements("full", 1, 4, 4) is None
    assert theory.pytorch_peak_elements("full", 4, 4, 4, "sigmoid") is None
    assert theory.pytorch_peak_elements("only", 4, 4, 4, "tanh", 2) is None
    assert theory.pytorch_peak_elements("forward", 4, 4, 4, "tanh", 4) is None
    assert (
        theory.pytorch_peak_elements("only", 4, 4, 4, "gelu", 1)
        == theory.pytorch_peak_elements("w1_only", 4, 4, 4, "gelu")
        == 96
    )
    assert theory.pytorch_peak_elements("only", 4, 4, 4, "relu", 4) == 50
    assert theory.pytorch_peak_elements("no_grad", 4, 4, 4) == 48


def test_products_are_as_many_as_pytorchs() -> None:
    """The flops of the products are those of as many d×d by d×b products as PyTorch runs."""
    for mode, n, activation, loss, j in points():
        flops = sum(
            phase.matmul_flops
            for phase in theory.operations(
                mode, n, 3, 5, activation=activation, loss=loss, wrt=j
            ).values()
        )
        assert flops == theory.pytorch_products(mode, n, j) * 2 * 5 * 3**2
    assert [theory.pytorch_products(mode, 10) for mode in ("forward", "full", "w1_only")] == [
        10,
        29,
        20,
    ]
    assert theory.pytorch_products("only", 10, 10) == 11


def test_the_ratios_of_modes() -> None:
    """As depth, width and batch grow, all weights cost 3 and W_1 alone 2 times no-grad; W_n alone
    costs no-grad.
    """
    n, d, b = 10**6, 10**5, 10**5
    for activation, loss in itertools.product(theory.ACTIVATIONS, theory.LOSSES):
        network: dict[str, Any] = {"activation": activation, "loss": loss}
        run = theory.total_operations("no_grad", n, d, b, **network)
        for mode, j, limit in [
            ("full", None, 3.0),
            ("w1_only", None, 2.0),
            ("only", n, 1.0),
            ("only", n // 2, 1.5),
        ]:
            ratio = Fraction(
                int(theory.total_operations(mode, n, d, b, wrt=j, **network)), int(run)
            )
            assert abs(ratio - Fraction(limit)) < Fraction(1, 5_000)


# One rule for numbers, arrays and symbols.


def test_arrays_give_what_numbers_give() -> None:
    """numpy arrays of shapes give, element by element, what the shapes give one by one."""
    d, b = (np.array(column, dtype=np.int64) for column in zip(*SHAPES, strict=True))
    for mode, n, activation, loss, j in points(range(1, 4)):
        network: dict[str, Any] = {"activation": activation, "loss": loss, "wrt": j}
        for quantity in (theory.peak_elements, theory.live_after_elements, theory.total_operations):
            many = np.broadcast_to(quantity(mode, n, d, b, **network), d.shape).tolist()
            assert many == [quantity(mode, n, *shape, **network) for shape in SHAPES]


def test_symbols_give_a_formula() -> None:
    """sympy symbols give the polynomial and a Max of polynomials, in b and d."""
    d, b = sympy.symbols("d b", positive=True, integer=True)
    assert theory.peak_elements("full", 4, d, b) == sympy.Max(
        5 * b * d + d**2 + 1, 3 * b * d + 3 * d**2 + 1, b * d + 4 * d**2 + 1
    )
    assert sympy.expand(theory.total_operations("no_grad", 2, d, b)) == 4 * b * d**2 + b * d - 1
    halves = theory.peak_elements("full", 1, d, b, loss="squared_error", micro_batches=2)
    assert halves.subs({d: 3, b: 8}) == theory.peak_elements(
        "full", 1, 3, 8, loss="squared_error", micro_batches=2
    )


def test_a_formula_reads_as_it_counts() -> None:
    """A piece's formula, evaluated, is its number of elements."""
    assert [piece.formula for piece in theory.peak_pieces("full", 4)] == [
        "(n+1)*b*d + d**2 + 1",
        "3*b*d + (n-1)*d**2 + 1",
        "b*d + n*d**2 + 1",
    ]
    cases = [(point, 1) for point in points(range(1, 6))] + [
        (point, 3) for point in points(range(1, 4)) if point[0] == "full"
    ]
    for (mode, n, activation, loss, j), k in cases:
        for piece in theory.peak_pieces(
            mode, n, activation=activation, loss=loss, wrt=j, micro_batches=k
        ):
            assert eval(piece.formula, {"n": n, "d": 5, "b": 6}) == piece.elements(n, 5, 6), piece
            assert piece.label


def test_parameters_and_data() -> None:
    """The parameters are n·d² elements; the data are x_1, for squared error y, for cross-entropy b
    class indices of 8 bytes.
    """
    assert theory.parameter_elements(3, 5) == 75
    assert theory.input_bytes(5, 7, "sum", 4) == 140
    assert theory.input_bytes(5, 7, "squared_error", 8) == 560
    assert theory.input_bytes(5, 7, "cross_entropy", 4) == 196


def test_a_name_and_a_number_mean_the_same_layer() -> None:
    """A weight is named as 3 or as "W_3"; W_1 alone is the first of W_j alone."""
    assert theory.operations("only", 4, 3, 5, wrt="W_3") == theory.operations(
        "only", 4, 3, 5, wrt=3
    )
    for activation, loss in itertools.product(theory.ACTIVATIONS, theory.LOSSES):
        first = theory.peak_pieces("w1_only", 4, activation=activation, loss=loss)
        assert first == theory.peak_pieces("only", 4, activation=activation, loss=loss, wrt="W_1")


# ---------------------------------------------------------------- bad input and the house's rules


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("fast", 2, 3, 4, {}), "mode 'fast'"),
        (("full", 2, 3, 4, {"activation": "swish"}), "activation 'swish'"),
        (("full", 2, 3, 4, {"loss": "mean"}), "loss 'mean'"),
        (("full", 0, 3, 4, {}), "n=0"),
        (("full", 2.0, 3, 4, {}), "n=2.0"),
        (("full", True, 3, 4, {}), "n=True"),
        (("full", 2, 0, 4, {}), "d=0"),
        (("full", 2, 3, 1.5, {}), "b=1.5"),
        (("only", 2, 3, 4, {}), "without wrt"),
        (("only", 2, 3, 4, {"wrt": 3}), "wrt=3"),
        (("only", 2, 3, 4, {"wrt": "W_0"}), "wrt='W_0'"),
        (("only", 2, 3, 4, {"wrt": "bias"}), "wrt='bias'"),
        (("full", 2, 3, 4, {"wrt": 1}), "wrt=1"),
        (("w1_only", 2, 3, 4, {"wrt": 2}), "wrt=2"),
        (("full", 2, 3, 4, {"micro_batches": 3}), "b=4 in 3 micro-batches"),
        (("forward", 2, 3, 4, {"micro_batches": 2}), "micro_batches=2"),
    ],
)
def test_a_case_without_a_closed_form_is_one_clear_line(
    arguments: tuple[str, int, int, int, dict[str, Any]], named: str
) -> None:
    """What no closed form covers is refused in one line that names what was given."""
    mode, n, d, b, others = arguments
    for quantity in (theory.peak_elements, theory.operations):
        with pytest.raises(TheoryError) as caught:
            quantity(mode, n, d, b, **others)
        assert named in str(caught.value)
        assert "\n" not in str(caught.value)


def test_theory_stands_alone() -> None:
    """The closed forms import neither the engine nor the profiler, nor a library of tensors, at
    module level.
    """
    allowed = {"__future__", "collections", "dataclasses", "functools", "typing", "experiments"}
    files = sorted(Path(theory.__file__).parent.glob("[!_]*.py"))
    assert len(files) == 8
    # The recurrences of checkpointing run over arrays of shapes.
    allowed |= {"itertools", "math", "numpy"}
    for file in files:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        names = {
            alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names
        }
        names |= {node.module or "" for node in tree.body if isinstance(node, ast.ImportFrom)}
        assert {name.split(".")[0] for name in names} <= allowed
        assert all(
            name.startswith("experiments.theory")
            for name in names
            if name.startswith("experiments")
        )
