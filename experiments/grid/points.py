"""The points of a sweep, from its studies."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from experiments.grid.config import Study, SweepConfig
from experiments.grid.planners import code_of, has_counterpart, serves
from experiments.results.point import Point


def points_of(config: SweepConfig) -> list[Point]:
    """Return every point of a sweep once: of the grid, of studies, of larger shapes."""
    points: dict[str, Point] = {}
    for study in config.studies:
        for point in points_of_study(config, study):
            points.setdefault(point.key, point)
    return list(points.values())


def points_of_study(config: SweepConfig, study: Study) -> Iterator[Point]:
    """Yield the points of a study, in the order of its values."""
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
                    planner_code=code_of(planner),
                )


def _variants(mode: str, n: int, planners: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return the pairs (wrt, planner) of a mode: by layer (`only`) or planner (`checkpointed`)."""
    if mode == "only":
        return [(f"W_{j}", "store_all") for j in range(1, n + 1)]
    if mode == "checkpointed":
        return [("all", planner) for planner in planners if serves(planner, n)]
    return [({"no_grad": "", "w1_only": "W_1"}.get(mode, "all"), "store_all")]
