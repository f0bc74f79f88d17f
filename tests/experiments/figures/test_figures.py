"""Every figure: what its title claims is computed from the rows, its axes are labelled, and nothing
lies on anything else.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from experiments import plots, theory
from experiments.figures import axes as scales, registry
from experiments.figures.registry import FIGURES, draw_figures, draw_overview, drawings
from experiments.figures.style import (
    MODE_LOOKS,
    Drawing,
    finish,
    handle,
    new_figure,
    styled,
    svg_of,
    wrap,
)
from experiments.results.tables import Results
from experiments.text import percent
from profiler.units import human_bytes
from tests.support.drawings import ELSEWHERE, OF_BEST_PLANS, overlaps, texts, unlabelled
from tests.support.paths import ROOT
from tests.support.sweeps import MODES, SMALL, results_of, with_scale

HERE = [name for name in FIGURES if name not in (*ELSEWHERE, *OF_BEST_PLANS)]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """A small sweep with everything that a figure can show."""
    return with_scale(results_of(SMALL, tmp_path_factory.mktemp("figures")))


@pytest.fixture(scope="module")
def drawn(results: Results) -> dict[str, Drawing]:
    """Every figure of the small sweep."""
    return drawings(results)


def changed(results: Results, index: int, column: str, by: int) -> Results:
    """The same results with one number of one row planted."""
    rows = results.results.copy()
    rows.loc[index, column] += by
    return replace(results, results=rows, scale=results.scale.iloc[:0])


def test_every_figure_is_drawn(drawn: dict[str, Drawing]) -> None:
    """A sweep that has everything but planners and PyTorch gets every figure but theirs."""
    assert list(drawn) == HERE


@pytest.mark.parametrize("name", HERE)
def test_nothing_overlaps_and_axes_are_labelled(drawn: dict[str, Drawing], name: str) -> None:
    """No text of a figure touches another or the edge; each panel says what its axes are, or shares
    the one of its row or column.
    """
    figure = drawn[name].figure
    with styled(name):
        assert overlaps(figure) == []
        assert unlabelled(figure) == []
    assert drawn[name].title
    assert drawn[name].caption.startswith("How to read it")


def test_an_overlap_is_seen() -> None:
    """Two texts on one another, one over the edge, and an axis without a label are found."""
    with styled():
        figure = new_figure(2.0)
        figure.text(0.5, 0.5, "here")
        figure.text(0.5, 0.51, "there")
        figure.text(0.99, 0.1, "over the edge")
        assert overlaps(figure) == [("over the edge", "the edge"), ("here", "there")]
        left, right = figure.subplots(1, 2)
        left.set_xlabel("here")
        assert unlabelled(figure) == ["y of panel 0", "x of panel 1", "y of panel 1"]
        right.set(xlabel="there", ylabel="both")
        assert unlabelled(figure) == []


def test_the_legend_lies_off_the_panels(drawn: dict[str, Drawing]) -> None:
    """No legend covers a panel."""
    for name, drawing in drawn.items():
        with styled(name):
            drawing.figure.draw_without_rendering()
            boxes = [legend.get_window_extent() for legend in drawing.figure.legends]
            assert not any(
                box.overlaps(axes.get_window_extent())
                for box in boxes
                for axes in drawing.figure.axes
            )


def test_the_residuals_say_whether_theory_holds(
    results: Results, drawn: dict[str, Drawing]
) -> None:
    """The title counts the rows and their residual; one planted operation and a few planted bytes
    turn it into the opposite.
    """
    predicted, measured = len(results.results), len(results.scale)
    rows = predicted + measured
    assert drawn["residuals"].title == (
        f"Residuals of measured ({measured}) or predicted ({predicted}) rows are 0: operations "
        f"equal in {rows} of {rows} rows with a formula, bytes in {rows} of {rows}"
    )
    with styled():
        wrong = FIGURES["residuals"](changed(changed(results, 3, "ops", 1), 5, "peak_bytes", -12))
        assert wrong is not None
        assert wrong.title.startswith(
            f"Predicted rows DIFFER from theory in 2 of {predicted} rows, by up to 1 operation and "
            f"12 bytes: operations equal in {predicted - 1} of {predicted} rows with a formula"
        )
        left, right = wrong.figure.axes
    assert sorted({y for line in left.lines for y in np.atleast_1d(line.get_ydata())}) == [0, 1]
    assert sorted({y for line in right.lines for y in np.atleast_1d(line.get_ydata())}) == [-12, 0]
    assert overlaps(wrong.figure) == []


@pytest.mark.parametrize(("name", "column"), [("operations", "ops"), ("peaks", "peak_bytes")])
def test_marks_lie_on_the_theory(
    results: Results, drawn: dict[str, Drawing], name: str, column: str
) -> None:
    """The note says that all marks lie on the curves, and says so no more when one is moved off."""
    note = re.compile(r"(\d+) of \1 marks with a formula lie on the theory")
    before = [text for text, _ in texts(drawn[name].figure) if note.search(text)]
    assert len(before) == 1
    rows = results.results
    moved = int(
        rows.index[
            (rows["part"] == "exact")
            & (rows["n"] == 4)
            & (rows["d"] == 2)
            & (rows["b"] == 16)
            & (rows["mode"] == "full")
        ][0]
    )
    everywhere = replace(changed(results, moved, column, 4))
    with styled():
        drawing = FIGURES[name](everywhere)
        assert drawing is not None
        after = " ".join(text for text, _ in texts(drawing.figure))
    if name == "peaks":
        assert "ONLY" in after
    assert len(drawn[name].figure.axes) == (3 if name == "operations" else 6)


def test_the_title_of_the_ratios_is_computed(drawn: dict[str, Drawing]) -> None:
    """The ratios in the title are those of the theory at the deepest network, and its limits are 3
    and 2.
    """
    ground, full, w1 = (
        theory.total_operations(mode, 4, 6, 16) for mode in ("no_grad", "full", "w1_only")
    )
    title = drawn["ratios"].title
    assert f"full takes {full / ground:.2f}× no-grad’s (limit 3)" in title
    assert f"W₁ only takes {w1 / ground:.2f}× no-grad’s (limit 2)" in title


def test_the_title_of_the_peaks_is_computed(results: Results, drawn: dict[str, Drawing]) -> None:
    """The shares in the title are those of the roles at the peaks of the two extreme shapes."""
    rows = results.results[
        (results.results["mode"] == "full")
        & (results.results["part"] == "exact")
        & (results.results["n"] == 4)
    ]
    wide = rows[(rows["d"] == 2) & (rows["b"] == 16)].iloc[0]
    deep = rows[(rows["d"] == 6) & (rows["b"] == 2)].iloc[0]
    assert (
        f"activations are {percent(wide['peak_activation_bytes'], wide['peak_bytes'])}"
        in drawn["peaks"].title
    )
    assert (
        f"weight gradients are {percent(deep['peak_parameter_gradient_bytes'], deep['peak_bytes'])}"
        in drawn["peaks"].title
    )


def test_the_timelines_name_every_peak(drawn: dict[str, Drawing]) -> None:
    """The title and the marks give each mode's peak, which is the theory's."""
    marks = [text for text, _ in texts(drawn["timelines"].figure)]
    for mode in MODES:
        peak = human_bytes(4 * theory.peak_elements(mode, 3, 4, 6))
        assert peak in drawn["timelines"].title
        assert peak in marks


def test_the_map_of_regimes_knows_a_peak_that_is_none_of_the_pieces(
    results: Results, drawn: dict[str, Drawing]
) -> None:
    """Every measured peak meets the active piece; one that is off by four bytes is reported in the
    title and in the legend.
    """
    rows = results.results
    full = rows[
        (rows["mode"] == "full")
        & (rows["activation"] == "tanh")
        & (rows["micro_batches"] == 1)
        & (rows["n"] >= 2)
    ]
    assert f"{len(full)} of {len(full)} peaks (predicted)" in drawn["regimes"].title
    with styled():
        wrong = FIGURES["regimes"](changed(results, int(full.index[0]), "peak_bytes", 4))
    assert wrong is not None
    assert f"1 peak of {len(full)} (predicted) is NOT" in wrong.title
    assert any("NONE of them (1 row)" in text for text, _ in texts(wrong.figure))


def test_the_titles_of_the_lessons_are_computed(
    results: Results, drawn: dict[str, Drawing]
) -> None:
    """gelu next to tanh, the last layer next to the first, and the batch in slices: each number in
    a title is one of the theory's.
    """
    peaks = {
        kind: theory.peak_elements("full", 4, 2, 16, activation=kind) for kind in ("tanh", "gelu")
    }
    assert (
        f"with gelu is {peaks['gelu'] / peaks['tanh']:.2f}× as high for full and equal for W₁ only"
        in drawn["activations"].title
    )
    last, first = (theory.total_operations("only", 4, 3, 5, wrt=j) for j in (4, 1))
    assert f"W₄ takes {percent(last, first)} of W₁’s operations" in drawn["layers"].title
    least = min(
        theory.peak_elements("full", 3, 2, 12, micro_batches=k) for k in (1, 2, 3, 4, 6, 12)
    )
    whole = theory.peak_elements("full", 3, 2, 12)
    assert (
        f"from {human_bytes(4 * whole)} to {human_bytes(4 * least)}, for no more operations"
        in drawn["micro_batches"].title
    )


def test_the_titles_about_the_machine_are_computed(drawn: dict[str, Drawing]) -> None:
    """Times of two nanoseconds an operation have slope 1 and half a billion a second; a process
    that grows twofold is said to.
    """
    assert "is 1.00, the rate 0.5 to 0.5 billion" in drawn["seconds"].title
    assert "grows by 2.00 to 2.00× the" in drawn["process_memory"].title


def test_ticks_are_the_swept_values(drawn: dict[str, Drawing]) -> None:
    """Each dimension's axis is of base 2 and has its ticks where something was measured."""
    for axes, expected in zip(
        drawn["operations"].figure.axes, ([1, 2, 4], [2, 6], [2, 6, 16]), strict=True
    ):
        assert axes.get_xscale() == "log"
        assert list(axes.get_xticks()) == expected


