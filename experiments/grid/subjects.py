"""The networks whose plans are compared, from config keys: the exercise's chain and two others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from experiments.errors import ConfigError
from experiments.keys import known_keys, mapping, positive, seconds

SUBJECTS: Mapping[str, Mapping[str, int]] = {
    "chain": {"n": 32, "d": 128, "b": 512},
    "gpt2": {"layers": 2, "d": 128, "seq": 128, "batch": 4, "vocab": 512},
    "unet": {"size": 64, "batch": 2},
}
"""The sizes of each network where a config does not give them."""


@dataclass(frozen=True)
class Subject:
    """A network and its sizes."""

    name: str
    sizes: tuple[tuple[str, int], ...]

    @property
    def shape(self) -> str:
        """The sizes in words."""
        return ", ".join(f"{name} = {size:,}" for name, size in self.sizes)


@dataclass(frozen=True)
class BestPlans:
    """Whose plans are compared, and for how long a proof is searched for; 0: none."""

    subjects: tuple[Subject, ...]
    proof_seconds: float


def best_plans(key: str, value: Any) -> BestPlans:
    """Return the subjects that a config names; raise ConfigError for a wrong key or value."""
    given = mapping(key, value)
    known_keys(f"{key}.", given, (*SUBJECTS, "proof_seconds"))
    subjects = [
        _subject(f"{key}.{name}", name, given[name])
        for name in SUBJECTS
        if given.get(name) is not None
    ]
    if not subjects:
        raise ConfigError(
            f"{key} names no network; expected one of {', '.join(SUBJECTS)}; give one, or null"
        )
    asked = given.get("proof_seconds")
    return BestPlans(
        tuple(subjects), 0.0 if asked is None else seconds(f"{key}.proof_seconds", asked)
    )


def _subject(key: str, name: str, value: Any) -> Subject:
    sizes = mapping(key, value)
    known_keys(f"{key}.", sizes, SUBJECTS[name])
    whole = {**SUBJECTS[name], **sizes}
    return Subject(name, tuple((size, positive(f"{key}.{size}", whole[size])) for size in whole))
