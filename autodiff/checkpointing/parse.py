"""Planners as strings: `revolve(snapshots=3)`, `uniform(segments=8)`, `store_all`, and anybody's own by its import path.

    name                       a planner of this package, with its defaults
    name(key=value, …)         arguments are Python literals; sizes may have units: revolve(max_bytes=1.5MiB)
    package.module:Name(…)     a class or a function that makes a planner, called with the arguments
    package.module:name        a class, called without arguments, or a function that is itself a planner
    package.module.Name(…)     the same with a dot

`str(planner)` is the canonical string, and reads back as an equal planner. Nothing is evaluated: arguments are read as literals, and
an import path imports its module, as any import does.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from autodiff.checkpointing.recompute_all import RecomputeAll
from autodiff.checkpointing.revolve import Revolve
from autodiff.checkpointing.store_all import StoreAll
from autodiff.checkpointing.uniform import Uniform
from autodiff.checkpointing.units import SIZE, bytes_of
from autodiff.errors import PlannerError
from autodiff.program import Program
from autodiff.schedule import Schedule

Planner = Callable[[Program], Schedule]

PLANNERS: dict[str, Callable[..., Planner]] = {
    "store_all": StoreAll,
    "recompute_all": RecomputeAll,
    "uniform": Uniform,
    "revolve": Revolve,
}

_CALL = re.compile(
    r"(?P<name>[A-Za-z_][\w.]*(?::[A-Za-z_][\w.]*)?)\s*(?P<call>\((?P<arguments>.*)\))?", re.DOTALL
)
_QUOTED_OR_SIZE = re.compile(r"""(?P<quoted>'[^']*'|"[^"]*")|(?<![\w.])""" + SIZE.pattern)


@dataclass(frozen=True)
class ImportedPlanner:
    """A planner from elsewhere, known by its import path and its arguments: these make its canonical string."""

    path: str
    arguments: str | None
    planner: Planner = field(compare=False, repr=False)

    def __str__(self) -> str:
        return self.path if self.arguments is None else f"{self.path}({self.arguments})"

    def __call__(self, program: Program) -> Schedule:
        schedule = self.planner(program)
        if not isinstance(schedule, Schedule):
            raise PlannerError(
                f"{self} returned a {type(schedule).__name__}; expected an autodiff.Schedule; return one from the planner"
            )
        return replace(schedule, planner=str(self))


def parse_planner(text: str) -> Planner:
    """The planner that a string names.

    Raises PlannerError, one line, where the string is no planner's, the import fails, or the planner refuses its arguments.
    """
    match = _CALL.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        raise PlannerError(
            f"planner {text!r}; expected a name such as store_all, revolve(snapshots=3) or package.module:Name(key=value)"
        )
    name, called = match["name"], match["call"] is not None
    positional, named = _arguments(text, match["arguments"] or "")
    if name in PLANNERS:
        registered: Planner = _made(text, PLANNERS[name], positional, named)
        return registered
    if ":" not in name and "." not in name:
        near = difflib.get_close_matches(name, PLANNERS, 1)
        hint = (
            f"did you mean {near[0]}?"
            if near
            else "give one of these, or an import path such as package.module:Name"
        )
        raise PlannerError(f"planner {name!r}; expected one of {', '.join(PLANNERS)}; {hint}")
    module, _, attribute = name.partition(":") if ":" in name else name.rpartition(".")
    found = _imported(text, module, attribute)
    planner = _made(text, found, positional, named) if called or inspect.isclass(found) else found
    if not callable(planner):
        raise PlannerError(
            f"planner {text!r} is a {type(planner).__name__}; expected something that is called with a program; see docs/checkpointing.md"
        )
    written = ", ".join(
        [*map(repr, positional), *(f"{key}={value!r}" for key, value in named.items())]
    )
    return ImportedPlanner(
        f"{module}:{attribute}",
        written if called and (written or not inspect.isclass(found)) else None,
        planner,
    )


def _arguments(text: str, arguments: str) -> tuple[list[Any], dict[str, Any]]:
    """Positional and named arguments, each a literal."""
    try:
        call = ast.parse(f"_({_QUOTED_OR_SIZE.sub(_plain, arguments)})", mode="eval").body
        assert isinstance(call, ast.Call)
        named = {
            str(keyword.arg): ast.literal_eval(keyword.value)
            for keyword in call.keywords
            if keyword.arg is not None
        }
        if len(named) != len(call.keywords) or not (
            isinstance(call.func, ast.Name) and call.func.id == "_"
        ):
            raise ValueError
        return [ast.literal_eval(argument) for argument in call.args], named
    except (SyntaxError, ValueError, AssertionError, TypeError, RecursionError, MemoryError):
        raise PlannerError(
            f"planner {text!r}: its arguments were not understood; expected literals such as snapshots=3 or max_bytes=1MiB"
        ) from None


def _plain(match: re.Match[str]) -> str:
    """A size as its number of bytes; what is quoted, or no whole number of bytes, stays as it is."""
    if match["quoted"]:
        return match[0]
    nbytes = bytes_of(match[0])
    return match[0] if nbytes is None else str(nbytes)


def _made(text: str, make: Callable[..., Any], positional: list[Any], named: dict[str, Any]) -> Any:
    """What `make` makes of the arguments, where it takes them."""
    try:
        signature = inspect.signature(make)
    except (TypeError, ValueError):
        raise PlannerError(
            f"planner {text!r} is a {type(make).__name__}, which cannot be called; give a class or a function"
        ) from None
    try:
        signature.bind(*positional, **named)
    except TypeError as error:
        takes = ", ".join(signature.parameters) or "nothing"
        raise PlannerError(f"planner {text!r}: {error}; it takes {takes}") from None
    return make(*positional, **named)


def _imported(text: str, module: str, attribute: str) -> Any:
    """What an import path names."""
    try:
        found = importlib.import_module(module)
    except (
        Exception
    ) as error:  # whatever a module does when it is imported, the planner is not to be had
        raise PlannerError(
            f"planner {text!r}: importing {module} failed: {error}; expected an importable module"
        ) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise PlannerError(
                f"planner {text!r}: {module} has no {attribute}; give the name of a planner that it has"
            )
        found = getattr(found, part)
    return found
