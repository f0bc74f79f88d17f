"""Programs of the exercise's chain, and what a schedule of one runs."""

from __future__ import annotations

from collections import Counter
from typing import Any

from autodiff import (
    Program,
    Schedule,
    gradients,
    linearize,
    networks,
)
from autodiff.instructions import FORWARD
from profiler import profile_schedule


def chain_program(
    n: int,
    d: int = 1,
    b: int = 1000,
    activation: str = "tanh",
    loss: str = "sum",
    wrt: int | None = None,
    **more: Any,
) -> Program:
    """The program of all gradients of the chain, or of one weight's; by default A = 1,000 D."""
    network = networks.chain(
        n, d, b, activation=activation, loss=loss, values=more.pop("values", False), **more
    )
    return linearize(
        [
            network.loss,
            *gradients(
                network.loss, network.weights if wrt is None else [network.weights[wrt - 1]]
            ),
        ]
    )


def runs(program: Program, schedule: Schedule) -> Counter[str]:
    """How often each kind of op of the forward part runs."""
    steps = [program.instructions[i] for i in schedule.order.tolist()]
    return Counter(type(step.op).__name__ for step in steps if step.phase == FORWARD)


def peak_elements(program: Program, schedule: Schedule) -> int:
    """The predicted peak in elements of four bytes."""
    return profile_schedule(program, schedule, execute=False).peak_bytes // 4