def test_dense_ticks_keep_only_labels_that_fit() -> None:
    """A hundred swept values have a hundred ticks, and of their labels and grid lines those that do
    not touch.
    """
    with styled():
        figure = new_figure(3.0)
        axes = figure.subplots()
        scales.swept_axis(axes, range(1, 101), "depth n", 8.0)
        axes.set_ylabel("y")
        finish(figure, "A title")
        assert overlaps(figure) == []
        assert len(axes.get_xticks()) == 100
        assert axes.get_xticklabels()[-1].get_text() == "100"
        labelled = [tick.label1.get_text() != "" for tick in axes.xaxis.get_major_ticks()]
        assert [tick.gridline.get_visible() for tick in axes.xaxis.get_major_ticks()] == labelled
        assert 10 < sum(labelled) < 40


@pytest.mark.parametrize(
    "changes",
    [
        {"grid": {"n": [2], "d": [2], "b": [2]}, "timeline": None},
        {"grid": {"n": [1], "d": [2, 3], "b": [2]}},
        pytest.param({"modes": ["no_grad"]}, marks=pytest.mark.slow),
        {"modes": ["full"], "grid": {"n": [1, 40], "d": [3], "b": [1, 700]}},
        {"modes": ["only"], "grid": {"n": [1], "d": [2], "b": [2]}, "timeline": None},
        {
            "modes": ["only"],
            "grid": {"n": [12], "d": [2], "b": [2]},
            "timeline": None,
            "memory": ["1KiB", "64KiB"],
        },
        {
            "network": {"name": "chain", "activation": "identity", "loss": "cross_entropy"},
            "grid": {"n": [1, 3], "d": [1, 4], "b": [1, 9]},
        },
        {
            "network": {"name": "chain", "activation": ["relu", "gelu"], "loss": "squared_error"},
            "modes": ["full"],
            "dtype": "float16",
        },
        {"modes": ["full"], "micro_batches": [2, 4], "grid": {"n": [2], "d": [2], "b": [4]}},
    ],
)
def test_any_sweep_can_be_drawn(tmp_path: Path, changes: dict[str, Any]) -> None:
    """A sweep of a single point, of one mode, of other networks: what can be drawn is drawn,
    labelled and legible.
    """
    small = {"grid": {"n": [1, 3], "d": [2, 4], "b": [2, 7]}, **changes}
    given = {**SMALL, "studies": None, "memory": None, **small}
    for name, drawing in drawings(results_of(given, tmp_path)).items():
        with styled(name):
            assert overlaps(drawing.figure) == [], name


