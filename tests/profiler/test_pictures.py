"""The pictures draw the numbers: areas are the ledger's bytes, marks and bounds the planners'."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.collections import PolyCollection
from PIL import Image

from autodiff.checkpointing.optimal import Optimal
from autodiff.checkpointing.revolve import Revolve
from autodiff.errors import BudgetError, GraphError
from autodiff.networks import chain
from autodiff.node import Leaf
from autodiff.program import Program
from autodiff.spec import Spec
from profiler.animation import animate_schedule
from profiler.comparing import compare
from profiler.frontier import frontier_table, operations_bound, plot_frontier
from profiler.graphs import profile
from profiler.measurement import Profile
from profiler.programs import program_of
from profiler.savings import planner_savings
from profiler.units import human_bytes


def program(n: int = 8) -> Program:
    net = chain(n, 4, 16, values=False)
    return program_of(net.loss, net.weights)


def tops(measured: Profile) -> dict[str, np.ndarray]:
    """The upper edge of each area of a profile's figure, by the area's label."""
    (axes,) = measured.plot().axes
    found = {}
    for area in axes.collections:
        assert isinstance(area, PolyCollection)
        vertices = area.get_paths()[0].vertices
        steps = np.arange(len(measured.ledger.phases)) + 0.5
        found[str(area.get_label())] = np.array(
            [_crossings(np.asarray(vertices), step).max() for step in steps]
        )
    return found


def _crossings(vertices: np.ndarray, x: float) -> np.ndarray:
    """The heights at which a polygon's edges cross a vertical line."""
    left, right = vertices[:-1], vertices[1:]
    over = (np.minimum(left[:, 0], right[:, 0]) < x) & (np.maximum(left[:, 0], right[:, 0]) > x)
    return left[over, 1]


def test_the_areas_of_a_plot_are_the_bytes_of_the_roles() -> None:
    """The topmost area ends at the live bytes of every step, the lowest at its own role's."""
    measured = profile(program(), planner=Revolve(2), execute=False)
    found = tops(measured)
    computed = measured.timeline().query("event == 'computed'")
    highest = np.max(list(found.values()), axis=0)
    assert highest.tolist() == computed["live_bytes"].tolist()
    assert found["weight gradients"].tolist() == computed["parameter_gradient"].tolist()
    (axes,) = measured.plot().axes
    (text,) = axes.texts
    assert all(tick % 256 == 0 for tick in axes.get_yticks())
    assert text.get_text() == f"peak: {human_bytes(measured.peak_bytes)}"
    other = profile(program(), execute=False)
    assert np.max(list(tops(other).values())) == other.peak_bytes != highest.max()


def test_a_frontier_shows_every_plan_and_the_bound() -> None:
    """Marks are the rows of the table, and among them those of `planner_savings` that count cells;
    no plan lies below the drawn bound.
    """
    given = program()
    (axes,) = plot_frontier(given).axes
    table = frontier_table(given)
    savings = planner_savings(given).dropna(subset="peak_bytes")
    counting = savings[~savings["planner"].str.startswith("optimal")]
    *marks, line = axes.lines
    drawn = {
        (float(x), float(y))
        for mark in marks
        for x, y in zip(mark.get_xdata(), mark.get_ydata(), strict=True)
    }
    for frame, is_all in ((table, True), (counting, False)):
        points = frame[["peak_bytes", "ops"]].astype(float).itertuples(index=False, name=None)
        assert drawn == set(points) if is_all else drawn >= set(points)
    bound = operations_bound(given)
    assert line.get_xdata().tolist() == bound["limit_bytes"].tolist()
    assert line.get_ydata().tolist() == bound["operations"].tolist()
    assert bound["operations"].is_monotonic_decreasing
    assert bound["operations"].nunique() > 2
    for x, y in drawn:
        within = bound[bound["limit_bytes"] >= x]["operations"]
        assert y >= within.max() * (1 - 1e-9)
    for limit, least in bound.itertuples(index=False):
        try:
            assert Optimal(max_bytes=limit)(given).cost >= least
        except BudgetError:
            pytest.fail("a limit that no plan meets has a bound")


def test_a_program_that_is_no_chain_has_no_line() -> None:
    """Where `Optimal` finds no cells the marks stand without a bound."""
    x = Leaf(None, "x", spec=Spec((4, 4), torch.float32))
    given = program_of((x @ x).sum(), [x])
    plain = profile(given, execute=False)
    bound = operations_bound(given)
    assert bound["limit_bytes"].tolist() == [plain.peak_bytes]
    assert bound["operations"].tolist() == [plain.ops.total]
    (axes,) = plot_frontier(given).axes
    assert "bound of optimal" not in [line.get_label() for line in axes.lines]


def test_a_film_uncovers_the_schedule_step_by_step(tmp_path: Path) -> None:
    """A frame covers exactly what is still to come; the file has one frame a step."""
    given = program(2)
    made = animate_schedule(given, "revolve(snapshots=1)")
    count = len(Revolve(1)(given))
    film = made.film
    above = film._fig.axes[0]  # type: ignore[attr-defined]
    (cover,) = [patch for patch in above.patches if patch.get_gid() == "future"]
    for frame in (1, count // 2, count):
        film._func(frame)  # type: ignore[attr-defined]
        assert (cover.get_x(), cover.get_width()) == (frame, count - frame)
    (marks,) = above.lines
    assert list(marks.get_ydata()) == Revolve(1)(given).order.tolist()
    with Image.open(made.save(tmp_path / "plan.gif")) as picture:
        assert picture.n_frames == count
    assert "revolve" in made.save(tmp_path / "plan.html").read_text()


def test_an_animation_of_another_suffix_is_refused(tmp_path: Path) -> None:
    """The message names what can be written, and nothing is."""
    with pytest.raises(GraphError, match=r"plan.avi; expected a name that ends in .gif, .mp4"):
        animate_schedule(program(2)).save(tmp_path / "plan.avi")
    assert list(tmp_path.iterdir()) == []


def test_tables_for_latex() -> None:
    """Numbers are whole, characters that LaTeX reads as commands are escaped."""
    full = profile(program(), execute=False)
    text = full.to_latex()
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 2
    assert f"{full.ops.total:,}" in text
    assert f"peak & {full.peak_bytes:,} &" in text
    assert r"store\_all" in compare(full, full, labels=["store_all", "b"]).to_latex()
    both = compare(full, profile(program(), planner=Revolve(1), execute=False), labels=["a", "b"])
    assert r"$\times$" in both.to_latex()
    assert both.to_latex().isascii()


def test_drawing_loads_matplotlib_and_nothing_else_does() -> None:
    """Importing the package and measuring loads no matplotlib."""
    code = (
        "import sys, tapemeasure as t; from autodiff.networks import chain; "
        "net = chain(2, 2, 2); step = t.profile(net.loss, net.weights); t.plot_frontier; "
        "t.animate_schedule; before = 'matplotlib' in sys.modules; step.plot(); "
        "print(before, 'matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
