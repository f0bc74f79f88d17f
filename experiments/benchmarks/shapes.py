"""Numbers from shapes: a deep network against PyTorch's tools on meta tensors, grid, formula."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from autodiff import networks
from experiments.benchmarks.chain import Rows, Shape, Step, named, rows_of
from experiments.measuring.timing import alternate
from profiler.graphs import profile
from profiler.prediction import predict, predict_formula, predict_grid
from profiler.pytorch.steps import profile_step

DEEP: Shape = (1000, 1024, 1024)
DEEPEST: Shape = (100_000, 256, 256)
GRID_DEPTH, GRID_SIDE = 64, 100
FORMULA_DEPTH = 256
MODES = ("no_grad", "forward", "full", "w1_only")


def prediction() -> Rows:
    """Time the way from a network's shape to its numbers."""
    d, b = np.arange(1, GRID_SIDE + 1)[:, None], np.arange(1, GRID_SIDE + 1)[None, :]
    grid = f"n={GRID_DEPTH}, {GRID_SIDE**2} shapes, {len(MODES)} modes"
    single: list[tuple[str, str, Step, int]] = [
        ("predict_grid", grid, lambda: predict_grid(GRID_DEPTH, d, b, MODES), 5),
        ("predict", named(DEEPEST), lambda: _predict(DEEPEST), 1),
        (
            "predict_formula",
            f"n={FORMULA_DEPTH}",
            lambda: predict_formula(FORMULA_DEPTH).peak_bytes,
            5,
        ),
    ]
    rows = _one_deep_network()
    for what, shape, step, rounds in single:
        rows += rows_of("prediction", shape, alternate({what: step}, rounds, warm_up=1), what)
    return rows


def _predict(shape: Shape) -> int:
    network = networks.chain(*shape, values=False)
    return int(predict(network.loss, network.weights).peak_bytes)


def _one_deep_network() -> Rows:
    """Compare one deep chain by ours and by PyTorch's tools on meta tensors."""
    n, d, b = DEEP
    weights = [torch.empty(d, d, device="meta", requires_grad=True) for _ in range(n)]
    x = torch.empty(d, b, device="meta")

    def with_a_ledger() -> None:
        network = networks.chain(n, d, b, values=False)
        profile(network.loss, network.weights, execute=False)

    def on_meta() -> Any:
        h = x
        for weight in weights:
            h = torch.tanh(weight @ h)
        return torch.autograd.grad(h.sum(), weights)

    from torch.utils.flop_counter import FlopCounterMode

    def flops() -> None:
        with FlopCounterMode(display=False):
            on_meta()

    steps: dict[str, Step] = {
        "predict": lambda: _predict(DEEP),
        "profile(execute=False)": with_a_ledger,
        "profile_step on meta": lambda: profile_step(on_meta),
        "FlopCounterMode on meta": flops,
    }
    return rows_of(
        "prediction", named(DEEP), alternate(steps, 5, warm_up=1), "FlopCounterMode on meta"
    )
