"""A sweep's config as typed dataclasses, with one line for every wrong value.

A sweep is a list of studies: the exact grid, further small grids that differ in a few keys
(`studies`), and the larger shapes on which seconds and process memory are measured (`scale`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from experiments.errors import ConfigError
from experiments.grid.planners import canonical_planner
from experiments.grid.subjects import BestPlans, best_plans
from experiments.keys import (
    GREATEST_DIMENSION,
    MOST_LAYERS,
    MOST_THREADS,
    boolean,
    choice,
    choices,
    each,
    known_keys,
    mapping,
    positive,
    positives,
    printable,
    seconds,
    size,
)
from experiments.names import AUDITS, DTYPES, ENGINES, MODES, NETWORKS
from experiments.theory.case import ACTIVATIONS, LOSSES

OBJECTIVES = (
    "peak_bytes",
    "ops",
    "matmul_flops",
    "live_after_bytes",
    "wall_ns_forward",
    "wall_ns_backward",
    "peak_rss_bytes",
)
KEYS = (
    "network",
    "grid",
    "modes",
    "planners",
    "engine",
    "micro_batches",
    "dtype",
    "device",
    "threads",
    "execute",
    "audit",
    "repeats",
    "measure_process",
    "scale",
    "studies",
    "timeline",
    "memory",
    "best_plans",
    "timeout_s",
    "dry_run",
    "objective",
    "figures",
    "experiment",
)
FIGURE_FORMATS = ("svg", "png", "pdf")
RESERVED_PARTS = ("exact", "scale", "timeline")


@dataclass(frozen=True)
class Grid:
    """The product of depths n, widths d and batches b."""

    n: tuple[int, ...]
    d: tuple[int, ...]
    b: tuple[int, ...]


@dataclass(frozen=True)
class Study:
    """A grid with what is measured on it; `part` is exact, scale, or a study's own name."""

    part: str
    grid: Grid
    modes: tuple[str, ...]
    network: str
    activations: tuple[str, ...]
    losses: tuple[str, ...]
    planners: tuple[str, ...]
    engines: tuple[str, ...]
    micro_batches: tuple[int, ...]
    repeats: int
    measure_process: bool


@dataclass(frozen=True)
class SweepConfig:
    """A whole sweep, checked."""

    studies: tuple[Study, ...]
    timeline: Study | None
    dtype: str
    device: str
    threads: int
    execute: bool
    audit: str
    timeout_s: float | None
    dry_run: bool
    objective: str
    memory: tuple[int, ...] = ()
    figure_formats: tuple[str, ...] = FIGURE_FORMATS[:2]
    best_plans: BestPlans | None = None


def sweep_config(given: Mapping[str, Any]) -> SweepConfig:
    """Return the typed config of a plain mapping.

    Raises ConfigError, one line, for an unknown key and for any value that is not of its kind.
    """
    known_keys("", given, KEYS)
    measure_process = boolean("measure_process", given.get("measure_process", True))
    execute = boolean("execute", given.get("execute", True))
    timeline = given.get("timeline")
    return SweepConfig(
        studies=tuple(_studies(given, measure_process, execute)),
        timeline=None if timeline is None else _timeline(given, mapping("timeline", timeline)),
        dtype=choice("dtype", given.get("dtype", "float32"), DTYPES),
        device=printable("device", given.get("device", "cpu")),
        threads=positive("threads", given.get("threads", 1), MOST_THREADS),
        execute=execute,
        audit=choice("audit", given.get("audit", "none") or "none", AUDITS),
        timeout_s=None
        if given.get("timeout_s") is None
        else seconds("timeout_s", given["timeout_s"]),
        dry_run=boolean("dry_run", given.get("dry_run", False)),
        objective=choice("objective", given.get("objective", "peak_bytes"), OBJECTIVES),
        figure_formats=_figure_formats(given.get("figures")),
        memory=() if given.get("memory") is None else each("memory", given["memory"], size),
        best_plans=None
        if given.get("best_plans") is None
        else best_plans("best_plans", given["best_plans"]),
    )


