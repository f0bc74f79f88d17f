from .animation import Animation as Animation, animate_schedule as animate_schedule
from .applying.compiling import backend as backend
from .applying.model import checkpointed as checkpointed
from .applying.plans import Plan as Plan, Plans as Plans
from .comparing import Comparison as Comparison, compare as compare
from .folding import Prediction as Prediction
from .frontier import operations_bound as operations_bound, plot_frontier as plot_frontier
from .graphs import profile as profile, profile_schedule as profile_schedule
from .measurement import Profile as Profile
from .prediction import (
    predict as predict,
    predict_formula as predict_formula,
    predict_grid as predict_grid,
)
from .programs import program_of as program_of
from .pytorch.steps import profile_step as profile_step
from .savings import planner_savings as planner_savings, savings_text as savings_text
from .seconds import measured_seconds as measured_seconds
from .summarizing import Summary as Summary, summary as summary
