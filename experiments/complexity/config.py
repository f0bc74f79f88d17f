"""The variables of a study as typed values: what each one changes, its letter, its values.

A variable is `batch`, `sequence` (the first dimension of every input of whole numbers that is as
long as the first such), a dimension of an input (`pixel_values.1`), or an argument of the model
(`n_embd`, and `hidden_sizes.0` for an item of a list).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from omegaconf import OmegaConf

from experiments.errors import ConfigError
from experiments.keys import boolean, known_keys, mapping, positive
from experiments.modules.config import ModuleConfig, module_config

BATCH, SEQUENCE = "batch", "sequence"
_LETTER = re.compile(r"[A-Za-z](?:_?[A-Za-z0-9]+)?")
_TAKEN = ("E", "I", "N", "O", "Q", "S")
"""Letters that sympy reads as something of its own."""


@dataclass(frozen=True)
class Variable:
    """What is varied under which letter; `full` is its value in the config itself.

    `unit` is the step between values, None where the study finds it; `values` are the user's own.
    """

    name: str
    letter: str
    full: int
    unit: int | None
    values: tuple[int, ...]


@dataclass(frozen=True)
class StudyConfig:
    """A study: the unresolved config of a step, its variables, and whether to check at full size.

    `checkpoint` are the patterns under which a further run of the step is measured.
    """

    plain: dict[str, Any]
    variables: tuple[Variable, ...]
    check: bool

    def at(self, shape: Sequence[int]) -> ModuleConfig:
        """Return the config of the step at one value of each variable."""
        given = deepcopy(self.plain)
        for variable, value in zip(self.variables, shape, strict=True):
            _set(given, variable.name, value)
        return module_config(_resolved(given))

    @property
    def letters(self) -> tuple[str, ...]:
        """Return the letters of the variables, in their order."""
        return tuple(variable.letter for variable in self.variables)

    @property
    def full(self) -> tuple[int, ...]:
        """Return the shape that the config itself describes."""
        return tuple(variable.full for variable in self.variables)


def study_config(given: Mapping[str, Any]) -> StudyConfig:
    """Return the study of a plain, unresolved mapping; raise ConfigError for a wrong key or value.

    `given` has the keys of `experiments.profile_module`, and `vary` and `check`.
    """
    plain = dict(given)
    vary = mapping("vary", plain.pop("vary", None))
    check = boolean("check", plain.pop("check", True))
    if not vary:
        raise ConfigError(
            "vary is not given; expected a letter for each variable, such as "
            "'vary={n_layer: L, n_embd: d, batch: b, sequence: s}'"
        )
    module_config(_resolved(plain))
    variables = tuple(_variable(plain, str(name), value) for name, value in vary.items())
    letters = [variable.letter for variable in variables]
    if len(set(letters)) < len(letters):
        raise ConfigError(f"vary has the letters {', '.join(letters)}; expected each one once")
    return StudyConfig(plain, variables, check)


def _variable(plain: dict[str, Any], name: str, value: Any) -> Variable:
    key = f"vary.{name}"
    given = value if isinstance(value, Mapping) else {"letter": value}
    known_keys(f"{key}.", given, ("letter", "unit", "values"))
    letter = given.get("letter")
    if not isinstance(letter, str) or not _LETTER.fullmatch(letter) or letter in _TAKEN:
        raise ConfigError(
            f"{key}={letter!r}; expected a letter such as L or d_ff, other than {', '.join(_TAKEN)}"
        )
    full = _get(_resolved(plain), name)
    if isinstance(full, bool) or not isinstance(full, int):
        raise ConfigError(
            f"{key} varies {name}, which is {full!r}; expected batch, sequence, a dimension of an "
            "input such as input_ids.0, or an argument of the model that is given as a whole number"
        )
    unit = None if given.get("unit") is None else positive(f"{key}.unit", given["unit"])
    values = given.get("values") or ()
    if not isinstance(values, list | tuple) or (values and len(values) < 3):
        raise ConfigError(f"{key}.values={values!r}; expected at least three, such as [2,3,4]")
    numbers = tuple(sorted({positive(f"{key}.values", one) for one in values}))
    return Variable(name, letter, full, unit, numbers)


def _resolved(plain: dict[str, Any]) -> dict[str, Any]:
    found: Any = OmegaConf.to_container(OmegaConf.create(plain), resolve=True)
    return dict(found)


def _own_spec(plain: Mapping[str, Any], resolved: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return an input's spec with a list of its own; dimensions that refer to others still do."""
    given = _inputs(plain).get(name)
    if isinstance(given, Mapping) and isinstance(given.get("shape"), list):
        return deepcopy(dict(given))
    return deepcopy(dict(_inputs(resolved)[name]))


def _inputs(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return the specs of the inputs by name; the first argument of forward is `input`."""
    named = {name: spec for name, spec in (plain.get("inputs") or {}).items() if spec is not None}
    first = plain.get("input") or {}
    return ({"input": first} if first.get("shape") is not None else {}) | named


def _sequences(resolved: Mapping[str, Any]) -> list[str]:
    """Return the inputs of whole numbers whose first dimension is the sequence."""
    shapes = {
        name: spec["shape"]
        for name, spec in _inputs(resolved).items()
        if "int" in str(spec.get("dtype")) and spec["shape"]
    }
    first = next(iter(shapes.values()), [None])[0]
    return [name for name, shape in shapes.items() if shape[0] == first]


def _get(resolved: dict[str, Any], name: str) -> Any:
    """Return the value of a variable in a config, None where there is none."""
    if name == BATCH:
        return resolved.get("batch", 8)
    inputs = _inputs(resolved)
    if name == SEQUENCE:
        names = _sequences(resolved)
        return inputs[names[0]]["shape"][0] if names else None
    head, _, place = name.rpartition(".")
    if head in inputs and place.isdigit():
        shape = inputs[head]["shape"]
        return shape[int(place)] if int(place) < len(shape) else None
    found: Any = (resolved.get("model") or {}).get("arguments") or {}
    for part in name.split("."):
        found = _item(found, part)
    return found


def _item(held: Any, part: str) -> Any:
    if isinstance(held, Mapping):
        return held.get(part)
    if isinstance(held, list) and part.isdigit() and int(part) < len(held):
        return held[int(part)]
    return None


def _set(plain: dict[str, Any], name: str, value: int) -> None:
    """Set a variable in an unresolved config, so that what refers to it follows."""
    if name == BATCH:
        plain["batch"] = value
        return
    resolved = _resolved(plain)
    head, _, place = name.rpartition(".")
    if name == SEQUENCE or (head in _inputs(resolved) and place.isdigit()):
        for one in _sequences(resolved) if name == SEQUENCE else [head]:
            spec = _own_spec(plain, resolved, one)
            spec["shape"][0 if name == SEQUENCE else int(place)] = value
            if one == "input":
                plain["input"] = spec
            else:
                plain["inputs"][one] = spec
        return
    held: Any = plain["model"]["arguments"]
    *above, last = name.split(".")
    for part in above:
        held = held[int(part)] if isinstance(held, list) else held[part]
    if isinstance(held, list):
        held[int(last)] = value
    else:
        held[last] = value
