"""A point: everything that determines one row, so that its hash is the row's key and no point exists twice."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass

from experiments.config import Study, SweepConfig
from experiments.planners import has_counterpart, serves


@dataclass(frozen=True)
class Point:
    """One measurement to be made: a network's shape, a mode, a planner, an engine, and how it is to be measured."""

    part: str
    network: str
    activation: str
    loss: str
    dtype: str
    n: int
    d: int
    b: int
    mode: str
    wrt: str
    planner: str
    engine: str
    micro_batches: int
    device: str
    threads: int
    execute: bool
    repeats: int
    audit: str
    measure_process: bool

    @property
    def key(self) -> str:
        """The hash of what determines the row, sixteen hexadecimal digits: all fields but the study that asks for it."""
        fields = {name: value for name, value in vars(self).items() if name != "part"}
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]

    def __str__(self) -> str:
        extra = "".join(
            f" {text}"
            for text in (
                self.wrt if self.mode == "only" else "",
                self.planner if self.mode == "checkpointed" else "",
                f"micro_batches={self.micro_batches}" if self.micro_batches > 1 else "",
            )
            if text
        )
        return f"{self.engine} {self.activation}+{self.loss} n={self.n} d={self.d} b={self.b} {self.mode}{extra}"


def points_of(config: SweepConfig) -> list[Point]:
    """Every point of a sweep, once, in the order in which it is measured: the grid, the studies, then the larger shapes."""
    points: dict[str, Point] = {}
    for study in config.studies:
        for point in _points(config, study):
            points.setdefault(point.key, point)
    return list(points.values())


def _points(config: SweepConfig, study: Study) -> Iterator[Point]:
    grid = study.grid
    shapes = itertools.product(
        study.activations, study.losses, study.engines, study.micro_batches, grid.n, grid.d, grid.b
    )
    for activation, loss, engine, micro_batches, n, d, b in shapes:
        for mode in study.modes:
            if micro_batches > 1 and (mode != "full" or b % micro_batches or engine != "autodiff"):
                continue
            for wrt, planner in _variants(mode, n, study.planners):
                if engine == "pytorch" and not has_counterpart(mode, planner):
                    continue
                yield Point(
                    part=study.part,
                    network=study.network,
                    activation=activation,
                    loss=loss,
                    dtype=config.dtype,
                    n=n,
                    d=d,
                    b=b,
                    mode=mode,
                    wrt=wrt,
                    planner=planner,
                    engine=engine,
                    micro_batches=micro_batches,
                    device=config.device,
                    threads=config.threads,
                    execute=config.execute,
                    repeats=study.repeats,
                    audit="none" if study.part == "scale" or engine == "pytorch" else config.audit,
                    measure_process=study.measure_process,
                )


def _variants(mode: str, n: int, planners: tuple[str, ...]) -> list[tuple[str, str]]:
    """The pairs (wrt, planner) that a mode of an n-layer network has: `only` one for each layer, `checkpointed` one for each planner."""
    if mode == "only":
        return [(f"W_{j}", "store_all") for j in range(1, n + 1)]
    if mode == "checkpointed":
        return [("all", planner) for planner in planners if serves(planner, n)]
    return [({"no_grad": "", "w1_only": "W_1"}.get(mode, "all"), "store_all")]
