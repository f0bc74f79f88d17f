"""The largest batch that a memory holds: the one that fits while one more does not, from shapes
alone, in table, words and figure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from hypothesis import given, strategies as st

from autodiff import PlannerError, networks, parse_planner
from experiments.analysis.capacity import capacities_of
from experiments.errors import ConfigError
from experiments.figures.capacity import draw_capacity
from experiments.figures.style import styled
from experiments.grid.config import sweep_config
from experiments.measuring.capacity import capacity_of
from experiments.measuring.search import largest
from experiments.reporting.publishing import publish_again
from experiments.results.capacity import ANY_PLAN, CAPACITY, CAPACITY_COLUMNS, read_capacity
from experiments.results.tables import read_results
from experiments.sweeping import job
from profiler import profile
from profiler.prediction import program_of_mode
from tests.support.command_line import run_main

PLANNERS = ["uniform", "revolve(snapshots=2)", "recompute_all"]
SMALL: dict[str, Any] = {
    "network": {"activation": ["tanh", "gelu"]},
    "grid": {"n": [6], "d": [8], "b": [4]},
    "modes": ["no_grad", "full", "w1_only", "checkpointed"],
    "planners": PLANNERS,
    "execute": False,
    "memory": ["8KiB", 20000, "3KiB", "1KiB"],
}


@pytest.fixture(scope="module")
def capacity() -> pd.DataFrame:
    """What four memories hold of two small chains."""
    return capacity_of(sweep_config(SMALL))


def needed(row: dict[str, Any], b: int) -> int | None:
    """What running a row's step at a batch takes, weights and data included; None where no plan
    fits.
    """
    network = networks.chain(row["n"], row["d"], b, activation=row["activation"])
    program = program_of_mode(network, row["mode"])
    given_bytes = sum(program.values[value].spec.nbytes for value in program.given)
    name = (
        row["planner"]
        if row["planner"] != ANY_PLAN
        else f"revolve(max_bytes={row['memory_bytes'] - given_bytes})"
    )
    try:
        step = profile(
            program, planner=parse_planner(name) if row["mode"] == "checkpointed" else None
        )
    except PlannerError:
        return None
    return step.peak_bytes + step.parameter_bytes + step.input_bytes


def test_the_largest_batch_fits_and_one_more_does_not(capacity: pd.DataFrame) -> None:
    """Executing at the batch that is found stays within the memory to the byte, and one example
    more does not.
    """
    assert len(capacity) == 2 * 4 * (3 + len(PLANNERS) + 1)
    assert set(capacity["b"] == 0) == {True, False}
    for row in capacity.to_dict("records"):
        if row["b"]:
            taken = needed(row, int(row["b"]))
            assert taken == row["peak_bytes"] + row["parameter_bytes"] + row["input_bytes"]
            assert taken <= row["memory_bytes"]
        more = needed(row, int(row["b"]) + 1) if row["memory_bytes"] > 1536 else None
        assert more is None or more > row["memory_bytes"]


def test_no_planner_beats_the_row_of_any_plan(capacity: pd.DataFrame) -> None:
    """Whatever plan still fits takes at least as large a batch as every named planner, and more
    than keeping everything.
    """
    for _, group in capacity.groupby(["activation", "memory_bytes"]):
        trained = group[group["mode"].isin(["full", "checkpointed"])].set_index("planner")["b"]
        assert trained[ANY_PLAN] == trained.max()
        assert trained[ANY_PLAN] > trained["store_all"] or trained[ANY_PLAN] == 0


def test_what_does_not_fit_says_why(capacity: pd.DataFrame) -> None:
    """Where not even one example fits there is a reason, with the weights and the peak in it."""
    none = capacity[capacity["memory_bytes"] == 1024]
    assert (none["b"] == 0).all()
    assert (
        none.loc[none["planner"] != ANY_PLAN, "reason"]
        .str.contains("weights of 1.5 KiB and a peak of")
        .all()
    )
    assert (
        none.loc[none["planner"] == ANY_PLAN, "reason"]
        .str.contains("no plan of a batch of 1 fits into 1 KiB")
        .all()
    )
    assert (capacity.loc[capacity["b"] > 0, "reason"] == "").all()


@given(st.integers(1, 3000), st.integers(0, 3000), st.integers(1, 3000))
def test_the_search_finds_the_last_that_fits_from_any_guess(
    most: int, last: int, guess: int
) -> None:
    """Wherever it sets out, the search ends at the same batch, and asks few times."""
    asked: list[int] = []

    def fits(b: int) -> bool:
        asked.append(b)
        assert 1 <= b <= most
        return b <= last

    assert largest(fits, most, min(guess, most)) == min(last, most)
    assert len(asked) <= 30


def test_a_search_that_sets_out_well_asks_twice() -> None:
    """At the right guess it asks for that batch and for the next."""
    asked: list[int] = []
    check: Callable[[int], bool] = lambda b: (asked.append(b) or True) and b <= 77  # type: ignore[func-returns-value] # noqa: E731
    assert largest(check, 10**9, 77) == 77
    assert asked == [77, 78]


def test_a_planner_that_raises_has_its_reason_in_its_row() -> None:
    """A planner of a user's own that fails for a shape does not cost the other rows."""
    config = sweep_config(
        {
            **SMALL,
            "planners": ["uniform", "tests.support.planners:Fussy()"],
            "network": {},
            "memory": 20000,
            "grid": {"n": 6, "d": 9, "b": 4},
        }
    )
    rows = capacity_of(config).set_index("planner")
    assert rows.loc["tests.support.planners:Fussy", "reason"] == "RuntimeError: not nine"
    assert rows.loc["uniform", "b"] > 0


