"""Every number of a step without a tensor: for one network, for thousands of shapes, as formulas.

`predict` is `profile(…, execute=False)` without its ledger: only the numbers. Where the network's
dimensions are sympy symbols, they are formulas; `predict_formula` makes those of the chain.
`predict_grid` makes the chain, its programs and its schedules once for each depth and folds them
over all widths and batches.

A planner that looks at sizes (`Revolve` among equally fast plans, or with a budget) may plan each
shape in another way, so it runs for each shape; those in `SIZE_BLIND` run once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from autodiff import networks
from autodiff.checkpointing.parse import planned, planner_of
from autodiff.checkpointing.recompute_all import RecomputeAll
from autodiff.checkpointing.store_all import StoreAll
from autodiff.checkpointing.uniform import Uniform
from autodiff.collector import paused_collector
from autodiff.errors import GraphError, ShapeError
from autodiff.instructions import PHASES
from autodiff.node import ComputationNode
from autodiff.program import Program
from autodiff.schedule import Schedule
from profiler.folding import Prediction, fold
from profiler.programs import program_of

Planner = Callable[[Program], Schedule]

SIZE_BLIND = (StoreAll, RecomputeAll, Uniform)
"""The planners whose schedules depend only on a program's structure."""

MODES = ("no_grad", "forward", "full", "w1_only", "checkpointed")

COLUMNS = (
    "n", "d", "b", "mode", "planner", "ops", *(f"ops_{phase}" for phase in PHASES), "matmul_flops",
    "peak_bytes", "live_after_bytes", "parameter_bytes", "input_bytes",
)  # fmt: skip


def predict(
    loss: ComputationNode | Program,
    wrt: Sequence[ComputationNode] = (),
    *,
    planner: Planner | str | None = None,
    stop_after: str = "backward",
) -> Prediction:
    """Predict what it costs to compute `loss` and its gradients with respect to each node of `wrt`.

    The arguments are those of `profile`. No tensor is allocated; leaves may have only shapes, and
    dimensions may be symbols.
    """
    with paused_collector():
        program = program_of(loss, wrt, stop_after)
        return fold(*planned(program, planner))


def predict_formula(
    n: int,
    mode: str = "full",
    d: Any = None,
    b: Any = None,
    *,
    activation: str = "tanh",
    loss: str = "sum",
    dtype: torch.dtype = torch.float32,
    planner: Planner | str = "store_all",
) -> Prediction:
    """Predict the chain of n layers for any width and batch, as formulas of the symbols d and b.

    The symbols are positive integers `d` and `b` by default. A planner that looks at sizes plans
    here for activations of equal size.
    """
    if d is None or b is None:
        width, batch = symbols()
        d, b = width if d is None else d, batch if b is None else b
    with paused_collector():
        network = networks.chain(
            n, d, b, activation=activation, loss=loss, dtype=dtype, values=False
        )
        program = program_of_mode(network, mode)
        return fold(*planned(program, planner if mode == "checkpointed" else None))


def predict_grid(
    n: int | Sequence[int],
    d: Any,
    b: Any,
    modes: str | Sequence[str] = ("no_grad", "forward", "full", "w1_only"),
    *,
    activation: str = "tanh",
    loss: str = "sum",
    dtype: torch.dtype = torch.float32,
    planners: Planner | str | Sequence[Planner | str] = ("store_all",),
) -> pd.DataFrame:
    """Predict the chain at every pair (d, b), for every depth and mode: one row each.

    `d` and `b` are integers or arrays of them, paired element by element as numpy broadcasts them:
    equal lengths are points, `d[:, None]` and `b[None, :]` a grid. Columns are `COLUMNS`; rows come
    by n, then by mode (and planner, in mode `checkpointed`), then in the order of the points. Every
    number is exact; a column that needs more than 64 bits holds Python's integers. Raises
    ShapeError for a dimension that is not a positive integer, GraphError for an unknown mode.
    """
    widths, batches = _points(d, b)
    modes = [modes] if isinstance(modes, str) else list(modes)
    chosen = [
        planner_of(one)
        for one in ([planners] if isinstance(planners, str) or callable(planners) else planners)
    ]
    options = {"activation": activation, "loss": loss, "dtype": dtype, "values": False}
    parts = []
    for depth in [n] if isinstance(n, int | np.integer) else n:
        with paused_collector():
            for mode, planner, columns in _blocks(
                int(depth), widths, batches, modes, chosen, options
            ):
                parts.append(
                    {
                        "n": int(depth),
                        "d": widths,
                        "b": batches,
                        "mode": mode,
                        "planner": str(planner),
                        **columns,
                    }
                )
    return _frame(parts, len(widths))


