"""All figures by name: drawing them from results into a directory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from experiments.errors import ResultsError, one_line
from experiments.figures.accumulation import draw_micro_batches
from experiments.figures.best_plans import draw_best_plans
from experiments.figures.capacity import draw_capacity
from experiments.figures.engines import draw_engines
from experiments.figures.frontier import draw_frontier
from experiments.figures.growth import draw_growth
from experiments.figures.layout import PAPER, PHONE, laid_out
from experiments.figures.lessons import draw_activations, draw_layers
from experiments.figures.machine import draw_process, draw_seconds
from experiments.figures.operations import draw_operations, draw_ratios
from experiments.figures.overview import overview_of
from experiments.figures.peaks import draw_peaks
from experiments.figures.regimes import draw_regimes
from experiments.figures.residuals import draw_residuals
from experiments.figures.schedules import draw_schedules
from experiments.figures.storage_levels import draw_storage_levels
from experiments.figures.style import Drawing, pdf_of, png_of, styled, svg_of
from experiments.figures.timelines import draw_timelines
from experiments.progress import working
from experiments.results.files import write_bytes
from experiments.results.tables import Results, read_results

log = logging.getLogger("tapemeasure")
FIGURES: dict[str, Callable[[Results], Drawing | None]] = {
    "residuals": draw_residuals,
    "operations": draw_operations,
    "ratios": draw_ratios,
    "peaks": draw_peaks,
    "timelines": draw_timelines,
    "frontier": draw_frontier,
    "best_plans": draw_best_plans,
    "storage_levels": draw_storage_levels,
    "schedules": draw_schedules,
    "growth": draw_growth,
    "capacity": draw_capacity,
    "regimes": draw_regimes,
    "activations": draw_activations,
    "layers": draw_layers,
    "micro_batches": draw_micro_batches,
    "engines": draw_engines,
    "seconds": draw_seconds,
    "process_memory": draw_process,
}
WRITERS: dict[str, Callable[[Drawing], bytes]] = {
    "svg": lambda drawing: svg_of(drawing).encode(),
    "png": png_of,
    "pdf": pdf_of,
}
FOLDER, PHONE_FOLDER, PAPER_FOLDER = "figures", "figures/phone", "figures/paper"
ON_PHONES = (
    "peaks",
    "frontier",
    "best_plans",
    "storage_levels",
    "schedules",
    "growth",
    "capacity",
    "engines",
)
"""The figures that a report shows unfolded, which it has in the layout of a phone too."""


def drawings(results: Results, names: Iterable[str] | None = None) -> dict[str, Drawing]:
    """Return the figures with these names, by default all, that the results have data for.

    Timings exclude rows measured while other jobs ran, unless the results include them. A figure
    that cannot be drawn costs no report: the log says which, and why.
    """
    shown = results.shown()
    made = {}
    for name in FIGURES if names is None else names:
        try:
            with styled(name), working(f"drawing {name}"):
                drawing = FIGURES[name](shown)
        except Exception as error:  # a file that somebody changed may hold anything
            log.error(
                "figure %s was not drawn: %s; internal error; please report it",
                name,
                one_line(error),
            )
            continue
        if drawing is not None:
            made[name] = drawing
    return made


def draw_figures(results: Results) -> dict[str, Path]:
    """Draw every figure into the directory's folder; return the SVGs' paths.

    Formats and style are those of the sweep's config, SVG and PNG for a page by default; files of
    others are taken away, since they would show an earlier state. The style `paper` adds a folder.
    """
    asked = _asked(results)
    folder, made = results.directory / FOLDER, drawings(results)
    _write(folder, made, ["svg", *asked["format"]])
    with laid_out(PHONE):
        _write(
            results.directory / PHONE_FOLDER,
            drawings(results, [name for name in ON_PHONES if name in made]),
            {"svg"},
        )
    with laid_out(PAPER):
        paper = drawings(results, made) if made and "paper" in asked["style"] else {}
        _write(results.directory / PAPER_FOLDER, paper, asked["format"])
    return {name: folder / f"{name}.svg" for name in made}


def _write(folder: Path, made: Mapping[str, Drawing], formats: Collection[str]) -> None:
    """Write drawings in these formats, and take away other files of figures."""
    for name in FIGURES:
        for suffix, written in WRITERS.items():
            path = folder / f"{name}.{suffix}"
            if name in made and suffix in formats:
                with styled(f"{folder.name} {name}"), working(f"writing {path.name}"):
                    write_bytes(path, written(made[name]))
            else:
                path.unlink(missing_ok=True)


def _asked(results: Results) -> dict[str, list[str]]:
    """Return the formats and the style that a config asks for, which may hold anything."""
    config = results.manifest.get("config", {})
    figures = config.get("figures") if isinstance(config, dict) else None
    asked = figures if isinstance(figures, dict) else {}
    found = {}
    for key, default in (("format", "png"), ("style", "page")):
        value = asked.get(key, default)
        found[key] = (
            [value] if isinstance(value, str) else value if isinstance(value, list) else [default]
        )
    return found


def draw_overview(results: Results, path: Path) -> None:
    """Draw the README's figure: operations and peaks, marks on theoretical curves.

    Raises ResultsError where no dimension was swept.
    """
    with styled("overview"):
        drawing = overview_of(results)
        if drawing is None:
            raise ResultsError(
                f"{results.directory} sweeps no depth; expected rows of at least two n; run the "
                "default sweep"
            )
        write_bytes(path, png_of(drawing, dpi=140))


def draw_overview_of(directory: Path, path: Path) -> None:
    """Draw the README's figure from a directory's tables; raise ResultsError if it has none."""
    draw_overview(read_results(directory), path)
