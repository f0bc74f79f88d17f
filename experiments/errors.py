"""Errors of the experiments: a config that cannot be run, a directory that holds no sweep."""

from autodiff.errors import TapemeasureError


class ConfigError(TapemeasureError):
    """A key of the config has a value that cannot be; the message names the key."""


class ResultsError(TapemeasureError):
    """A directory does not hold what a report needs."""


class ModuleError(TapemeasureError):
    """A module cannot be built, or its step cannot be run, as asked."""


class FakeTensorError(ModuleError):
    """A step needs the values of tensors, which fake ones do not have."""
