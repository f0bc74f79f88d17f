"""Errors of the experiments: a config that cannot be run, a directory that holds no sweep."""

from __future__ import annotations

from autodiff.errors import TapemeasureError


class ConfigError(TapemeasureError):
    """A key of the config has a value that cannot be; the message names the key."""


class ResultsError(TapemeasureError):
    """A directory does not hold what a report needs."""


class ModuleError(TapemeasureError):
    """A module cannot be built, or its step cannot be run, as asked."""


class FakeTensorError(ModuleError):
    """A step needs the values of tensors, which fake ones do not have."""


def one_line(error: BaseException) -> str:
    """What an error says, in one line: a file and what the system says of it, or the message, with the type where it is none of ours."""

    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    said = " ".join(str(error).split())
    return (
        said
        if isinstance(error, TapemeasureError)
        else f"{type(error).__name__}: {said}".rstrip(": ")
    )


def is_the_launchers(error: BaseException) -> bool:
    """Whether an error is a launcher's word to the whole job, raised in the middle of whatever runs: submitit's, when a job's time is over."""
    return type(error).__module__.split(".")[0] == "submitit"
