"""A backend of torch.compile whose split of a model's joint graph is a plan.

    torch.compile(model, backend=tapemeasure.backend(max_bytes="8GiB"), fullgraph=True)

AOTAutograd hands over the joint graph of forward and backward; it is read as a program, a planner
makes a schedule of it, and the two graphs that run are that schedule's steps in its order, op by op
as PyTorch runs them. What backward keeps is freed at its last read, so the peak is the plan's.

Bound: a graph holds for one set of shapes; gradients of parameters are handed to autograd together,
when the backward graph ends. Where a model breaks into several graphs each is planned by itself,
and the bound holds for each; `fullgraph=True` refuses such a model.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import count
from typing import Any, Unpack

import torch
from torch import fx
from torch._dynamo.backends.common import aot_autograd
from torch.fx.graph import _BoxedCodeGen
from torch.utils._python_dispatch import _disable_current_modes

from autodiff.errors import GraphError
from autodiff.schedule import Schedule
from profiler.applying.dropout import DROPOUT
from profiler.applying.inductor import compiled
from profiler.applying.joint import Input, Joint
from profiler.applying.planning import plan_for
from profiler.applying.plans import Plans
from profiler.applying.reading import joint_program
from profiler.applying.requests import BackendOptions, Request, Size
from profiler.applying.splitting import split

ScheduleOf = Callable[[Joint], Schedule]


class PlannedBackend:
    """A backend of torch.compile; `plan` has the plans that it made."""

    def __init__(
        self,
        schedule_of: ScheduleOf,
        plan: Plans,
        names: Callable[[], dict[int, str]] = dict,
        outside_bytes: int | None = None,
        inductor: bool = False,
    ) -> None:
        """Plan by a function; `names` gives the names of the model's own tensors by their ids."""
        self.plan = plan
        self._expected: int | None = None
        self._graphs = count()
        self._ran: list[int] | None = None
        self._schedule_of, self._names, self._outside_bytes = schedule_of, names, outside_bytes
        self._inductor = inductor

    def __call__(self, graph: fx.GraphModule, examples: Sequence[Any]) -> Callable[..., Any]:
        """Compile a graph that TorchDynamo traced."""
        partition = partial(self._partition, inputs=self._inputs(graph, examples))
        if self._inductor:
            return self._numbered(compiled(graph, examples, partition))
        compiler = aot_autograd(
            fw_compiler=_op_by_op,
            bw_compiler=_op_by_op,
            partition_fn=partition,
            decompositions=dict(DROPOUT),
        )
        return self._numbered(compiler(graph, examples))

    def _numbered(self, run: Callable[..., Any]) -> Callable[..., Any]:
        """Return a compiled graph that notes that it runs, and refuses to where another should."""
        number = next(self._graphs)

        @functools.wraps(run)
        def checked(*args: Any) -> Any:
            if self._expected not in (None, number):
                raise GraphError(
                    "TorchDynamo chose the graph of another call; expected that of the model's "
                    "latest call; call the model once right before it is measured"
                )
            if self._ran is not None:
                self._ran.append(number)
            return run(*args)

        return checked

    @contextmanager
    def running(self, expected: int | None) -> Iterator[list[int]]:
        """Note the numbers of the graphs that run; refuse any but the expected one, if given.

        Raises GraphError from within a run, before the first op of a graph that is not expected.
        """
        ran: list[int] = []
        self._expected, self._ran = expected, ran
        try:
            yield ran
        finally:
            self._expected, self._ran = None, None

    def _inputs(self, graph: fx.GraphModule, examples: Sequence[Any]) -> list[Input]:
        names = self._names()
        placeholders = [node for node in graph.graph.nodes if node.op == "placeholder"]
        return [
            Input(
                names.get(id(example), node.name),
                isinstance(example, torch.nn.Parameter),
                id(example) in names,
            )
            for node, example in zip(placeholders, examples, strict=True)
        ]

    def _partition(
        self,
        graph: fx.GraphModule,
        joint_inputs: Any,
        *,
        num_fwd_outputs: int,
        inputs: Sequence[Input],
        **_: Any,
    ) -> tuple[fx.GraphModule, fx.GraphModule]:
        primals = [node for node in graph.graph.nodes if node.name.startswith("primals")]
        described = [_described(node, place, inputs) for place, node in enumerate(primals)]
        joint = joint_program(
            graph, num_fwd_outputs, described, self._outside_bytes, draws_again=not self._inductor
        )
        with _disable_current_modes():  # planning is not to be traced
            schedule = self._schedule_of(joint)
        return split(joint, schedule.order.tolist())


def _op_by_op(graph: fx.GraphModule, _: Sequence[Any]) -> Callable[[list[Any]], Any]:
    """Return a function that runs a graph and drops each argument after its last read."""
    graph.graph.set_codegen(_BoxedCodeGen())
    graph.recompile()

    def run(args: list[Any]) -> Any:
        return graph.forward(args)

    run._boxed_call = True  # type: ignore[attr-defined]  # PyTorch's own mark
    return run


def _described(node: fx.Node, place: int, inputs: Sequence[Input]) -> Input:
    """Return what is known of an input of the joint graph, from the graph before it."""
    place = getattr(node.meta.get("desc"), "idx", place)
    return inputs[place] if place < len(inputs) else Input(node.name)


def backend(
    max_bytes: Size | None = None,
    **options: Unpack[BackendOptions],
) -> PlannedBackend:
    """Return a backend for torch.compile that keeps a training step within `max_bytes`.

    The arguments are those of `checkpointed`; its `plan` has the plans that it made.
    Raises PlannerError where they give no plan, and when it compiles where nothing fits.
    """
    request = Request.of(BackendOptions, max_bytes, **options)
    plans = Plans()

    def schedule_of(joint: Joint) -> Schedule:
        plan = plan_for(joint, request)
        plans.add(plan)
        return plan.schedule

    return PlannedBackend(
        schedule_of, plans, outside_bytes=request.outside_bytes, inductor=request.inductor
    )
