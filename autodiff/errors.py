"""The common root of every error that this project raises on purpose.

A message is one line: what was given, what was expected, and what to do about it.
"""

from typing import Any


class TapemeasureError(Exception):
    """Anything that the user can fix; its message is one line."""


class ShapeError(TapemeasureError):
    """Shapes, dtypes or layouts of an op's inputs do not go together."""


class GraphError(TapemeasureError):
    """A graph cannot be run or differentiated as asked."""


class ValuesError(GraphError):
    """A step asks for the values of tensors that have none."""


class ScheduleError(TapemeasureError):
    """A schedule is illegal for its program, or breaks its own claims."""


class PlannerError(TapemeasureError):
    """A planner cannot plan the program within the limits that it was given."""


class BudgetError(PlannerError):
    """No plan of a planner stays within its bytes; it has what the least would be.

    `schedule` is the schedule with the lowest peak, `peak_bytes` its peak.
    """

    def __init__(self, message: str, schedule: Any, peak_bytes: int) -> None:
        super().__init__(message)
        self.schedule = schedule
        self.peak_bytes = peak_bytes


_LONGEST_LINE = 300


def one_line(error: BaseException) -> str:
    """Return an exception's type and the first line of its message, in 300 characters at most."""
    lines = str(error).strip().splitlines()
    text = f"{type(error).__name__}: {lines[0].strip()}" if lines else type(error).__name__
    return text if len(text) <= _LONGEST_LINE else text[: _LONGEST_LINE - 1] + "…"