def _blocks(
    n: int,
    d: np.ndarray,
    b: np.ndarray,
    modes: Sequence[str],
    planners: Sequence[Planner],
    options: dict[str, Any],
) -> Iterator[tuple[str, Planner, dict[str, np.ndarray]]]:
    """Yield the columns of each mode and planner over all points."""
    shape = symbols()
    network = networks.chain(n, *shape, **options)
    for mode in modes:
        program = program_of_mode(network, mode)
        for planner in planners if mode == "checkpointed" else [StoreAll()]:
            if isinstance(planner, SIZE_BLIND):
                yield (
                    mode,
                    planner,
                    fold(program, planner(program)).at(dict(zip(shape, (d, b), strict=True))),
                )
            else:
                yield mode, planner, _shape_by_shape(n, d, b, mode, planner, options)


def _shape_by_shape(
    n: int, d: np.ndarray, b: np.ndarray, mode: str, planner: Planner, options: dict[str, Any]
) -> dict[str, np.ndarray]:
    """Return the columns of a planner that runs for each distinct shape."""
    found: dict[tuple[int, int], dict[str, Any]] = {}
    shapes = list(zip(d.tolist(), b.tolist(), strict=True))
    for shape in dict.fromkeys(shapes):
        program = program_of_mode(networks.chain(n, *shape, **options), mode)
        found[shape] = {
            name: column[0] for name, column in fold(*planned(program, planner)).at({}).items()
        }
    names = next(iter(found.values()), {})
    return {name: np.array([found[shape][name] for shape in shapes]) for name in names}


def program_of_mode(network: networks.Network, mode: str) -> Program:
    """Return the program of a network in a mode; `checkpointed` is that of `full`.

    Raises GraphError for an unknown mode.
    """
    if mode not in MODES:
        raise GraphError(f"mode {mode!r}; expected one of {', '.join(MODES)}")
    wrt = {"no_grad": [], "w1_only": network.weights[:1]}.get(mode, network.weights)
    return program_of(network.loss, wrt, "forward" if mode == "forward" else "backward")


def symbols() -> tuple[Any, Any]:
    """Return width d and batch b as sympy symbols, positive integers."""
    import sympy  # a third of a second, which only what is folded over shapes has to spend

    return sympy.Symbol("d", integer=True, positive=True), sympy.Symbol(
        "b", integer=True, positive=True
    )


def _points(d: Any, b: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return widths and batches, one of each for every point."""
    arrays = []
    for name, sizes in (("d", d), ("b", b)):
        array = np.asarray(sizes)
        if array.dtype.kind not in "iu" or (array.size and int(array.min()) < 1):
            raise ShapeError(f"{name} = {sizes!r}; expected integers of at least 1")
        arrays.append(array)
    try:
        widths, batches = np.broadcast_arrays(*arrays)
    except ValueError:
        shapes = " and ".join(str(array.shape) for array in arrays)
        raise ShapeError(
            f"d and b have the shapes {shapes}; expected one length, or shapes that broadcast: "
            "d[:, None], b[None, :]"
        ) from None
    return widths.ravel(), batches.ravel()


def _frame(parts: Sequence[dict[str, Any]], points: int) -> pd.DataFrame:
    """Return the parts one under another."""
    columns = {}
    for name in COLUMNS:
        blocks = [
            part[name]
            if isinstance(part[name], np.ndarray)
            else np.repeat(np.array(part[name]), points)
            for part in parts
        ]
        columns[name] = np.concatenate(blocks) if blocks else np.zeros(0, dtype=np.int64)
    return pd.DataFrame(columns)
