from . import networks as networks
from .algorithms import (
    backward_algorithm as backward_algorithm,
    forward_algorithm as forward_algorithm,
    gradients as gradients,
)
from .check import check_schedule as check_schedule
from .checkpointing import conventions as conventions
from .checkpointing.binomial import (
    Action as Action,
    advances as advances,
    beta as beta,
    binomial_actions as binomial_actions,
    binomial_schedule as binomial_schedule,
    repetitions as repetitions,
)
from .checkpointing.budget import Budget as Budget
from .checkpointing.cells import Cells as Cells, find_cells as find_cells
from .checkpointing.csv_schedule import (
    read_schedule as read_schedule,
    write_schedule as write_schedule,
)
from .checkpointing.exchange import (
    actions_of_plan as actions_of_plan,
    plan_from_actions as plan_from_actions,
)
from .checkpointing.online import Online as Online
from .checkpointing.optimal import Optimal as Optimal
from .checkpointing.parse import (
    PLANNERS as PLANNERS,
    Planner as Planner,
    PlannerDescription as PlannerDescription,
    describe_planner as describe_planner,
    parse_builtin_planner as parse_builtin_planner,
    parse_planner as parse_planner,
)
from .checkpointing.proven import Proven as Proven
from .checkpointing.recompute_all import RecomputeAll as RecomputeAll
from .checkpointing.revolve import Revolve as Revolve
from .checkpointing.selective import Selective as Selective
from .checkpointing.store import Tape as Tape, schedule_from_plan as schedule_from_plan
from .checkpointing.store_all import StoreAll as StoreAll
from .checkpointing.two_levels import HRevolve as HRevolve
from .checkpointing.uniform import Uniform as Uniform
from .cost import Cost as Cost
from .errors import (
    BudgetError as BudgetError,
    GraphError as GraphError,
    PlannerError as PlannerError,
    ScheduleError as ScheduleError,
    ShapeError as ShapeError,
    TapemeasureError as TapemeasureError,
    ValuesError as ValuesError,
)
from .executable import Executable as Executable, execute as execute
from .levels import movable as movable
from .ops import (
    Add as Add,
    AddBias as AddBias,
    Cast as Cast,
    Columns as Columns,
    ComputationNode as ComputationNode,
    Div as Div,
    Exp as Exp,
    ExpandAxis as ExpandAxis,
    Fill as Fill,
    Gelu as Gelu,
    GeluGradient as GeluGradient,
    HalfSumOfSquares as HalfSumOfSquares,
    IntPow as IntPow,
    Leaf as Leaf,
    Log as Log,
    LogSoftmax as LogSoftmax,
    LogSoftmaxGradient as LogSoftmaxGradient,
    Matexpand as Matexpand,
    Matmul as Matmul,
    Matsum as Matsum,
    Mean as Mean,
    Mul as Mul,
    Negate as Negate,
    PadColumns as PadColumns,
    Pick as Pick,
    PickGradient as PickGradient,
    Pow as Pow,
    Relu as Relu,
    ReluGradient as ReluGradient,
    Sigmoid as Sigmoid,
    SigmoidGradient as SigmoidGradient,
    Subtract as Subtract,
    SumAxis as SumAxis,
    Tanh as Tanh,
    TanhGradient as TanhGradient,
    Transpose as Transpose,
    build_graph as build_graph,
    cross_entropy as cross_entropy,
    squared_error as squared_error,
)
from .program import Program as Program, linearize as linearize
from .recording import Recording as Recording
from .schedule import Claims as Claims, Schedule as Schedule
from .spec import Spec as Spec