@pytest.mark.parametrize("wrong", ["much", "1.5B", 0, -3, True, 2.5, ["24GiB", "x"], []])
def test_a_memory_that_is_none_is_refused(wrong: Any) -> None:
    """What is no number of bytes is refused at once."""
    with pytest.raises(ConfigError, match="memory"):
        sweep_config({**SMALL, "memory": wrong})


def test_without_a_memory_nothing_is_searched() -> None:
    """A sweep that names no memory has no such table."""
    assert capacity_of(sweep_config({**SMALL, "memory": None})).empty


# The files, the words, the figure.


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a finished sweep with memories."""
    directory = tmp_path_factory.mktemp("capacity") / "run"
    assert job.run_job(SMALL, directory)[0] == 0
    return directory


def test_the_report_tells_what_fits(finished: Path, capacity: pd.DataFrame) -> None:
    """The table is whole in its file, and the page has its section, its sentences and
    its figure.
    """
    results = read_results(finished)
    assert list(results.capacity.columns) == list(CAPACITY_COLUMNS)
    assert results.capacity["b"].tolist() == capacity["b"].tolist()
    page = (finished / "report.html").read_text()
    assert 'id="fits"' in page
    assert "Keeping everything allows a batch of" in page
    assert "Nothing fits" in page
    assert (finished / "figures" / "capacity.png").exists()


def test_damage_to_the_table_costs_the_damaged_lines_alone(
    finished: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A torn line, a word for a number and a row without its numbers are skipped; a file that is no
    table is skipped whole.
    """
    lines = (finished / CAPACITY).read_text().splitlines(keepends=True)
    whole = len(lines) - 1
    torn = lines[2].replace(",no_grad,", ",no_grad", 1)
    (tmp_path / CAPACITY).write_text(
        "".join([lines[0], lines[1], torn, lines[3].replace(",6,", ",six,", 1), *lines[4:]])
    )
    assert len(read_capacity([tmp_path])) in (whole - 2, whole - 1)
    assert "skipped" in caplog.text
    for rubbish in ("", "a,b\n1,2\n", "\0\0\0", '"' * 7):
        (tmp_path / CAPACITY).write_text(rubbish)
        assert read_capacity([tmp_path]).empty
    assert len(read_capacity([finished, finished])) == whole


def test_a_report_is_made_again_with_its_capacity(finished: Path) -> None:
    """The section is there again when the report is made again from the files."""
    before = (finished / "report.html").read_text()
    publish_again(finished)
    assert (
        (finished / "report.html").read_text().count('id="fits"') == before.count('id="fits"') == 1
    )


def test_words_say_what_recomputing_gains_or_that_it_gains_nothing(capacity: pd.DataFrame) -> None:
    """The sentence names the largest batch, how many times full's it is, and by which plan; where
    none gains, it says so.
    """
    row = dict(capacity.iloc[0])
    row |= {
        "mode": "full",
        "planner": "store_all",
        "b": 10,
        "peak_bytes": 1,
        "parameter_bytes": 2**20,
        "ops": 100,
        "ops_recompute": 0,
    }
    more = row | {
        "mode": "checkpointed",
        "planner": "uniform",
        "b": 40,
        "ops": 500,
        "ops_recompute": 100,
    }
    told = capacities_of(pd.DataFrame([row, more]))[0].sentences[0]
    assert told == (
        "Keeping everything allows a batch of 10; the largest is 40 (4×), with uniform, √n "
        "segments, for 25% more operations per example. "
        "The weights need 1 MiB."
    )
    same = capacities_of(pd.DataFrame([row, more | {"b": 10}]))[0].sentences[0]
    assert same.startswith("No plan allows a larger batch than 10")
    nothing = capacities_of(pd.DataFrame([row | {"b": 0, "reason": "too large"}]))[0]
    assert nothing.sentences == ("Nothing fits: too large.",)
    kept_out = capacities_of(pd.DataFrame([row | {"b": 0}, more]))[0].sentences[0]
    assert kept_out.startswith("Keeping everything does not fit; the largest is 40, with")


def test_the_figure_has_a_mark_for_each_batch_and_says_the_gain(finished: Path) -> None:
    """A panel for each memory, shapes as lines, and the greatest gain in its message; without a
    memory there is no figure.
    """
    results = read_results(finished)
    with styled("capacity"):
        drawing = draw_capacity(results)
        assert drawing is not None
        assert draw_capacity(replace(results, capacity=results.capacity[:0])) is None
    panels = drawing.figure.axes
    assert len(panels) == 4
    assert "× as large as keeping everything does" in drawing.title
    drawn = {
        round(float(x))
        for axes in panels
        for line in axes.lines
        if line.get_marker() not in ("", "None")
        for x in line.get_xdata()
    }
    assert drawn == {int(b) for b in results.capacity["b"] if b}


@pytest.mark.slow
def test_the_preset_of_published_shapes_runs(tmp_path: Path) -> None:
    """`experiment=large`, with one shape, one memory and one planner, ends well with its table and
    its report.
    """
    others = ("GPT-2-XL", "LLaMA-65B", "GPT-3", "Gopher", "PaLM-540B")
    fewer = [*(f"studies.{name}=null" for name in others), "studies.BERT-large.grid.b=[1024]"]
    code, _, err = run_main(
        "experiment=large",
        "memory=80GiB",
        "planners=[uniform]",
        *fewer,
        f"hydra.run.dir={tmp_path}/run",
        cwd=tmp_path,
    )
    assert (code, err) == (0, "")
    rows = read_results(tmp_path / "run")
    assert (rows.results["peak_bytes"] == rows.results["theory_peak_bytes"]).all()
    assert set(rows.capacity["part"]) == {"BERT-large"}
    assert set(rows.results["parameter_bytes"]) == {torch.bfloat16.itemsize * 24 * 1024**2}
