"""Anything at all: configs, command lines and damaged files that hypothesis draws. No traceback
reaches the user, no valid row is lost.
"""

from __future__ import annotations

import ast
import json
import pickle
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest import mock

import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings, strategies as st

from autodiff.errors import TapemeasureError
from experiments.errors import ConfigError, ResultsError
from experiments.grid.config import KEYS, sweep_config
from experiments.grid.points import points_of
from experiments.names import MODES, STATUSES
from experiments.report import main
from experiments.reporting.publishing import publish_again
from experiments.reporting.sweep import missing_points, write_report
from experiments.results.expected import POINTS, expected_below
from experiments.results.files import write_csv
from experiments.results.frames import frame_of, read_rows
from experiments.results.journal import JOURNAL, Journal
from experiments.results.rows import COLUMNS, Row, RowError, row_of, row_of_fields
from experiments.results.tables import COMPLEXITY, MANIFEST, RESULTS, TIMELINES, read_results
from experiments.sweeping import job
from tests.support.command_line import run_main
from tests.support.paths import ROOT
from tests.support.rows import journal_rows, with_key
from tests.support.sweeps import TINY

FEW = settings(
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
MANY = settings(FEW, max_examples=50)
SLOW = settings(
    FEW, max_examples=8, phases=[Phase.explicit, Phase.reuse, Phase.generate]
)  # to shrink an example would take minutes


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A directory for one example after another."""
    return tmp_path


def valid(several: list[dict[str, Any]]) -> list[Row]:
    """The rows among mappings of anything."""
    rows = []
    for values in several:
        with suppress(RowError):
            rows.append(row_of_fields(values))
    return rows


def check_one_line(error: TapemeasureError) -> None:
    """An error is one line that says something."""
    assert str(error).strip()
    assert "\n" not in str(error)


# Configs

plain = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 6), st.integers(), st.floats(), st.text(max_size=8),
    st.sampled_from([
        *MODES, "tanh", "gelu", "sum", "store_all", "revolve(snapshots=2)", "uniform(", "chain",
        "float32", "a.b:c", "cpu",
    ]),
)  # fmt: skip
anything = st.recursive(
    plain,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["n", "d", "b", "name", "activation", "loss", "modes", "x\ny"]), inner
        )
    ),
    max_leaves=6,
)


@MANY
@given(changes=st.dictionaries(st.sampled_from([*KEYS, "nd", ""]), anything, max_size=4))
def test_any_config_is_a_sweep_or_one_line(changes: dict[str, Any]) -> None:
    """A config of any values is either a sweep with points, or refused in one line."""
    try:
        config = sweep_config({**TINY, **changes})
        points = points_of(config)
    except ConfigError as error:
        check_one_line(error)
        return
    assert all(row_of(point, status="failed").key == point.key for point in points)
    assert len({point.key for point in points}) == len(points)


numbers = st.one_of(
    st.integers(1, 4).map(str),
    st.sampled_from(
        ["0", "-1", "1.5", "1e3", "[]", "[1,2]", "null", "true", "x", "{a:1}", "99999999999", ""]
    ),
)
words = st.text(st.sampled_from("abnd01=,[]{}()'\"\\ $:.-+~#\n\tσ\ud800"), max_size=12)
overrides = st.one_of(
    st.tuples(
        st.sampled_from(
            ["grid.n", "grid.d", "grid.b", "repeats", "threads", "timeout_s", "micro_batches"]
        ),
        numbers,
    ).map("=".join),
    st.tuples(
        st.sampled_from(
            [
                "modes",
                "network",
                "network.activation",
                "experiment",
                "planners",
                "scale",
                "studies",
                "device",
                "dtype",
            ]
        ),
        words,
    ).map("=".join),
    st.tuples(
        st.sampled_from(["modes", "planners", "grid"]),
        st.sampled_from(["full", "[full,full]", "small", "'revolve(snapshots=0)'", "'os:system'"]),
    ).map("=".join),
    words,
)


@FEW
@given(arguments=st.lists(overrides, max_size=3), is_multirun=st.booleans())
def test_any_command_line_is_told_without_a_traceback(
    here: Path, arguments: list[str], is_multirun: bool
) -> None:
    """Whatever is typed, the command line ends by leaving, with words; what is refused leaves no
    directory behind.
    """
    flags = ["--multirun"] if is_multirun else []
    code, out, err = run_main(
        *flags,
        "experiment=quick",
        "dry_run=true",
        "grid.n=1",
        *(word for word in arguments if not word.startswith("-")),
        cwd=here,
    )
    assert (out if code == 0 else err).strip()
    assert list(here.iterdir()) == []


# Damaged files


def damages(content: bytes) -> st.SearchStrategy[bytes]:
    """A file with one to three things done to it: bytes changed, put in, taken out, doubled; the
    end cut off; anything else instead.
    """
    place = st.integers(0, len(content))
    piece = st.binary(min_size=1, max_size=6) | st.sampled_from(
        [b"\n", b'"', b",", b"{", b"null", b"-1", b"NaN", b"1e999", b"[" * 2000, b"\x00", b"\xff"]
    )

    def done(damage: tuple[str, int, int, bytes], to: bytes) -> bytes:
        kind, first, length, new = damage
        first = min(first, len(to))
        last = min(first + length, len(to))
        return {
            "change": to[:first] + new + to[first + len(new) :],
            "insert": to[:first] + new + to[first:],
            "remove": to[:first] + to[last:],
            "double": to[:last] + to[first:],
            "cut": to[:first],
            "replace": new,
        }[kind]

    one = st.tuples(
        st.sampled_from(["change", "insert", "remove", "double", "cut", "replace"]),
        place,
        st.integers(1, 200),
        piece,
    )

    def together(several: list[tuple[str, int, int, bytes]]) -> bytes:
        damaged = content
        for damage in several:
            damaged = done(damage, damaged)
        return damaged

    return st.lists(one, min_size=1, max_size=3).map(together)


@MANY
@given(data=st.data())
def test_a_damaged_journal_loses_no_valid_row(
    finished: Path, here: Path, data: st.DataObject
) -> None:
    """Of a journal with any damage, every line that is still whole is read, the rest is skipped,
    and rows can be appended to it.
    """
    content = (finished / JOURNAL).read_bytes()
    damaged = data.draw(damages(content))
    path = here / JOURNAL
    path.write_bytes(damaged)
    whole = dict(zip(content.split(b"\n"), journal_rows(finished / JOURNAL), strict=False))
    untouched = [whole[line] for line in damaged.split(b"\n") if line in whole]
    rows = journal_rows(path)
    assert all(row in rows for row in untouched)
    assert all(row in whole.values() for row in rows)  # no damage makes another valid row
    assert set(frame_of(rows)["key"]) == {row.key for row in rows}
    new = row_of(points_of(sweep_config(TINY))[0], status="timeout", reason="planted")
    with Journal(here) as journal:
        journal.append(new)
    assert journal_rows(path) == [*rows, new]


values = st.one_of(
    plain,
    st.integers(2**62, 2**65),
    st.lists(st.integers(), max_size=2),
    st.just({"_target_": "os.system"}),
)


@MANY
@given(changes=st.dictionaries(st.sampled_from(COLUMNS), values, min_size=1, max_size=5))
def test_a_row_of_any_values_is_valid_or_passed_over(
    finished: Path, here: Path, changes: dict[str, Any]
) -> None:
    """A row whose columns hold anything is either no row, or comes through the table and its file
    as it is.
    """
    values = {**vars(journal_rows(finished / JOURNAL)[0]), **changes}
    values = values if "key" in changes else with_key(values)
    (here / JOURNAL).write_text(json.dumps(values) + "\n")
    rows = journal_rows(here / JOURNAL)
    assert rows == valid([values])
    frame = frame_of(rows)
    write_csv(here / RESULTS, frame)
    pd.testing.assert_frame_equal(read_rows(here / RESULTS), frame)


@settings(FEW, max_examples=6)
@given(
    changes=st.dictionaries(
        st.sampled_from(COLUMNS[1:]),
        values | st.text("\x00\x01\x1b\ufffe$<&\n'\"\\", max_size=3),
        min_size=1,
        max_size=5,
    ),
    several=st.integers(1, 3),
)
def test_rows_of_any_values_make_a_report(
    finished: Path,
    here: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    several: int,
) -> None:
    """Whatever valid rows hold, absurd numbers and odd letters too, the command makes its report:
    exit 0, and not a word of an error.
    """
    directory = here / "run"
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(finished, directory)
    rows = [vars(row) for row in journal_rows(directory / JOURNAL)]
    rows = [
        with_key({**row, **changes}) if place < several else row for place, row in enumerate(rows)
    ]
    (directory / JOURNAL).write_text("".join(json.dumps(row) + "\n" for row in rows))
    with mock.patch("experiments.reporting.publishing.draw_figures", return_value={}):
        assert main([str(directory)]) == 0
    assert "error" not in capsys.readouterr().err
    found = len(read_results(directory).results) + len(read_results(directory).scale)
    assert found == len({row.key for row in valid(rows)})


@pytest.mark.slow
@SLOW
@given(
    data=st.data(),
    grid=st.fixed_dictionaries(
        {axis: st.lists(st.integers(1, 3), min_size=1, max_size=2) for axis in "ndb"}
    ),
    modes=st.lists(
        st.sampled_from(["no_grad", "full", "w1_only", "only", "checkpointed"]),
        min_size=1,
        max_size=2,
        unique=True,
    ),
    names=st.sets(
        st.sampled_from([JOURNAL, POINTS, MANIFEST, TIMELINES, COMPLEXITY, RESULTS]), max_size=3
    ),
)
def test_a_sweep_goes_on_in_a_damaged_directory(
    finished: Path,
    here: Path,
    capsys: pytest.CaptureFixture[str],
    data: st.DataObject,
    grid: dict[str, list[int]],
    modes: list[str],
    names: set[str],
) -> None:
    """Any grid into a directory whose files have any damage: no row that is whole is lost, each
    point has its row, nothing is a fault.
    """
    directory = here / "run"
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(finished, directory)
    for name in names:
        (directory / name).write_bytes(data.draw(damages((finished / name).read_bytes())))
    before = journal_rows(directory / JOURNAL)
    sweep = {**TINY, "grid": grid, "modes": modes}
    with mock.patch("experiments.reporting.publishing.draw_figures", return_value={}):
        code, _ = job.run_job(sweep, directory)
    assert (code, capsys.readouterr().err) == (0, "")
    rows = journal_rows(directory / JOURNAL)
    assert rows[: len(before)] == before
    table = frame_of(rows)
    assert {point.key for point in points_of(sweep_config(sweep))} <= set(
        table.loc[table["status"] == "ok", "key"]
    )
    assert set(read_results(directory).results["key"]) | set(
        read_results(directory).scale["key"]
    ) == set(table["key"])


@MANY
@given(data=st.data())
def test_a_damaged_table_loses_no_valid_row(
    finished: Path, here: Path, data: st.DataObject
) -> None:
    """Of a damaged results.csv every row that is still whole is read; what is no table at all gives
    one line.
    """
    content = (finished / RESULTS).read_bytes()
    damaged = data.draw(damages(content))
    (here / RESULTS).write_bytes(damaged)
    lines = content.split(b"\n")
    has_header = damaged.split(b"\n")[0] == lines[0]
    untouched = {
        line.split(b",")[0].decode()
        for line in damaged.split(b"\n")[1:]
        if has_header and line and line in lines[1:]
    }
    try:
        frame = read_rows(here / RESULTS)
    except ResultsError as error:
        check_one_line(error)
        frame = frame_of([])
    assert untouched <= set(frame["key"])
    assert set(frame["status"]) <= set(STATUSES)


@SLOW
@given(
    data=st.data(),
    name=st.sampled_from([MANIFEST, TIMELINES, COMPLEXITY, RESULTS, JOURNAL, POINTS]),
    has_journal=st.booleans(),
)
def test_a_directory_with_any_damage_is_reported_or_told(
    finished: Path,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    data: st.DataObject,
    name: str,
    has_journal: bool,
) -> None:
    """A report of a directory with a damaged file is made, or refused in one line; where the
    journal is whole, no row is missing in it.
    """
    monkeypatch.setattr("experiments.reporting.publishing.draw_figures", lambda results: {})
    directory = here / "run"
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(finished, directory)
    (directory / name).write_bytes(data.draw(damages((finished / name).read_bytes())))
    if not has_journal:
        (directory / JOURNAL).unlink()
    try:
        results = publish_again(directory)
    except ResultsError as error:
        check_one_line(error)
        results = None
    if has_journal and name != JOURNAL:
        assert results is not None
        assert set(results.results["key"]) == {row.key for row in journal_rows(finished / JOURNAL)}


@FEW
@given(data=st.data())
def test_damaged_expectations_are_none(finished: Path, here: Path, data: st.DataObject) -> None:
    """A points.json with any damage is either a set of keys still, or counts as none."""
    damaged = data.draw(
        damages((finished / POINTS).read_bytes())
        | anything.map(lambda value: json.dumps(value).encode())
    )
    (here / POINTS).write_bytes(damaged)
    expected = expected_below(here)
    assert all(isinstance(key, str) for key in expected)
    assert missing_points(here, frame_of([])) == len(expected)


@pytest.mark.slow
@SLOW
@given(
    manifest=st.dictionaries(
        st.sampled_from(
            [
                "python",
                "versions",
                "cores",
                "frequency_mhz",
                "memory_bytes",
                "load_average",
                "config",
                "cpu",
            ]
        ),
        anything,
    )
)
def test_a_manifest_of_any_values_makes_a_report(
    finished: Path, here: Path, manifest: dict[str, Any]
) -> None:
    """What a manifest says that is not of its kind is left out of the report."""
    directory = here / "run"
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(finished, directory)
    (directory / MANIFEST).write_text(json.dumps(manifest))
    assert write_report(read_results(directory)).exists()


# Nothing that is read can run

READERS_THAT_RUN = {
    "pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib", "yaml",
    "read_pickle", "eval", "exec", "instantiate", "full_load", "unsafe_load", "load_module",
    "import_module", "__import__", "get_method", "get_class",
}  # fmt: skip


def readers_that_run(source: str) -> set[str]:
    """The names in a module's code that make code of what is read."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.name for alias in node.names} | {(node.module or "").split(".")[0]}
        elif isinstance(node, ast.Call):
            names |= (
                {node.func.id}
                if isinstance(node.func, ast.Name)
                else {node.func.attr}
                if isinstance(node.func, ast.Attribute)
                else set()
            )
    return names & READERS_THAT_RUN


def test_nothing_in_the_experiments_runs_what_it_reads() -> None:
    """No module of the experiments unpickles, loads YAML, evaluates, or instantiates by name that
    it read.
    """
    found = {
        path.name: readers_that_run(path.read_text())
        for path in (ROOT / "experiments").rglob("*.py")
    }
    # A module that is to be profiled is imported by the path that its user types; nothing that lies
    # in a file of results comes there.
    assert {name: names for name, names in found.items() if names} == {
        "build.py": {"import_module"}
    }


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from yaml import load",
        "pd.read_pickle(p)",
        "eval(t)",
        "hydra.utils.instantiate(c)",
    ],
)
def test_a_reader_that_runs_is_seen(line: str) -> None:
    """Each way to run what is read is found."""
    assert readers_that_run(line)


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], Any], tuple[str]]:
        return write_marker, (str(self.marker),)


