"""Planners as strings: built-in ones by name, user-defined ones by import path.

    name                       a built-in planner with its defaults name(key=value, …)
    arguments are Python literals; sizes may have units: revolve(max_bytes=1.5MiB)
    package.module:Name(…)     a class or a function that makes a planner, called with the arguments
    package.module:name        a class, called without arguments, or a function that is itself a
    planner package.module.Name(…)     the same with a dot

`str(planner)` is the canonical string, and parses back to an equal planner. Arguments are read as
literals and never evaluated. `parse_planner` imports the module that an import path names; use it
only for text that the user typed. `parse_builtin_planner` and `describe_planner` never import
anything; use these for text from a file.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any, get_args

from autodiff.checkpointing.budget import Budget
from autodiff.checkpointing.online import Online
from autodiff.checkpointing.optimal import Optimal
from autodiff.checkpointing.proven import Proven
from autodiff.checkpointing.recompute_all import RecomputeAll
from autodiff.checkpointing.revolve import Revolve
from autodiff.checkpointing.selective import Selective
from autodiff.checkpointing.store_all import StoreAll
from autodiff.checkpointing.two_levels import HRevolve
from autodiff.checkpointing.uniform import Uniform
from autodiff.checkpointing.units import SIZE, bytes_of
from autodiff.errors import PlannerError
from autodiff.levels import movable, moves_of
from autodiff.program import Program
from autodiff.schedule import Schedule

Planner = Callable[[Program], Schedule]
BuiltinPlanner = (
    StoreAll
    | RecomputeAll
    | Uniform
    | Revolve
    | HRevolve
    | Online
    | Selective
    | Optimal
    | Proven
    | Budget
)

PLANNERS: dict[str, Callable[..., BuiltinPlanner]] = {
    family.name: family for family in get_args(BuiltinPlanner)
}

_CALL = re.compile(
    r"(?P<name>[A-Za-z_][\w.]*(?::[A-Za-z_][\w.]*)?)\s*(?P<call>\((?P<arguments>.*)\))?", re.DOTALL
)
_QUOTED_OR_SIZE = re.compile(r"""(?P<quoted>'[^']*'|"[^"]*")|(?<![\w.])""" + SIZE.pattern)


@dataclass(frozen=True)
class PlannerDescription:
    """What a planner's string says, as fields; a number is None where the string does not give it.

    `name` is a key of `PLANNERS`, or the import path `module:Name` of a user-defined planner.
    """

    name: str
    segments: int | None = None
    snapshots: int | None = None
    max_bytes: int | None = None
    max_ops_ratio: float | None = None

    @property
    def is_builtin(self) -> bool:
        """Return whether the planner is one of `PLANNERS`."""
        return self.name in PLANNERS


@dataclass(frozen=True)
class ImportedPlanner:
    """A user-defined planner; its import path and arguments make its canonical string."""

    name: str
    arguments: str | None
    planner: Planner = field(compare=False, repr=False)

    def __str__(self) -> str:
        """Return the canonical string."""
        return self.name if self.arguments is None else f"{self.name}({self.arguments})"

    def __call__(self, program: Program) -> Schedule:
        """Return the user's schedule, labelled with the canonical string.

        Raises PlannerError if the planner returns anything but a Schedule.
        """
        schedule = self.planner(program)
        if not isinstance(schedule, Schedule):
            raise PlannerError(
                f"{self} returned a {type(schedule).__name__}; expected an autodiff.Schedule; "
                "return one from the planner"
            )
        return replace(schedule, planner=str(self))


@dataclass(frozen=True)
class _Call:
    """A planner's string taken apart: the name, whether it is called, and the literal arguments."""

    text: str
    name: str
    is_called: bool
    positional: tuple[Any, ...]
    named: dict[str, Any]

    @property
    def is_path(self) -> bool:
        """Return whether the name is an import path."""
        return self.name not in PLANNERS and (":" in self.name or "." in self.name)

    @property
    def module_and_attribute(self) -> tuple[str, str]:
        """Return the two halves of an import path."""
        if ":" in self.name:
            module, _, attribute = self.name.partition(":")
        else:
            module, _, attribute = self.name.rpartition(".")
        return module, attribute


def planner_of(given: Planner | str | None) -> Planner:
    """Return a planner itself, or the one that a text names; without either, `StoreAll`."""
    if given is None:
        return StoreAll()
    return parse_planner(given) if isinstance(given, str) else given


def planned(program: Program, given: Planner | str | None) -> tuple[Program, Schedule]:
    """Return the schedule of a planner, or of the one that a text names, and its program.

    For `HRevolve` that is the program with moves to the disk, unless it has moves already; for all
    others it is the given one. Raises PlannerError as the planner does.
    """
    planner = planner_of(given)
    if isinstance(planner, HRevolve) and not moves_of(program):
        program = movable(program)
    return program, planner(program)


