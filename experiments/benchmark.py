"""`python -m experiments.benchmark [step]`: how long measuring takes, beside plain PyTorch, in one process, alternating.

`step` is the chain's whole training step, each allocation and release noted, against PyTorch's eager step of the same chain, gradients
equal to the last bit, and against the bare matrix products, below which neither can go.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

from autodiff.errors import TapemeasureError
from experiments.timing import alternate

SHAPES = {(16, 64, 32): 2000, (64, 256, 256): 25}


def chain_steps(n: int, d: int, b: int) -> dict[str, Callable[[], Any]]:
    """The instrumented step, PyTorch's eager step, and the bare products of one chain on the same weights.

    Raises TapemeasureError where the two do not give the same gradients.
    """
    import torch

    from autodiff import Executable, StoreAll, gradients, linearize, networks

    network = networks.chain(n, d, b)
    program = linearize([network.loss, *gradients(network.loss, network.weights)])
    executable = Executable(program, StoreAll()(program))
    weights = [leaf.value.clone().requires_grad_() for leaf in network.weights]
    frozen = [weight.detach() for weight in weights]
    x = network.input.value

    def eager() -> Any:
        h = x
        for weight in weights:
            h = torch.tanh(weight @ h)
        return torch.autograd.grad(h.sum(), weights)

    def products() -> None:
        with torch.inference_mode():
            for weight in frozen:
                torch.mm(weight, x)
            for _ in range(n):
                torch.mm(x, x.t())
            for weight in frozen[1:]:
                torch.mm(weight.t(), x)

    for mine, theirs in zip(executable.run()[0][1:], eager(), strict=True):
        if not torch.equal(mine, theirs):
            raise TapemeasureError(f"the gradients of the chain n={n}, d={d}, b={b} differ from PyTorch's; please report this")
    return {"instrumented": executable.run, "eager": eager, "products": products}


def benchmark_step() -> list[dict[str, Any]]:
    """One row a shape and step: median ms, spread, and the ratio to PyTorch's eager step."""
    rows = []
    for (n, d, b), rounds in SHAPES.items():
        timings = alternate(chain_steps(n, d, b), rounds)
        for name, timing in timings.items():
            rows.append(
                {
                    "benchmark": "step",
                    "shape": f"n={n}, d={d}, b={b}",
                    "what": name,
                    "median_ms": timing.median_ns / 1e6,
                    "spread_ms": timing.spread_ns / 1e6,
                    "ratio_to_eager": timing.median_ns / timings["eager"].median_ns,
                }
            )
    return rows


BENCHMARKS: dict[str, Callable[[], list[dict[str, Any]]]] = {"step": benchmark_step}


def main(arguments: list[str] | None = None) -> None:
    """The command line: which benchmarks to run; without one, all of them."""
    parser = argparse.ArgumentParser(prog="python -m experiments.benchmark", description=__doc__)
    parser.add_argument("which", nargs="*", default=list(BENCHMARKS), help=f"any of {', '.join(BENCHMARKS)}")
    which = parser.parse_args(arguments).which
    for name in which:
        if name not in BENCHMARKS:
            print(f"error: benchmark {name!r}; expected one of {', '.join(BENCHMARKS)}", file=sys.stderr)
            sys.exit(2)
    import pandas as pd

    try:
        rows = [row for name in which for row in BENCHMARKS[name]()]
    except TapemeasureError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    print(pd.DataFrame(rows).to_string(index=False, float_format=lambda value: f"{value:.3f}"))


if __name__ == "__main__":
    main()
