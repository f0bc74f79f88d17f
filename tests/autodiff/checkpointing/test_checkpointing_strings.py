"""Planners as strings, and schedules as CSV: both read back as what they were."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from autodiff import (
    PLANNERS,
    Planner,
    PlannerDescription,
    PlannerError,
    Program,
    RecomputeAll,
    Revolve,
    Schedule,
    ScheduleError,
    StoreAll,
    Uniform,
    check_schedule,
    describe_planner,
    gradients,
    linearize,
    networks,
    parse_builtin_planner,
    parse_planner,
    read_schedule,
    write_schedule,
)
from autodiff.checkpointing.store_all import as_created
from tests.support.chains import chain_program


@dataclass(frozen=True)
class Thrifty:
    """A planner of one's own, without a string of its own."""

    snapshots: int = 2
    note: str = ""

    def __call__(self, program: Program) -> Schedule:
        return Revolve(self.snapshots)(program)


def make_thrifty(snapshots: int) -> Planner:
    return Thrifty(snapshots)


def not_a_schedule(program: Program) -> Any:
    return "no schedule"


HERE = __name__


@pytest.mark.parametrize(
    ("text", "planner", "canonical"),
    [
        ("store_all", StoreAll(), "store_all"),
        ("recompute_all()", RecomputeAll(), "recompute_all"),
        ("uniform", Uniform(), "uniform"),
        ("uniform(8)", Uniform(8), "uniform(segments=8)"),
        (" revolve( snapshots = 3 ) ", Revolve(3), "revolve(snapshots=3)"),
        ("revolve(max_bytes=1MiB)", Revolve(max_bytes=2**20), "revolve(max_bytes=1MiB)"),
        ("revolve(max_bytes=1.5 MiB)", Revolve(max_bytes=3 * 2**19), "revolve(max_bytes=1536KiB)"),
        ("revolve(max_bytes=3MB)", Revolve(max_bytes=3_000_000), "revolve(max_bytes=3000000)"),
        ("revolve(max_bytes=1000)", Revolve(max_bytes=1000), "revolve(max_bytes=1000)"),
        ("revolve(max_ops_ratio=1.3)", Revolve(max_ops_ratio=1.3), "revolve(max_ops_ratio=1.3)"),
    ],
)
def test_a_string_is_a_planner_and_back(text: str, planner: Planner, canonical: str) -> None:
    """Each way to write a planner gives an equal one, whose string is canonical and reads back."""
    found = parse_planner(text)
    assert found == planner
    assert str(found) == canonical
    assert parse_planner(canonical) == planner


@given(st.integers(1, 2**45))
def test_any_budget_reads_back(nbytes: int) -> None:
    """The unit that is written divides the number."""
    assert parse_planner(str(Revolve(max_bytes=nbytes))) == Revolve(max_bytes=nbytes)


def test_every_registered_name_is_known() -> None:
    """The names that a config may use."""
    assert set(PLANNERS) == {
        "store_all",
        "recompute_all",
        "uniform",
        "revolve",
        "hrevolve",
        "online",
        "selective",
        "optimal",
        "budget",
        "proven",
    }


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        (f"{HERE}:Thrifty", f"{HERE}:Thrifty"),
        (f"{HERE}:Thrifty()", f"{HERE}:Thrifty"),
        (f"{HERE}.Thrifty(3)", f"{HERE}:Thrifty(3)"),
        (
            f"{HERE}:Thrifty(snapshots=3, note='1MiB, and (more)')",
            f"{HERE}:Thrifty(snapshots=3, note='1MiB, and (more)')",
        ),
        (f"{HERE}:make_thrifty(snapshots=2)", f"{HERE}:make_thrifty(snapshots=2)"),
        (
            "autodiff.checkpointing.store_all:as_created",
            "autodiff.checkpointing.store_all:as_created",
        ),
    ],
)
def test_an_import_path_is_a_planner(text: str, canonical: str) -> None:
    """A class, a factory or a plain function is a planner; schedules carry the canonical string."""
    planner = parse_planner(text)
    assert str(planner) == canonical
    assert parse_planner(canonical) == planner
    program = chain_program(6)
    schedule = planner(program)
    check_schedule(program, schedule)
    assert schedule.planner == canonical
    plain = text.startswith("autodiff")
    assert (schedule.claims == as_created(program).claims) == plain


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("revolv(snapshots=3)", "did you mean revolve"),
        ("nonsense", "store_all, recompute_all, uniform, revolve"),
        ("", "expected a name"),
        ("revolve(3", "expected a name"),
        ("revolve(3))", "not understood"),
        ("revolve(snapshots=n)", "not understood"),
        ("revolve(__import__('os').getcwd())", "not understood"),
        ("revolve(*[3])", "not understood"),
        ("revolve(**{'snapshots': 3})", "not understood"),
        ("revolve(max_bytes=0.3B)", "not understood"),
        ("revolve(steps=3)", "it takes snapshots, max_bytes, max_ops_ratio"),
        ("store_all(3)", "it takes nothing"),
        ("revolve", "exactly one"),
        ("revolve(snapshots=0)", "at least 1"),
        ("uniform(segments=0)", "at least 1"),
        ("no.such.module:Planner", "importing no.such.module failed"),
        ("autodiff:Nobody", "autodiff has no Nobody"),
        ("autodiff:__all__", "is a list"),
        ("autodiff:__all__()", "is a list"),
        (None, "expected a name"),
    ],
)
def test_what_is_no_planner_is_refused(text: Any, says: str) -> None:
    """One line: what was given, what was expected, what to do; nothing is evaluated."""
    with pytest.raises(PlannerError) as refused:
        parse_planner(text)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "description"),
    [
        ("store_all", PlannerDescription("store_all")),
        ("uniform", PlannerDescription("uniform")),
        ("uniform(8)", PlannerDescription("uniform", segments=8)),
        ("revolve(snapshots=3)", PlannerDescription("revolve", snapshots=3)),
        ("revolve(max_bytes=1KiB)", PlannerDescription("revolve", max_bytes=1024)),
        ("revolve(max_ops_ratio=1.5)", PlannerDescription("revolve", max_ops_ratio=1.5)),
        ("mine.Hold(at=[2])", PlannerDescription("mine:Hold")),
    ],
)
def test_a_string_is_described_by_fields(text: str, description: PlannerDescription) -> None:
    """Name and numbers are fields, of the description and of the planner itself."""
    assert describe_planner(text) == description
    assert description.is_builtin == (":" not in description.name)
    if description.is_builtin:
        planner = parse_planner(text)
        assert parse_builtin_planner(text) == planner
        assert planner.name == description.name
        for name in ("segments", "snapshots", "max_bytes", "max_ops_ratio"):
            assert getattr(planner, name, None) == getattr(description, name)