@pytest.mark.slow
def test_other_engines_stand_beside_ours(results: Results) -> None:
    """Rows of PyTorch are series of their own on the same axes, named in the legend; planners have
    other figures.
    """
    full = results.results[
        (results.results["mode"] == "full") & (results.results["part"] == "exact")
    ]
    theirs = full.assign(
        engine="pytorch",
        ops=pd.NA,
        theory_ops=pd.NA,
        peak_bytes=full["peak_bytes"] + 4,
        theory_peak_bytes=pd.NA,
    )
    planned = [
        full.assign(
            mode="checkpointed", planner=f"revolve(snapshots={s})", ops=full["ops"] + 50 * s
        )
        for s in (2, 3)
    ]
    rows = pd.concat([results.results, theirs, *planned], ignore_index=True)
    made = drawings(replace(results, results=rows, scale=rows.iloc[:0]))
    for name in ("operations", "peaks"):
        with styled(name):
            assert overlaps(made[name].figure) == []
            names = {text for text, _ in texts(made[name].figure)}
        assert {"full", "full, pytorch"} <= names
        assert not any("revolve" in text for text in names)  # planners have figures of their own
    assert made["ratios"].title


def test_nothing_measured_draws_nothing(results: Results) -> None:
    """A sweep in which every point failed has no figures, and that is no error."""
    rows = results.results.assign(status="failed")
    nothing = {
        "scale": rows.iloc[:0],
        "timelines": pd.DataFrame(),
        "capacity": results.capacity.iloc[:0],
    }
    assert drawings(replace(results, results=rows, **nothing)) == {}


