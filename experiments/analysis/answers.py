"""The exercise's nine questions answered from measured rows, and why our constants are not those of its answer sheet.

The exercise (section 2.3) asks for orders in big-O; its sheet answers with sums of parts. Here each answer is a formula that `fit.py` found in
the rows of one network, beside the sheet's order; and each place where our constants differ from the sheet's parts is a claim that is
held against every measured row. Letters: A = bd, one activation; D = d², one weight gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from experiments.fitting.polynomials import Monomial, Order
from experiments.fitting.result import UNDECIDED

CASE = ("network", "activation", "loss", "dtype", "engine")
STORE_ALL = "store_all"
READS_OUTPUT = ("tanh", "relu", "sigmoid")


@dataclass(frozen=True)
class Question:
    """One of the nine: its symbol, what it asks, where its answer is measured, and what the sheet says."""

    letter: str
    index: str
    words: str
    mode: str
    quantity: str
    sheet: str
    sheet_order: Order


NBDD, NBD, NDD = Monomial(1, 1, 2), Monomial(1, 1, 1), Monomial(1, 0, 2)
BD, DD = Monomial(0, 1, 1), Monomial(0, 0, 2)

QUESTIONS = (
    Question("M", "net", "memory that holds the weights", "", "parameter_bytes", "", Order((NDD,))),
    Question(
        "T",
        "run",
        "operations to compute L when no gradient is wanted",
        "no_grad",
        "ops",
        "n·(T_mm + T_σ)",
        Order((NBDD,)),
    ),
    Question(
        "T",
        "forward",
        "operations of the forward pass when gradients may follow",
        "forward",
        "ops_forward",
        "T_run + T(L)",
        Order((NBDD,)),
    ),
    Question(
        "T",
        "backward",
        "operations of the backward pass, all weights",
        "full",
        "ops_backward",
        "n·(2 T_mm + T_σ)",
        Order((NBDD,)),
    ),
    Question(
        "T",
        "backward, W₁",
        "operations of the backward pass, W₁ alone",
        "w1_only",
        "ops_backward",
        "n·(T_mm + T_σ) + T_mm",
        Order((NBDD,)),
    ),
    Question(
        "M",
        "run",
        "memory to compute L when no gradient is wanted",
        "no_grad",
        "peak_bytes",
        "x + z + L",
        Order((BD,)),
    ),
    Question(
        "M",
        "forward",
        "memory of the forward pass when gradients may follow",
        "forward",
        "peak_bytes",
        "n·x + n·z + L",
        Order((NBD,)),
    ),
    Question(
        "M",
        "backward",
        "memory of both passes, all weights",
        "full",
        "peak_bytes",
        "M_forward + n·d²",
        Order((NBD, NDD)),
    ),
    Question(
        "M",
        "backward, W₁",
        "memory of both passes, W₁ alone",
        "w1_only",
        "peak_bytes",
        "M_forward + d²",
        Order((NBD, DD)),
    ),
)


@dataclass(frozen=True)
class Answer:
    """What was found for a question; `agrees` is None where nothing was decided or measured."""

    question: Question
    formula: str
    order: str
    agrees: bool | None
    valid_from_n: int
    rows: int
    reason: str

    @property
    def sheet_order(self) -> str:
        """The sheet's order, for the eye."""
        return self.question.sheet_order.pretty


@dataclass(frozen=True)
class CaseAnswers:
    """The nine answers of one network."""

    case: dict[str, str]
    answers: tuple[Answer, ...]

    @property
    def words(self) -> str:
        """The network in words."""
        return ", ".join(
            f"loss {value}" if name == "loss" else value
            for name, value in self.case.items()
            if (name, value) != ("engine", "autodiff")
        )

    @property
    def decided(self) -> bool:
        """Whether the rows decide any of the nine."""
        return any(answer.agrees is not None for answer in self.answers)


def answers_of(complexity: pd.DataFrame) -> list[CaseAnswers]:
    """The nine answers for each network in complexity.csv, in its order."""
    if complexity.empty:
        return []
    plain = complexity[complexity["planner"] == STORE_ALL]
    found = []
    for labels, rows in plain.groupby(list(CASE), sort=False):
        case = dict(zip(CASE, (str(label) for label in labels), strict=True))
        found.append(CaseAnswers(case, tuple(_answer(question, rows) for question in QUESTIONS)))
    return found


def _answer(question: Question, rows: pd.DataFrame) -> Answer:
    asked = rows[rows["quantity"] == question.quantity]
    # What is the same in every mode has no mode of its own: a decided one speaks for all.
    asked = (
        asked[asked["mode"] == question.mode]
        if question.mode
        else asked.sort_values("formula", key=lambda found: found == UNDECIDED)
    )
    if asked.empty:
        return Answer(
            question, "not measured", "–", None, 0, 0, f"no rows of mode {question.mode or 'any'}"
        )
    row = asked.iloc[0]
    if row["formula"] == UNDECIDED:
        return Answer(question, UNDECIDED, UNDECIDED, None, 0, int(row["rows"]), str(row["reason"]))
    agrees = str(row["big_o"]) == str(question.sheet_order)
    return Answer(
        question,
        str(row["pretty_formula"]),
        str(row["pretty_order"]),
        agrees,
        int(row["valid_from_n"]),
        int(row["rows"]),
        str(row["reason"]),
    )