@pytest.mark.parametrize(
    "written", ["{}:make", "{}.make", "{}:make()", "{}.make(1)", "{}:make('x')"]
)
def test_text_from_a_file_imports_nothing(
    written: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither way to read a file's text runs the module that it names; `parse_planner` does."""
    name = f"module_that_runs_{abs(hash(written))}"
    (tmp_path / f"{name}.py").write_text(
        f"import pathlib\npathlib.Path({str(tmp_path / 'ran')!r}).touch()\n"
        "def make(*given): return lambda program: None\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    text = written.format(name)
    with pytest.raises(PlannerError, match="an import path is not followed here"):
        parse_builtin_planner(text)
    assert describe_planner(text).name == f"{name}:make"
    assert not (tmp_path / "ran").exists()
    parse_planner(text)
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "text", ["", "nonsense", "os:system('touch OWNED", "revolve(snapshots=0)", None, 3]
)
def test_what_a_file_should_not_hold_is_refused(text: Any) -> None:
    """Neither way to read a file's text takes what is no planner."""
    for read in (parse_builtin_planner, describe_planner):
        with pytest.raises(PlannerError):
            read(text)


def test_what_a_planner_returns_is_looked_at() -> None:
    """A planner from elsewhere that returns something else is named."""
    with pytest.raises(
        PlannerError, match=r"not_a_schedule returned a str; expected an autodiff\.Schedule"
    ):
        parse_planner(f"{HERE}:not_a_schedule")(chain_program(2))


@pytest.mark.parametrize("planner", [StoreAll(), RecomputeAll(), Uniform(), Revolve(2)])
def test_a_schedule_is_written_and_read(planner: Planner, tmp_path: Path) -> None:
    """Order, claims, planner and what is written over are those that were written."""
    program = chain_program(5)
    schedule = planner(program)
    path = write_schedule(tmp_path / "plan.csv", program, schedule)
    found = read_schedule(path, program)
    assert found.order.tolist() == schedule.order.tolist()
    assert (found.claims, found.planner, dict(found.overwrites)) == (
        schedule.claims,
        schedule.planner,
        dict(schedule.overwrites),
    )


def test_what_is_written_over_and_what_is_not_claimed_are_kept(tmp_path: Path) -> None:
    """Both optional parts of a schedule survive."""
    network = networks.chain(2, 3, 6, micro_batches=2, values=False)
    program = linearize([network.loss, *gradients(network.loss, network.weights)])
    schedule = StoreAll()(program)
    schedule = replace(schedule, claims=replace(schedule.claims, held=None))
    assert schedule.overwrites
    found = read_schedule(write_schedule(tmp_path / "plan.csv", program, schedule), program)
    assert dict(found.overwrites) == dict(schedule.overwrites)
    assert found.claims.held is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda lines: lines[1:], "no line '# planner"),
        (lambda lines: [lines[0], *lines[2:]], "no line '# claims"),
        (lambda lines: [lines[0], "# claims: forward=x", *lines[2:]], "claims 'forward=x'"),
        (lambda lines: [*lines[:2], "a,b", *lines[3:]], "has the columns a,b"),
        (lambda lines: lines[:2], "has the columns (none)"),
        (lambda lines: [*lines[:3], "0,store,0,z_1,", *lines[4:]], "line 4"),
        (lambda lines: [*lines[:3], "0,compute,nought,z_1,", *lines[4:]], "line 4"),
        (lambda lines: [*lines[:3], "7,compute,0,z_1,", *lines[4:]], "expected step 0"),
        (lambda lines: [*lines[:3], "0,compute,999,z_1,", *lines[4:]], "expected one of 0 to"),
        (
            lambda lines: [*lines[:3], "0,compute,0,z_9,", *lines[4:]],
            "computes z_9; instruction 0 of this program computes z_1",
        ),
        (lambda lines: [*lines[:3], "0,compute,0,z_1,5", *lines[4:]], "one of its 2 reads"),
        (lambda lines: lines[:-1], "target"),
        (lambda lines: [*lines[:3], *lines[4:]], "expected step 0"),
    ],
)
def test_a_file_that_is_no_schedule_of_the_program_is_refused(
    change: Any, says: str, tmp_path: Path
) -> None:
    """Missing, misspelt, foreign, illegal rows and broken claims are reported with the line."""
    program = chain_program(4)
    path = write_schedule(tmp_path / "plan.csv", program, Revolve(1)(program))
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(change(lines)) + "\n", encoding="utf-8")
    with pytest.raises(ScheduleError) as refused:
        read_schedule(path, program)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """One line with the path."""
    with pytest.raises(ScheduleError, match="cannot be read"):
        read_schedule(tmp_path / "nothing.csv", chain_program(2))
