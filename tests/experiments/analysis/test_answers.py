"""The nine answers, the table of constants and the verdict: true of right rows alone."""

from __future__ import annotations

import pandas as pd
import pytest

from experiments import theory
from experiments.analysis.answers import QUESTIONS, answers_of
from experiments.analysis.constants import DIFFERENCES, check_claim
from experiments.analysis.verdict import agreement_words, verdict_of
from experiments.results.tables import Results


def test_counts_say_what_was_compared(measured: Results) -> None:
    """Rows without a formula are not among those that are equal, and residuals have a dash."""
    rows = measured.results.copy()
    rows.loc[[0, 1, 2], "theory_ops"] = pd.NA
    rows.loc[[2], "theory_peak_bytes"] = pd.NA
    verdict, of = verdict_of(rows), len(rows)
    assert (verdict.operations.compared, verdict.bytes.compared) == (of - 3, of - 1)
    assert (verdict.operations.without, verdict.bytes.without, verdict.compared) == (3, 1, of - 1)
    assert verdict.words == (
        f"operations equal in {of - 3} of {of - 3} rows with a formula, bytes in {of - 1} of "
        f"{of - 1}; 3 rows have no formula for operations, 1 none for bytes"
    )
    none = verdict_of(rows.assign(theory_ops=pd.NA))
    assert (none.operations.residual, none.operations.share, none.bytes.residual) == ("–", "–", "0")
    assert none.words.startswith(f"bytes equal in {of - 1} of {of - 1} rows with a formula; ")
    assert agreement_words({}) == "none of the rows has a formula to compare with"


def test_the_nine_answers_are_found_and_agree(measured: Results) -> None:
    """For tanh every one of the nine is a formula found in the rows, and its order is the
    exercise's.
    """
    tanh = next(
        case for case in answers_of(measured.complexity) if case.case["activation"] == "tanh"
    )
    assert len(tanh.answers) == len(QUESTIONS) == 9
    assert [answer.agrees for answer in tanh.answers] == [True] * 9
    by_name = {
        (answer.question.letter, answer.question.index): answer.formula for answer in tanh.answers
    }
    assert by_name["T", "run"] == "2nbd² + bd − 1"
    assert by_name["M", "run"] == "4·2bd"
    assert by_name["M", "backward, W₁"] == "4·max{nbd + bd + 2, bd + d² + 1}"


def test_the_differences_are_true_of_every_row(measured: Results) -> None:
    """Each claim of the table of constants speaks of some rows and is true of all; of a row that is
    off it is not.
    """
    rows = pd.concat([measured.results, measured.scale], ignore_index=True)
    for claim in [claim for difference in DIFFERENCES for claim in difference.claims]:
        true, of = check_claim(claim, rows)
        assert true == of > 0, claim.words
        wrong = rows.assign(**{claim.column: rows[claim.column] + 1})
        assert check_claim(claim, wrong) == (0, of)


@pytest.mark.parametrize("activation", ["tanh", "relu", "sigmoid", "gelu"])
def test_the_differences_are_the_theorys(activation: str) -> None:
    """The formulas of the table of constants are those of the theory, for shapes on both sides of b
    = d.
    """
    for claim in [
        claim
        for difference in DIFFERENCES
        for claim in difference.claims
        if activation in claim.activations
    ]:
        for n, d, b in [(1, 2, 5), (2, 5, 2), (3, 4, 4), (5, 3, 40), (6, 40, 3)]:
            if n < claim.least_n:
                continue
            phases = theory.operations(claim.mode, n, d, b, activation=activation)
            expected = {
                "peak_bytes": theory.peak_elements(claim.mode, n, d, b, activation=activation),
                "live_after_bytes": theory.live_after_elements(
                    claim.mode, n, d, b, activation=activation
                ),
                "matmul_flops": sum(phase.matmul_flops for phase in phases.values()),
            }[claim.column]
            assert claim.formula(n, b * d, d * d, d) == expected, claim.words
