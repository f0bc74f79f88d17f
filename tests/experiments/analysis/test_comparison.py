"""Sweeps compared point by point."""

from __future__ import annotations

import pandas as pd

from experiments.analysis.comparison import MATCH, compare_rows
from experiments.results.tables import Results


def test_a_sweep_is_equal_to_itself(measured: Results) -> None:
    """Every point is matched once in each part, nothing differs, whatever the number of copies."""
    rows = pd.concat([measured.results, measured.scale], ignore_index=True)
    for copies in (2, 3, 10):
        comparison = compare_rows([rows] * copies)
        points = len(rows.drop_duplicates([*MATCH, "part"]))
        assert len(comparison.table) == len(comparison.common) == points
        assert comparison.differing.empty
        assert comparison.single == (0,) * copies
        assert comparison.factors == {}
        assert f"operations equal in {points}, peak bytes equal in {points}" in comparison.verdict


def test_points_are_matched_across_parts(measured: Results) -> None:
    """What one sweep has in its grid and the other among its larger shapes is the same point; it is
    matched once.
    """
    exact = measured.results[measured.results["part"] == "exact"]
    comparison = compare_rows([exact, measured.scale])
    assert len(comparison.table) == len(measured.scale)
    assert comparison.single == (0, 0)
    nothing = compare_rows([measured.results.iloc[:0], measured.scale])
    assert (len(nothing.table), nothing.single, nothing.verdict) == (
        0,
        (0, len(measured.scale)),
        "No point is in two of them.",
    )


def test_sweeps_that_differ(measured: Results) -> None:
    """Points that differ in any sweep are found, those of one sweep or of some are counted."""
    ours = measured.scale.reset_index(drop=True)
    theirs = ours.copy().drop(index=[9]).sample(frac=1, random_state=1)
    theirs.loc[3, "ops"] += 2
    theirs.loc[5, "peak_bytes"] -= 4
    theirs.loc[7, "status"] = "failed"
    third = ours.drop(index=[11])
    third.loc[5, "peak_bytes"] += 8
    two = compare_rows([ours, theirs])
    assert (len(two.table), two.single) == (len(ours) - 2, (2, 0))
    assert two.apart("ops").sum() == two.apart("peak_bytes").sum() == 1
    assert "DIFFER in 2: " in two.verdict
    three = compare_rows([ours, theirs, third])
    assert (len(three.table), len(three.common)) == (len(ours), len(ours) - 3)
    assert three.single == (0, 0, 0)
    differing = three.differing
    assert sorted(differing["ops_2"] - differing["ops_1"]) == [0, 2]
    assert sorted(differing["peak_bytes_3"] - differing["peak_bytes_1"]) == [0, 8]
    assert "in all 3, 3 in some" in three.verdict


def test_what_whole_sweeps_differ_in_is_what_is_compared(measured: Results) -> None:
    """Sweeps of one activation each are matched by everything else; a mixed sweep is not."""
    rows = measured.results[measured.results["mode"] == "only"]
    tanh, gelu = (rows[rows["activation"] == name] for name in ("tanh", "gelu"))
    comparison = compare_rows([tanh, gelu])
    assert comparison.factors == {"activation": ("tanh", "gelu")}
    assert len(comparison.table) == len(tanh) == len(gelu) > 0
    assert len(comparison.differing) == len(tanh)
    mixed = compare_rows([tanh, rows])
    assert mixed.factors == {}
    assert (len(mixed.table), mixed.single) == (len(tanh), (0, len(gelu)))
