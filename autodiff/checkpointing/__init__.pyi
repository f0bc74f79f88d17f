from . import conventions as conventions
from .binomial import (
    Action as Action,
    advances as advances,
    beta as beta,
    binomial_actions as binomial_actions,
    binomial_schedule as binomial_schedule,
    repetitions as repetitions,
)
from .budget import Budget as Budget
from .cells import Cells as Cells, find_cells as find_cells
from .csv_schedule import read_schedule as read_schedule, write_schedule as write_schedule
from .exchange import actions_of_plan as actions_of_plan, plan_from_actions as plan_from_actions
from .online import Online as Online
from .optimal import Optimal as Optimal
from .parse import (
    PLANNERS as PLANNERS,
    Planner as Planner,
    PlannerDescription as PlannerDescription,
    describe_planner as describe_planner,
    parse_builtin_planner as parse_builtin_planner,
    parse_planner as parse_planner,
)
from .proven import Proven as Proven
from .recompute_all import RecomputeAll as RecomputeAll
from .revolve import Revolve as Revolve
from .selective import Selective as Selective
from .store import Tape as Tape, schedule_from_plan as schedule_from_plan
from .store_all import StoreAll as StoreAll
from .two_levels import HRevolve as HRevolve
from .uniform import Uniform as Uniform