def parse_planner(text: str) -> BuiltinPlanner | ImportedPlanner:
    """Return the planner that a string names.

    An import path is imported, so the text must be trusted.
    Raises PlannerError if the text names no planner, the import fails, or the planner refuses its
    arguments.
    """
    call = _parsed(text)
    if not call.is_path:
        return _builtin(call)
    module, attribute = call.module_and_attribute
    found = _imported(call.text, module, attribute)
    is_made = call.is_called or inspect.isclass(found)
    planner = _made(call, found) if is_made else found
    if not callable(planner):
        raise PlannerError(
            f"planner {text!r} is a {type(planner).__name__}; expected something that is called "
            "with a program; see docs/checkpointing.md"
        )
    written = ", ".join(
        [*map(repr, call.positional), *(f"{key}={value!r}" for key, value in call.named.items())]
    )
    has_arguments = call.is_called and (written or not inspect.isclass(found))
    return ImportedPlanner(f"{module}:{attribute}", written if has_arguments else None, planner)


def parse_builtin_planner(text: str) -> BuiltinPlanner:
    """Return the built-in planner that a string names; nothing is imported, whatever the text says.

    Raises PlannerError if the text names no built-in planner or gives it wrong arguments.
    """
    return _builtin(_parsed(text))


def describe_planner(text: str) -> PlannerDescription:
    """Return the name and the numbers in a planner's string.

    An import path is not imported; only its name is returned.
    Raises PlannerError if the text names no planner.
    """
    call = _parsed(text)
    if call.is_path:
        return PlannerDescription(":".join(call.module_and_attribute))
    planner = _builtin(call)
    numbers = {one.name for one in fields(PlannerDescription)} & {
        one.name for one in fields(planner)
    }
    return PlannerDescription(planner.name, **{name: getattr(planner, name) for name in numbers})


def _parsed(text: str) -> _Call:
    match = _CALL.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        raise PlannerError(
            f"planner {text!r}; expected a name such as store_all, revolve(snapshots=3) or "
            "package.module:Name(key=value)"
        )
    positional, named = _arguments(text, match["arguments"] or "")
    return _Call(text, match["name"], match["call"] is not None, tuple(positional), named)


def _builtin(call: _Call) -> BuiltinPlanner:
    if call.name in PLANNERS:
        made: BuiltinPlanner = _made(call, PLANNERS[call.name])
        return made
    near = difflib.get_close_matches(call.name, PLANNERS, 1)
    hint = (
        f"did you mean {near[0]}?"
        if near
        else "give one of these, or an import path such as package.module:Name"
    )
    if call.is_path:
        hint = "an import path is not followed here"
    raise PlannerError(f"planner {call.name!r}; expected one of {', '.join(PLANNERS)}; {hint}")


def _arguments(text: str, arguments: str) -> tuple[list[Any], dict[str, Any]]:
    """Return positional and named arguments, each read as a literal."""
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
            f"planner {text!r}: its arguments were not understood; expected literals such as "
            "snapshots=3 or max_bytes=1MiB"
        ) from None


def _plain(match: re.Match[str]) -> str:
    """Return a size as its number of bytes; quoted text and fractions of a byte stay as written."""
    if match["quoted"]:
        return match[0]
    nbytes = bytes_of(match[0])
    return match[0] if nbytes is None else str(nbytes)


def _made(call: _Call, make: Callable[..., Any]) -> Any:
    """Return what `make` returns for the arguments, after checking that it takes them."""
    try:
        signature = inspect.signature(make)
    except (TypeError, ValueError):
        raise PlannerError(
            f"planner {call.text!r} is a {type(make).__name__}, which cannot be called; give a "
            "class or a function"
        ) from None
    try:
        signature.bind(*call.positional, **call.named)
    except TypeError as error:
        takes = ", ".join(signature.parameters) or "nothing"
        raise PlannerError(f"planner {call.text!r}: {error}; it takes {takes}") from None
    return make(*call.positional, **call.named)


def _imported(text: str, module: str, attribute: str) -> Any:
    """Return what an import path names."""
    try:
        found = importlib.import_module(module)
    except Exception as error:  # importing a user's module may raise anything
        raise PlannerError(
            f"planner {text!r}: importing {module} failed: {error}; expected an importable module"
        ) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise PlannerError(
                f"planner {text!r}: {module} has no {attribute}; give the name of a planner that "
                "it has"
            )
        found = getattr(found, part)
    return found
