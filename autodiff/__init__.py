"""An instrumented computation-graph engine: the exercise's nodes, gradients as more graph, programs, schedules, one executor."""

from autodiff import networks
from autodiff.algorithms import backward_algorithm, forward_algorithm, gradients
from autodiff.checkpointing import *  # noqa: F403
from autodiff.checkpointing import __all__ as _planners
from autodiff.cost import Cost
from autodiff.errors import GraphError, PlannerError, ScheduleError, ShapeError, TapemeasureError
from autodiff.execute import Executable, execute
from autodiff.node import ComputationNode, Leaf, build_graph
from autodiff.ops import *  # noqa: F403 - the ops' own __all__ is the list
from autodiff.ops import __all__ as _ops
from autodiff.program import Program, linearize
from autodiff.recording import Recording
from autodiff.schedule import Claims, Schedule, check_schedule
from autodiff.spec import Spec

__all__ = [
    *_ops,
    *_planners,
    "Claims",
    "ComputationNode",
    "Cost",
    "Executable",
    "GraphError",
    "Leaf",
    "PlannerError",
    "Program",
    "Recording",
    "Schedule",
    "ScheduleError",
    "ShapeError",
    "Spec",
    "TapemeasureError",
    "backward_algorithm",
    "build_graph",
    "check_schedule",
    "execute",
    "forward_algorithm",
    "gradients",
    "linearize",
    "networks",
]
