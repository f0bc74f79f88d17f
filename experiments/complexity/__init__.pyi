from .config import StudyConfig as StudyConfig, study_config as study_config
from .formulas import (
    Complexity as Complexity,
    Formula as Formula,
    Found as Found,
    read_complexity as read_complexity,
)
from .running import run_task as run_task, studied as studied
