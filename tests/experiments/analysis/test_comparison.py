"""Two sweeps compared point by point."""

from __future__ import annotations

import pandas as pd

from experiments.analysis.comparison import MATCH, compare_rows, summary_of
from experiments.results.tables import Results


def test_a_sweep_is_equal_to_itself(measured: Results) -> None:
    """Every point is matched once in each part, nothing differs, and no time is longer
    than itself.
    """
    rows = pd.concat([measured.results, measured.scale], ignore_index=True)
    comparison = compare_rows(rows, rows)
    assert len(comparison.table) == len(rows.drop_duplicates([*MATCH, "part"]))
    assert comparison.differing.empty
    assert (comparison.only_here, comparison.only_there) == (0, 0)
    assert set(comparison.table["time_ratio"].dropna()) == {1.0}
    assert f"operations equal in {len(rows)}, peak bytes in {len(rows)}" in comparison.verdict


def test_points_are_matched_across_parts(measured: Results) -> None:
    """What one sweep has in its grid and the other among its larger shapes is the same point; it is
    matched once.
    """
    comparison = compare_rows(measured.results[measured.results["part"] == "exact"], measured.scale)
    assert len(comparison.table) == len(measured.scale)
    assert (comparison.only_here, comparison.only_there) == (0, 0)
    nothing = compare_rows(measured.results.iloc[:0], measured.scale)
    assert (len(nothing.table), nothing.only_there, nothing.verdict) == (
        0,
        len(measured.scale),
        "No point is in both.",
    )


def test_two_sweeps_that_differ(measured: Results) -> None:
    """Differences are exact and signed, times are the first over the other, and points of only one
    sweep are counted.
    """
    ours = measured.scale.reset_index(drop=True)
    theirs = ours.copy().drop(index=[9]).sample(frac=1, random_state=1)
    theirs.loc[3, "ops"] += 2
    theirs.loc[5, "peak_bytes"] -= 4
    for phase in ("forward", "recompute", "backward"):
        theirs[f"wall_ns_{phase}"] *= 4
    theirs.loc[7, "status"] = "failed"
    comparison = compare_rows(ours, theirs)
    assert (len(comparison.table), comparison.only_here, comparison.only_there) == (
        len(ours) - 2,
        2,
        0,
    )
    assert sorted(comparison.differing["ops_difference"]) == [-2, 0]
    assert sorted(comparison.differing["peak_bytes_difference"]) == [0, 4]
    assert comparison.table["time_ratio"].astype(float).round(6).unique().tolist() == [0.25]
    assert "DIFFER in 2: " in comparison.verdict
    assert sum(int(line["ops_differing"]) for line in summary_of(comparison)) == 1