@pytest.mark.slow
def test_files_are_the_same_every_time(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every format is the same bytes when drawn again, and no state of matplotlib is changed."""
    results = with_formats(results, ["svg", "png", "pdf"])
    monkeypatch.setattr(
        registry, "FIGURES", {name: FIGURES[name] for name in ("seconds", "timelines")}
    )
    before = dict(matplotlib.rcParams)
    paths = draw_figures(replace(results, directory=tmp_path / "one"))
    again = draw_figures(replace(results, directory=tmp_path / "two"))
    assert dict(matplotlib.rcParams) == before
    for name, path in paths.items():
        assert path.read_bytes() == again[name].read_bytes()
        for suffix in (".png", ".pdf"):
            one, other = (paths_of.with_suffix(suffix) for paths_of in (path, again[name]))
            assert one.read_bytes() == other.read_bytes()
        assert path.with_suffix(".pdf").read_bytes().startswith(b"%PDF")


def with_formats(results: Results, formats: object) -> Results:
    """The results of a sweep whose config asks for these formats."""
    return replace(results, manifest={"config": {"figures": {"format": formats}}})


@pytest.mark.parametrize(
    ("formats", "expected"),
    [(["pdf"], {"svg", "pdf"}), ("png", {"svg", "png"}), ([3, None], {"svg"}), (7, {"svg", "png"})],
)
def test_formats_are_those_of_the_config(
    results: Results,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    formats: object,
    expected: set[str],
) -> None:
    """SVG is always there, for the report; a file of a format that is not asked for goes."""
    monkeypatch.setattr(registry, "FIGURES", {"timelines": FIGURES["timelines"]})
    folder = tmp_path / "figures"
    folder.mkdir()
    (folder / "timelines.pdf").write_bytes(b"earlier")
    draw_figures(with_formats(replace(results, directory=tmp_path), formats))
    assert {path.suffix[1:] for path in folder.iterdir()} == expected


def test_figures_can_stand_in_one_page(drawn: dict[str, Drawing]) -> None:
    """No id of one SVG is an id of another, none holds a picture in pixels, and each carries its
    message.
    """
    ids: list[str] = []
    for name, drawing in drawn.items():
        with styled(name):
            svg = svg_of(drawing)
        ids += re.findall(r' id="([^"]+)"', svg)
        assert "<image" not in svg
        assert "<dc:title>" in svg
        assert len(svg) < 200_000
    assert len(ids) == len(set(ids)) > 0


def test_a_figure_without_data_is_removed(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A figure of an earlier report goes when its data are gone; other files in the folder stay."""
    monkeypatch.setattr(
        registry, "FIGURES", {name: FIGURES[name] for name in ("seconds", "timelines")}
    )
    draw_figures(replace(results, directory=tmp_path))
    (tmp_path / "figures" / "mine.svg").write_text("<svg/>")
    paths = draw_figures(replace(results, directory=tmp_path, timelines=pd.DataFrame()))
    assert "timelines" not in paths
    assert not (tmp_path / "figures" / "timelines.png").exists()
    assert (tmp_path / "figures" / "mine.svg").exists()


def test_the_overview_can_be_made_again(
    results: Results, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The README's figure is drawn from results; where no depth was swept, or nothing lies there,
    one line says so.
    """
    draw_overview(results, tmp_path / "overview.png")
    assert (tmp_path / "overview.png").read_bytes().startswith(b"\x89PNG")
    assert plots.main([str(tmp_path / "nothing"), str(tmp_path / "x.png")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "x.png").exists()


def test_the_overview_of_the_readme_is_small() -> None:
    """The figure that the README shows is a PNG of at most 150 kB."""
    picture = ROOT / "docs" / "figures" / "overview.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size <= 150_000


def test_modes_can_be_told_apart_in_grey() -> None:
    """The modes of one figure differ in lightness, in marker and in dashes."""
    shown = ("no_grad", "forward", "full", "w1_only", "checkpointed")
    lightness = sorted(
        float(
            np.dot([0.2126, 0.7152, 0.0722], np.power(to_rgb(MODE_LOOKS[mode].colour), 2.2))
            ** (1 / 3)
        )
        for mode in shown
    )
    assert min(np.diff(lightness)) > 0.08
    assert len({MODE_LOOKS[mode].marker for mode in MODE_LOOKS}) == len(MODE_LOOKS)


def test_titles_are_wrapped_by_their_width() -> None:
    """A title is broken between words, never between a number and its unit, and loses nothing."""
    text = (
        "At n = 16 the peak is 19.5 KiB, which is 55% of what b > d would take in every "
        "single mode of them all"
    )
    lines = wrap(text, 200, 13, bold=True)
    assert len(lines) > 3
    assert " ".join(lines).replace("\N{NO-BREAK SPACE}", " ") == text
    assert all(
        whole in lines_text
        for whole in ("19.5\N{NO-BREAK SPACE}KiB", "55%")
        for lines_text in [" ".join(lines)]
    )


def test_a_legend_wider_than_the_page_takes_more_lines() -> None:
    """Entries that do not fit next to one another go below one another, and still touch nothing."""
    with styled():
        figure = new_figure(2.0)
        axes = figure.subplots()
        scales.plain_axis(axes, [0, 1], "x", (0, 1), which="x")
        scales.plain_axis(axes, [0, 1], "y", (0, 1))
        finish(
            figure,
            "A title",
            "a note",
            [
                handle("a rather long entry, number " + str(index), MODE_LOOKS["full"])
                for index in range(7)
            ],
        )
        assert overlaps(figure) == []
