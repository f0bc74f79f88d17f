"""The report of a module's step: tables on the terminal, and a directory of these files.

report.html    the page, which opens offline
modules.csv    one row a module
buffers.csv    one row a buffer that is alive at the peak
timeline.csv   one row an event of the step
batches.csv    the batches that were tried, where a memory was given
savings.csv    what each planner would save
trace.json     spans of ops and modules, which Perfetto opens, with trace=true
memory.pickle  when each buffer lives, for PyTorch's memory_viz page, with trace=true
summary.json   the numbers of the verdict, and with what they were made
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup
from rich.console import Console
from rich.table import Table

from experiments.figures.axes import short_count
from experiments.figures.modules import draw_modules, draw_step
from experiments.figures.style import Drawing, png_of, styled, svg_of
from experiments.modules.sentences import remarks, title, verdict
from experiments.modules.step import needed_bytes
from experiments.modules.summary import (
    Result,
    blame,
    columns_of,
    module_cells,
    plan_rows,
    plans_words,
    shown_modules,
    sum_rows,
)
from experiments.modules.training import plan_numbers, training_words
from experiments.reporting.page import page_figures, render
from experiments.results.files import write_bytes, write_csv, write_json, write_text
from experiments.results.manifest import manifest_of
from profiler.units import human_bytes, human_count

PAGE, FOLDER = "report.html", "figures"
FIGURES = ("step", "modules")
_MADE = (
    ("python", "Python"),
    ("versions", "packages"),
    ("system", "system"),
    ("cpu", "processor"),
    ("threads", "threads"),
    ("commit", "commit"),
)


def say(result: Result, console: Console | None = None) -> None:
    """Print the tables, the largest buffers and the verdict."""
    out = _console() if console is None else console
    profile = result.profile
    out.print(f"\n{title(result)}", style="bold", highlight=False, markup=False)
    frame = profile.by_module()
    shown, columns = shown_modules(frame, result.config.depth), columns_of(frame)
    table = Table(title="by module", title_justify="left")
    for words in ("module", "class", *columns.values()):
        left = words in ("module", "class")
        table.add_column(words, justify="left" if left else "right", no_wrap=left)
    for row in shown.to_dict("records"):
        table.add_row(*module_cells(row, list(columns), short_count))
    out.print(table)
    sums = Table(title="what the step needs", title_justify="left")
    for words, justify in (("", "left"), ("bytes", "right"), (" ", "right")):
        sums.add_column(words, justify=justify)  # type: ignore[arg-type]
    for words, nbytes in sum_rows(result):
        sums.add_row(words, human_count(nbytes), human_bytes(nbytes))
    out.print(sums)
    out.print("the greatest buffers at the peak:", highlight=False)
    for row in blame(profile):
        out.print(
            f"  {row['buffer']}, {row['bytes']}, {row['role']}: because {row['why']}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
    for line in remarks(result):
        out.print(line, highlight=False, markup=False, soft_wrap=True)
    if plans_words(result.plans):
        out.print(plans_words(result.plans), highlight=False, markup=False, soft_wrap=True)
    out.print(verdict(result), style="bold", highlight=False, markup=False, soft_wrap=True)
    if todo := training_words(result):
        out.print(todo, highlight=False, markup=False, soft_wrap=True)


def _console() -> Console:
    """Return the terminal at its width; a file or a pipe at the width of the tables."""
    terminal = Console()
    return terminal if terminal.is_terminal else Console(width=150)


def write_report(result: Result, directory: Path, config: dict[str, Any]) -> Path:
    """Write the files of a result and return the page's path; `config` is recorded with them."""
    profile = result.profile
    frame = profile.by_module()
    write_csv(directory / "modules.csv", frame)
    write_csv(directory / "buffers.csv", profile.alive_at_peak())
    write_csv(directory / "timeline.csv", profile.timeline())
    if result.config.trace:
        profile.to_chrome_trace(directory / "trace.json")
        profile.to_memory_snapshot(directory / "memory.pickle")
    batches = _batches(result)
    if batches:
        write_csv(
            directory / "batches.csv", pd.DataFrame(batches)[["batch", "needed_bytes", "fits"]]
        )
    if result.plans is not None and result.plans.savings is not None:
        write_csv(directory / "savings.csv", result.plans.savings)
    manifest = manifest_of(config)
    write_json(directory / "summary.json", {**_numbers(result), "made": manifest})
    shown = shown_modules(frame, result.config.depth)
    depth = max(
        (name.count(".") + 1 for name in shown["module"] if name and not name.startswith("(")),
        default=1,
    )
    _draw("step", lambda: draw_step(profile, result.config.memory_bytes), directory / FOLDER)
    _draw("modules", lambda: draw_modules(profile, depth), directory / FOLDER)
    columns = columns_of(frame)
    page = render(
        "modules.html.jinja",
        title=title(result),
        verdict=verdict(result),
        todo=training_words(result),
        tone={True: "good", False: "bad", None: "open"}[result.fits],
        remarks=remarks(result),
        sums=[
            {"words": words, "bytes": human_count(nbytes), "human": human_bytes(nbytes)}
            for words, nbytes in sum_rows(result)
        ],
        figures=page_figures(directory / FOLDER, FIGURES),
        timeline=Markup(profile.show(title(result)).html),
        blame=blame(profile),
        columns=list(columns.values()),
        rows=[module_cells(row, list(columns), short_count) for row in shown.to_dict("records")],
        batches=batches,
        plans=plan_rows(result.plans),
        plans_words=plans_words(result.plans, 0).split("\n")[0],
        made=_made(manifest, config),
    )
    write_text(directory / PAGE, page)
    return directory / PAGE


