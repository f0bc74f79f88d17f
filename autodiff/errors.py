"""The one root of every error that this project raises on purpose.

A message is one line: what was given, what was expected, and what to do about it.
"""


class TapemeasureError(Exception):
    """Anything that the caller can mend; its message is one line."""


class ShapeError(TapemeasureError):
    """Shapes, dtypes or layouts of an op's inputs do not go together."""


class GraphError(TapemeasureError):
    """A graph cannot be run or differentiated as asked."""


class ScheduleError(TapemeasureError):
    """A schedule is illegal for its program, or breaks its own claims."""


class PlannerError(TapemeasureError):
    """A planner cannot serve the program or the limits that it was given."""
