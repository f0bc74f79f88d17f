"""The exercise's nine questions answered from rows, next to its answer sheet.

The exercise (section 2.3) asks for orders in big-O; its sheet answers with sums of parts. Each
answer here is a formula that the fit found in the rows of one network, next to the sheet's order.
Where our constants differ from the sheet's parts is in `constants`.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from experiments.fitting.polynomials import Monomial, Order
from experiments.fitting.result import UNDECIDED
from experiments.names import CASE, HOME_ENGINE, STORE_ALL

GROUP = (*CASE, "engine")


@dataclass(frozen=True)
class Question:
    """One of the nine: its symbol, what it asks, the rows that answer it, the sheet's answer."""

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
        "operations to compute L when no gradient is needed",
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
        "operations of the backward pass, W₁ only",
        "w1_only",
        "ops_backward",
        "n·(T_mm + T_σ) + T_mm",
        Order((NBDD,)),
    ),
    Question(
        "M",
        "run",
        "memory to compute L when no gradient is needed",
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
        "memory of both passes, W₁ only",
        "w1_only",
        "peak_bytes",
        "M_forward + d²",
        Order((NBD, DD)),
    ),
)


@dataclass(frozen=True)
class Answer:
    """What was found for a question; `agrees` is None where the rows decide nothing."""

    question: Question
    formula: str
    order: str
    agrees: bool | None
    valid_from_n: int
    rows: int
    reason: str

    @property
    def sheet_order(self) -> str:
        """The sheet's order, for reading."""
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
            if (name, value) != ("engine", HOME_ENGINE)
        )

    @property
    def decided(self) -> bool:
        """Whether the rows decide any of the nine."""
        return any(answer.agrees is not None for answer in self.answers)


def answers_of(complexity: pd.DataFrame) -> list[CaseAnswers]:
    """Return the nine answers for each network in complexity.csv, in its order."""
    if complexity.empty:
        return []
    plain = complexity[complexity["planner"] == STORE_ALL]
    found = []
    for labels, rows in plain.groupby(list(GROUP), sort=False):
        case = dict(zip(GROUP, (str(label) for label in labels), strict=True))
        found.append(CaseAnswers(case, tuple(_answer(question, rows) for question in QUESTIONS)))
    return found


def _answer(question: Question, rows: pd.DataFrame) -> Answer:
    asked = rows[rows["quantity"] == question.quantity]
    # What is equal in every mode is asked without a mode: any decided row answers it.
    asked = (
        asked[asked["mode"] == question.mode]
        if question.mode
        else asked.sort_values("formula", key=lambda found: found == UNDECIDED)
    )
    if asked.empty:
        return Answer(
            question, "no rows", "–", None, 0, 0, f"no rows of mode {question.mode or 'any'}"
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