def write_marker(path: str) -> None:
    """The trap's doing."""
    Path(path).write_text("it ran")


def test_a_trap_works(here: Path) -> None:
    """The trap of the next test is one."""
    pickle.loads(pickle.dumps(Trap(here / "marker")))
    assert (here / "marker").exists()


@pytest.mark.slow
def test_traps_in_a_results_directory_are_data(
    finished: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pickles, YAML tags, `_target_` and import paths in a directory of results are never run: not
    by a report, not by a resumed sweep.
    """
    marker, directory = here / "marker", here / "run"
    shutil.copytree(finished, directory)
    command = f"import pathlib; pathlib.Path({str(marker)!r}).touch()"
    tagged = f"!!python/object/apply:builtins.exec [{command!r}]\n"
    target = {"_target_": "builtins.exec", "_args_": [command]}
    for folder in (".hydra", ".submitit/1", "0"):
        (directory / folder).mkdir(parents=True)
    for name in (
        ".hydra/config.yaml",
        ".hydra/hydra.yaml",
        ".hydra/overrides.yaml",
        "multirun.yaml",
        "0/config.yaml",
    ):
        (directory / name).write_text(tagged)
    for name in (
        "config.pickle",
        "job_return.pickle",
        ".submitit/1/1_0_result.pkl",
        ".submitit/1/1_submitted.pkl",
        "returns.pkl",
        "rows.pkl",
    ):
        (directory / name).write_bytes(pickle.dumps(Trap(marker)))
    (here / "trapped.py").write_text(f"{command}\nplanner = None\n")
    monkeypatch.syspath_prepend(str(here))
    row = vars(journal_rows(finished / JOURNAL)[0])
    rows = [
        with_key({**row, "planner": "trapped:planner", "mode": "checkpointed"}),
        with_key({**row, "planner": target}),
        {**row, "reason": target, "status": "failed"},
        {**row, **target, "part": "__import__('trapped')"},
    ]
    (directory / "0" / JOURNAL).write_text("".join(json.dumps(each) + "\n" for each in rows))
    (directory / MANIFEST).write_text(json.dumps({**target, "config": target, "versions": target}))
    (directory / "0" / POINTS).write_text(json.dumps(target))
    publish_again(directory)
    (directory / "0" / JOURNAL).rename(directory / "0" / "aside")
    write_report(read_results(directory))
    code, _ = job.run_job(TINY, directory)
    assert code == 0
    assert not marker.exists()
    assert "trapped" not in sys.modules
    assert [row.key for row in journal_rows(directory / "0" / "aside")] == [
        rows[0]["key"],
        row["key"],
    ]
