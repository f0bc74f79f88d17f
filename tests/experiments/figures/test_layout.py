"""Figures in a column: panels below one another, legible on a phone, without words in a paper."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments.figures import registry
from experiments.figures.layout import PAPER, PHONE, laid_out, stack
from experiments.figures.registry import ON_PHONES, draw_figures, drawings
from experiments.figures.style import Drawing, finish, new_figure, styled
from experiments.grid.config import sweep_config
from experiments.results.tables import Results
from tests.support.drawings import overlaps, texts, unlabelled
from tests.support.sweeps import TINY, results_of


def grid_of_four() -> Any:
    """A figure of two rows and columns, with headings in the first row and shared labels."""
    figure = new_figure(4.0)
    grid = figure.subplots(2, 2, sharex=True, sharey="row")
    for column, name in enumerate("ab"):
        grid[0, column].set_title(name, loc="left")
        grid[1, column].set_xlabel("across")
    grid[0, 0].set_ylabel("up")
    grid[1, 0].set_ylabel("below")
    return figure, grid


def test_panels_are_stacked_with_their_labels() -> None:
    """Each panel is as wide as the column, below the one whose heading it shares, and labelled."""
    with styled(), laid_out(PHONE):
        figure, grid = grid_of_four()
        finish(figure, "A title")
        places = [axes.get_position() for axes in grid.T.flat]  # column by column
    assert [place.y0 for place in places] == sorted((place.y0 for place in places), reverse=True)
    assert len({round(place.width, 6) for place in places}) == 1
    assert [axes.get_ylabel() for axes in grid.T.flat] == ["up", "below"] * 2
    assert {axes.get_xlabel() for axes in grid.flat} == {"across"}
    assert figure.get_size_inches()[0] == PHONE.width
    assert unlabelled(figure) == []


def test_a_page_is_left_as_it_was() -> None:
    """Without a layout nothing moves; a figure of one panel only becomes narrower."""
    with styled():
        figure, grid = grid_of_four()
        finish(figure, "A title")
        assert grid[0, 0].get_position().y0 == pytest.approx(grid[0, 1].get_position().y0)
        with laid_out(PHONE):
            single = new_figure(2.0)
            axes = single.subplots()
            stack(single)
    assert tuple(single.get_size_inches()) == (PHONE.width, 2.0)
    assert axes.get_subplotspec().get_gridspec().nrows == 1


def with_style(results: Results, style: str) -> Results:
    """The same results, asked for in a style."""
    return replace(results, manifest={"config": {"figures": {"format": ["pdf"], "style": style}}})


@pytest.mark.slow
def test_styles_write_their_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A report's unfolded figures have a phone's layout; `paper` adds its own folder, `page` takes
    it away.
    """
    few = {name: registry.FIGURES[name] for name in ("peaks", "ratios")}
    monkeypatch.setattr(registry, "FIGURES", few)
    results = results_of(TINY, tmp_path)
    draw_figures(with_style(results, "paper"))
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")}
    wide = {f"figures/{name}.{suffix}" for name in few for suffix in ("svg", "pdf")}
    assert "peaks" in ON_PHONES
    assert files == {*wide, "figures/phone/peaks.svg", "figures/paper/peaks.pdf",
                     "figures/paper/ratios.pdf"}  # fmt: skip
    with laid_out(PAPER):
        paper = drawings(results)["peaks"]
    shown = " ".join(text for text, _ in texts(paper.figure))
    assert paper.title not in shown.replace("\n", " ")
    assert "marks measured" not in shown
    draw_figures(with_style(results, "page"))
    assert not list((tmp_path / "figures/paper").iterdir())


def test_an_unknown_style_is_refused() -> None:
    """The key takes the two styles."""
    sweep_config({**TINY, "figures": {"style": "paper"}})
    with pytest.raises(Exception, match=r"figures\.style.*page.*paper"):
        sweep_config({**TINY, "figures": {"style": "slides"}})


@pytest.fixture(scope="module")
def narrow(measured: Results, planned: Results) -> dict[str, Drawing]:
    """Every figure of two sweeps in the layout of a phone."""
    with laid_out(PHONE):
        return {**drawings(measured), **drawings(planned, ("frontier", "schedules", "engines"))}


@pytest.mark.slow
def test_nothing_overlaps_in_a_column(narrow: dict[str, Drawing]) -> None:
    """No text of any figure touches another or the edge, and every panel says what its axes are."""
    assert len(narrow) > 12
    for name, drawing in narrow.items():
        with styled(name), laid_out(PHONE):
            assert (name, overlaps(drawing.figure), unlabelled(drawing.figure)) == (name, [], [])