def _draw(name: str, draw: Callable[[], Drawing | None], folder: Path) -> None:
    """Draw a figure as SVG and PNG; of one that has nothing to show, take an earlier one away."""
    with styled(name):
        drawing = draw()
        if drawing is not None:
            write_text(folder / f"{name}.svg", svg_of(drawing))
            write_bytes(folder / f"{name}.png", png_of(drawing))
        else:
            for suffix in ("svg", "png"):
                (folder / f"{name}.{suffix}").unlink(missing_ok=True)


def _batches(result: Result) -> list[dict[str, Any]]:
    """Return the batches that were tried, the smallest first."""
    memory = result.config.memory_bytes
    if result.search is None or memory is None:
        return []
    return [
        {
            "batch": batch,
            "needed_bytes": needed,
            "fits": needed <= memory,
            "bytes": human_count(needed),
            "human": human_bytes(needed),
        }
        for batch, needed in sorted(result.search.needed.items())
    ]


def _numbers(result: Result) -> dict[str, Any]:
    """Return the numbers of the verdict, plain."""
    profile, executed = result.profile, result.executed
    return {
        "predicted": result.predicted is not None,
        "batch": result.config.batch,
        "memory_bytes": result.config.memory_bytes,
        "needed_bytes": result.needed_bytes,
        "first_step_needed_bytes": needed_bytes(result.steps.first),
        "given_bytes": profile.given_bytes,
        "peak_bytes": profile.peak_bytes,
        "peak_by_role": profile.peak_by_role,
        "operations": {phase: cost.total for phase, cost in profile.ops_by_phase.items()},
        "matmul_flops": profile.matmul_flops,
        "uncounted": profile.uncounted,
        "fits": result.fits,
        "largest_batch": None if result.search is None else result.search.largest,
        **plan_numbers(result),
        "executed": None
        if executed is None
        else {
            "peak_bytes": executed.steps.later.peak_bytes,
            "wall_ns": executed.wall_ns,
            "process_bytes": executed.process_bytes,
        },
    }


def _made(manifest: dict[str, Any], config: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what the page says of where it was made, and the config."""
    rows = [(words, _words(manifest[key])) for key, words in _MADE if manifest.get(key) is not None]
    return [
        *rows,
        *(
            (key, _words(value))
            for key, value in config.items()
            if value is not None and key not in ("threads", "memory")
        ),
    ]


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_words(one)}" for key, one in value.items() if one is not None)
    return str(value)