@dataclass(frozen=True)
class Claim:
    """A formula said of every row of some activations and one mode: a column equals it, in elements where it counts bytes."""

    words: str
    activations: tuple[str, ...]
    mode: str
    column: str
    formula: Callable[[Any, Any, Any, Any], Any]
    least_n: int = 1


@dataclass(frozen=True)
class Difference:
    """Where the sheet's parts and our measurement differ, and why."""

    sheet: str
    ours: str
    because: str
    claims: tuple[Claim, ...]


SMOOTH = (*READS_OUTPUT, "gelu")
DIFFERENCES = (
    Difference(
        "running takes x, z and O(b) for L",
        "2A: two neighbouring values, and later the one element of L",
        "the loss adds up the whole batch into one number; O(b) would be a loss for each example",
        (Claim("no-grad’s peak is 2A", SMOOTH, "no_grad", "peak_bytes", lambda n, A, D, d: 2 * A),),
    ),
    Difference(
        "the forward pass keeps nA of x and nA of z",
        "tanh: nA + 1 are kept, (n+1)A at the peak; gelu: (2n−1)A + 1 are kept",
        "the gradient of tanh reads its output, so each z dies at once, and x₁ is the caller’s; gelu’s reads its input, so z stays beside x",
        (
            Claim("tanh, relu, sigmoid: forward’s peak is (n+1)A", READS_OUTPUT, "forward", "peak_bytes", lambda n, A, D, d: (n + 1) * A),
            Claim("… and nA + 1 stay", READS_OUTPUT, "forward", "live_after_bytes", lambda n, A, D, d: n * A + 1),
            Claim("gelu: (2n−1)A + 1 stay", ("gelu",), "forward", "live_after_bytes", lambda n, A, D, d: (2 * n - 1) * A + 1),
        ),
    ),
    Difference(
        "both passes take M_forward and nD on top",
        "a maximum of a few moments, below that sum; the same order",
        "activations die layer by layer while the weight gradients are born, so the two are never whole at the same time",
        (
            Claim(
                "tanh, relu, sigmoid, n ≥ 2: 1 + max{(n+1)A + D, 3A + (n−1)D, A + nD}",
                READS_OUTPUT,
                "full",
                "peak_bytes",
                lambda n, A, D, d: 1 + max((n + 1) * A + D, 3 * A + (n - 1) * D, A + n * D),
                least_n=2,
            ),
        ),
    ),
    Difference(
        "the backward pass runs 2n products; for W₁ alone n + 1",
        "2n − 1; for W₁ alone n",
        "nobody asked for the gradient of the data x₁, and what no target needs is never run",
        (
            Claim("both passes run n + (2n−1) products of 2bd² flops", SMOOTH, "full", "matmul_flops", lambda n, A, D, d: (3 * n - 1) * 2 * A * d),
            Claim("for W₁ alone n + n", SMOOTH, "w1_only", "matmul_flops", lambda n, A, D, d: 2 * n * 2 * A * d),
        ),
    ),
    Difference(
        "W₁ alone takes less memory",
        "it saves (n−1)D of weight gradients; of activations none with tanh or relu, about half with gelu",
        "the chain down to W₁ passes every σ and still needs what each σ′ reads; only gelu also kept the inputs of weight gradients that nobody now asks for",
        (
            Claim("after W₁ alone only D + 1 stay", SMOOTH, "w1_only", "live_after_bytes", lambda n, A, D, d: D + 1),
            Claim(
                "its peak is max{(n+1)A + 2, A + D + 1} for all of them",
                SMOOTH,
                "w1_only",
                "peak_bytes",
                lambda n, A, D, d: max((n + 1) * A + 2, A + D + 1),
            ),
        ),
    ),
)  # fmt: skip


def held_against(claim: Claim, rows: pd.DataFrame) -> tuple[int, int]:
    """How many rows a claim is true of, and of how many it speaks."""
    spoken = rows[
        (rows["status"] == "ok")
        & (rows["mode"] == claim.mode)
        & rows["activation"].isin(claim.activations)
        & (rows["loss"] == "sum")
        & (rows["engine"] == "autodiff")
        & (rows["micro_batches"] == 1)
        & (rows["n"] >= claim.least_n)
    ].dropna(subset=[claim.column, "parameter_bytes"])
    true = 0
    columns = ("n", "d", "b", claim.column, "parameter_bytes")
    for n, d, b, value, parameter_bytes in zip(
        *(spoken[column].astype(int) for column in columns), strict=True
    ):
        unit = parameter_bytes // (n * d * d) if claim.column.endswith("_bytes") else 1
        true += value == unit * claim.formula(n, b * d, d * d, d)
    return true, len(spoken)
