"""What backpropagation costs: operations, live bytes, seconds; measured, predicted from shapes, and witnessed."""

from profiler.fold import Prediction
from profiler.predict import predict, predict_formula, predict_grid
from profiler.profile import Profile, profile, profile_schedule, program_of
from profiler.pytorch import profile_step
from profiler.savings import planner_savings, savings_text

__all__ = [
    "Prediction",
    "Profile",
    "planner_savings",
    "predict",
    "predict_formula",
    "predict_grid",
    "profile",
    "profile_schedule",
    "profile_step",
    "program_of",
    "savings_text",
]
