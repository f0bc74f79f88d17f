"""Errors of the experiments, and what any error says in one line."""

from __future__ import annotations

import errno

from autodiff.errors import TapemeasureError, one_line as with_type


class ConfigError(TapemeasureError):
    """A key of the config has a value that it cannot have; the message names the key."""


class ResultsError(TapemeasureError):
    """A directory does not hold what a report needs."""


class ModuleError(TapemeasureError):
    """A module cannot be built, or its step cannot be run, as asked."""


class FakeTensorError(ModuleError):
    """A step needs the values of tensors, which fake ones do not have."""


def one_line(error: BaseException) -> str:
    """Return what an error says in one line: its message, with its type unless it is one of ours.

    An error of the system is the file and what the system says of it.
    """
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, TapemeasureError):
        return " ".join(str(error).split())
    return with_type(error)


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_LOCKED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR)


def disk_advice(error: OSError) -> str:
    """Return what to do about an error while a file was written, empty if it is another kind."""
    if error.errno in _FULL:
        return "free disk space"
    return "make the directory writable" if error.errno in _LOCKED else ""


def is_the_launchers(error: BaseException) -> bool:
    """Return whether a launcher raised an error in the middle of a point to end the whole job.

    submitit does so when a job's time is over.
    """
    return type(error).__module__.split(".")[0] == "submitit"
