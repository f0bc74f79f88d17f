"""The common root of every error that this project raises on purpose.

A message is one line: what was given, what was expected, and what to do about it.
"""


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


_LONGEST_LINE = 300


def one_line(error: BaseException) -> str:
    """Return an exception's type and the first line of its message, in 300 characters at most."""
    lines = str(error).strip().splitlines()
    text = f"{type(error).__name__}: {lines[0].strip()}" if lines else type(error).__name__
    return text if len(text) <= _LONGEST_LINE else text[: _LONGEST_LINE - 1] + "…"
