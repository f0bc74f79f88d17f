"""The door: a sweep's config as typed dataclasses, with every wrong value told in one line. After it, plain arguments.

A sweep is a list of studies: the exact grid, further small grids that differ in a few keys (`studies`), and the larger shapes
on which seconds and process memory are measured (`scale`).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from experiments.errors import ConfigError
from experiments.theory import ACTIVATIONS, LOSSES

MODES = ("no_grad", "forward", "full", "w1_only", "only", "checkpointed")
NETWORKS = ("chain",)
ENGINES = ("autodiff", "pytorch")
DTYPES = ("float32", "float64", "float16", "bfloat16")
AUDITS = ("none", "storages", "scalars", "both")
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
    "network", "grid", "modes", "planners", "engine", "micro_batches", "dtype", "device", "threads", "execute", "audit", "repeats",
    "measure_process", "scale", "studies", "timeline", "memory", "timeout_s", "dry_run", "objective", "experiment",
)  # fmt: skip


# Beyond these nothing can be measured, and a digit too many should not fill the memory with a graph of a million million layers.
MOST_LAYERS = 1_000_000
GREATEST_DIMENSION = 2**31 - 1
MOST_THREADS = 1024
LONGEST_TIMEOUT_S = 1_000_000.0
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


def sweep_config(given: Mapping[str, Any]) -> SweepConfig:
    """The typed config of a plain mapping.

    Raises ConfigError, one line, for an unknown key and for any value that is not of its kind.
    """
    _known("", given, KEYS)
    measure_process = _boolean("measure_process", given.get("measure_process", True))
    execute = _boolean("execute", given.get("execute", True))
    asked = {
        name: changes
        for name, changes in _mapping("studies", given.get("studies")).items()
        if changes is not None
    }
    gridless = all(sizes is None for sizes in _mapping("grid", given.get("grid")).values())
    studies = [] if gridless and asked else [_study("exact", given, measure_process)]
    for name, changes in asked.items():  # a preset takes one away with null
        if str(name) in RESERVED_PARTS or not str(name).isprintable():
            raise ConfigError(
                f"studies.{str(name)!r} cannot be a study's name; expected another than {', '.join(RESERVED_PARTS)}, of printable letters"
            )
        studies.append(
            _study(
                str(name),
                _merged(given, _mapping(f"studies.{name}", changes)),
                measure_process,
                f"studies.{name}.",
            )
        )
    scale = given.get("scale")
    if scale is not None and execute and measure_process:
        scale = _mapping("scale", scale)
        _known("scale.", scale, ("n", "d", "b", "repeats", "modes"))
        larger = {
            "grid": {axis: scale.get(axis) for axis in "ndb"},
            **{key: scale[key] for key in ("repeats", "modes") if key in scale},
        }
        study = _study("scale", _merged(given, larger), measure_process, "scale.")
        studies.append(replace(study, micro_batches=(1,)))
    timeline = given.get("timeline")
    return SweepConfig(
        studies=tuple(studies),
        timeline=None if timeline is None else _timeline(given, _mapping("timeline", timeline)),
        dtype=_choice("dtype", given.get("dtype", "float32"), DTYPES),
        device=_text("device", given.get("device", "cpu")),
        threads=_positive("threads", given.get("threads", 1), MOST_THREADS),
        execute=execute,
        audit=_choice("audit", given.get("audit", "none") or "none", AUDITS),
        timeout_s=None
        if given.get("timeout_s") is None
        else _seconds("timeout_s", given["timeout_s"]),
        dry_run=_boolean("dry_run", given.get("dry_run", False)),
        objective=_choice("objective", given.get("objective", "peak_bytes"), OBJECTIVES),
        memory=() if given.get("memory") is None else _each("memory", given["memory"], _size),
    )


def _study(part: str, given: Mapping[str, Any], measure_process: bool, where: str = "") -> Study:
    network = _mapping("network", given.get("network"))
    _known("network.", network, ("name", "activation", "loss"))
    return Study(
        part=part,
        grid=_grid(f"{where}grid.", _mapping("grid", given.get("grid"))),
        modes=_choices(f"{where}modes", given.get("modes"), MODES),
        network=_choice("network.name", network.get("name", "chain"), NETWORKS),
        activations=_choices("network.activation", network.get("activation", "tanh"), ACTIVATIONS),
        losses=_choices("network.loss", network.get("loss", "sum"), LOSSES),
        planners=_planners(f"{where}planners", given.get("planners", "store_all")),
        engines=_choices("engine", given.get("engine", "autodiff"), ENGINES),
        micro_batches=_positives(f"{where}micro_batches", given.get("micro_batches", 1)),
        repeats=_positive(f"{where}repeats", given.get("repeats", 1)),
        measure_process=measure_process,
    )


def _timeline(given: Mapping[str, Any], timeline: Mapping[str, Any]) -> Study:
    """The shape whose live memory is told event by event, and the modes and planners, where they are not the main grid's."""
    _known("timeline.", timeline, ("n", "d", "b", "modes", "planners", "network"))
    changes = {key: timeline[key] for key in ("modes", "planners", "network") if key in timeline}
    return _study(
        "timeline",
        _merged(given, {"grid": {axis: timeline.get(axis) for axis in "ndb"}, **changes}),
        False,
        "timeline.",
    )


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the keys of `changes` in their places, one level deep for mappings."""
    _known(
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
    _known(where, given, ("n", "d", "b"))
    return Grid(
        _positives(f"{where}n", given.get("n"), MOST_LAYERS),
        _positives(f"{where}d", given.get("d"), GREATEST_DIMENSION),
        _positives(f"{where}b", given.get("b"), GREATEST_DIMENSION),
    )


def _mapping(key: str, value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigError(f"{key}={value!r}; expected keys with values; see --help")
    return value


def _known(where: str, given: Iterable[Any], known: Iterable[str]) -> None:
    known = tuple(known)
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]}?" if near else "remove it"
            told = key if str(key).isprintable() else repr(key)
            raise ConfigError(
                f"{where}{told} is no key; expected one of {', '.join(known)}; {hint}"
            )


def _list(key: str, value: Any) -> list[Any]:
    """A value as a list: a bare one is a list of one."""
    if value is None or isinstance(value, Mapping):
        raise ConfigError(f"{key}={value!r}; expected a value, or a list of values such as [1,2,4]")
    items = list(value) if isinstance(value, list | tuple) else [value]
    if not items:
        raise ConfigError(f"{key}=[]; expected at least one value")
    return items


def _each(key: str, value: Any, one: Callable[[str, Any], Any]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(one(key, item) for item in _list(key, value)))


def _positive(key: str, value: Any, most: int = GREATEST_DIMENSION) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{key}={value!r}; expected an integer of at least 1")
    if value > most:
        raise ConfigError(f"{key}={value}; expected an integer of at most {most}")
    return value


def _positives(key: str, value: Any, most: int = GREATEST_DIMENSION) -> tuple[int, ...]:
    return _each(key, value, lambda where, item: _positive(where, item, most))


def _choice(key: str, value: Any, known: tuple[str, ...]) -> str:
    if value not in known:
        near = difflib.get_close_matches(str(value), known, n=1)
        raise ConfigError(
            f"{key}={value!r}; expected one of {', '.join(known)}"
            + (f"; did you mean {near[0]}?" if near else "")
        )
    return str(value)


def _choices(key: str, value: Any, known: tuple[str, ...]) -> tuple[str, ...]:
    return _each(key, value, lambda where, item: _choice(where, item, known))


def _boolean(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{key}={value!r}; expected true or false")
    return value


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str) or not value.isprintable() or not value:
        raise ConfigError(f"{key}={value!r}; expected a name")
    return value


def _seconds(key: str, value: Any) -> float:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not 0 < value <= LONGEST_TIMEOUT_S
    ):
        raise ConfigError(
            f"{key}={value!r}; expected seconds above 0 and up to {LONGEST_TIMEOUT_S:.0f}, or null for no limit"
        )
    return float(value)


def _size(key: str, value: Any) -> int:
    from autodiff.checkpointing.units import bytes_of

    nbytes = bytes_of(value) if isinstance(value, str) else value
    if isinstance(nbytes, bool) or not isinstance(nbytes, int) or nbytes < 1:
        raise ConfigError(
            f"{key}={value!r}; expected bytes with a unit such as 24GiB, 512MiB or 16GB"
        )
    return nbytes


def _planners(key: str, value: Any) -> tuple[str, ...]:
    """Planners as their canonical strings, so that one plan has one key."""
    from experiments.planners import canonical_planner

    return _each(key, value, canonical_planner)