def _figure_formats(given: Any) -> tuple[str, ...]:
    """Return the formats of figures; the report shows SVG, which is always drawn."""
    figures = {} if given is None else mapping("figures", given)
    known_keys("figures.", figures, ("format", "style"))
    choice("figures.style", figures.get("style", "page"), ("page", "paper"))
    asked = choices("figures.format", figures.get("format", "png"), FIGURE_FORMATS)
    return tuple(dict.fromkeys(("svg", *asked)))


def _studies(given: Mapping[str, Any], measure_process: bool, execute: bool) -> Iterator[Study]:
    """Yield the exact grid, the named studies, then the larger shapes."""
    asked = {
        name: changes
        for name, changes in mapping("studies", given.get("studies")).items()
        if changes is not None  # a preset removes one with null
    }
    gridless = all(sizes is None for sizes in mapping("grid", given.get("grid")).values())
    if not (gridless and asked):
        yield _study("exact", given, measure_process)
    for name, changes in asked.items():
        if str(name) in RESERVED_PARTS or not str(name).isprintable():
            raise ConfigError(
                f"studies.{str(name)!r} cannot be a study's name; expected printable letters, "
                f"and none of {', '.join(RESERVED_PARTS)}"
            )
        merged = _merged(given, mapping(f"studies.{name}", changes))
        yield _study(str(name), merged, measure_process, f"studies.{name}.")
    scale = given.get("scale")
    if scale is not None and execute and measure_process:
        scale = mapping("scale", scale)
        known_keys("scale.", scale, ("n", "d", "b", "repeats", "modes"))
        larger = {
            "grid": {axis: scale.get(axis) for axis in "ndb"},
            **{key: scale[key] for key in ("repeats", "modes") if key in scale},
        }
        study = _study("scale", _merged(given, larger), measure_process, "scale.")
        yield replace(study, micro_batches=(1,))


def _study(part: str, given: Mapping[str, Any], measure_process: bool, where: str = "") -> Study:
    network = mapping("network", given.get("network"))
    known_keys("network.", network, ("name", "activation", "loss"))
    return Study(
        part=part,
        grid=_grid(f"{where}grid.", mapping("grid", given.get("grid"))),
        modes=choices(f"{where}modes", given.get("modes"), MODES),
        network=choice("network.name", network.get("name", "chain"), NETWORKS),
        activations=choices("network.activation", network.get("activation", "tanh"), ACTIVATIONS),
        losses=choices("network.loss", network.get("loss", "sum"), LOSSES),
        planners=_planners(f"{where}planners", given.get("planners", "store_all")),
        engines=choices("engine", given.get("engine", "autodiff"), ENGINES),
        micro_batches=positives(f"{where}micro_batches", given.get("micro_batches", 1)),
        repeats=positive(f"{where}repeats", given.get("repeats", 1)),
        measure_process=measure_process,
    )


def _timeline(given: Mapping[str, Any], timeline: Mapping[str, Any]) -> Study:
    """Return the study of the timeline: its shape, and what differs from the grid."""
    known_keys("timeline.", timeline, ("n", "d", "b", "modes", "planners", "network"))
    changes = {key: timeline[key] for key in ("modes", "planners", "network") if key in timeline}
    return _study(
        "timeline",
        _merged(given, {"grid": {axis: timeline.get(axis) for axis in "ndb"}, **changes}),
        False,
        "timeline.",
    )


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with the keys of `changes` in place, one level deep for mappings."""
    known_keys(
        "studies: ",
        changes,
        ("network", "grid", "modes", "planners", "engine", "micro_batches", "repeats"),
    )
    merged = dict(base)
    for key, value in changes.items():
        merged[key] = (
            {**merged[key], **value}
            if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
            else value
        )
    return merged


def _grid(where: str, given: Mapping[str, Any]) -> Grid:
    known_keys(where, given, ("n", "d", "b"))
    return Grid(
        positives(f"{where}n", given.get("n"), MOST_LAYERS),
        positives(f"{where}d", given.get("d"), GREATEST_DIMENSION),
        positives(f"{where}b", given.get("b"), GREATEST_DIMENSION),
    )


def _planners(key: str, value: Any) -> tuple[str, ...]:
    """Planners as their canonical strings, so that one plan has one key."""
    return each(key, value, canonical_planner)
