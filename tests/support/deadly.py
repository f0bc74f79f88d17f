"""Planners for the tests of sweeps that survive: each is a planner whose making or planning does
something terrible.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import time

import psutil

from autodiff import StoreAll
from autodiff.program import Program
from autodiff.schedule import Schedule


def killed(program: Program) -> Schedule:
    """Kills the process that plans, as a system does that has run out of memory."""
    os.kill(os.getpid(), signal.SIGKILL)
    return StoreAll()(program)


def killing_the_job(program: Program) -> Schedule:
    """Kills the process of the job, which waits for the one that plans."""
    above = psutil.Process().parents()
    next(one for one in above if "forkserver" not in " ".join(one.cmdline())).kill()
    time.sleep(60)
    return StoreAll()(program)


def crashing(program: Program) -> Schedule:
    """Ends the process without a word, as a crash in a library does."""
    os._exit(3)


def hoarding(program: Program) -> Schedule:
    """Takes more memory than its process may have: 256 MiB more than what it holds already."""
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + (256 << 20),) * 2)
    held = [bytearray(64 << 20)]
    while True:
        held.append(bytearray(64 << 20))


def endless(program: Program) -> Schedule:
    """Never comes back."""
    while True:
        time.sleep(60)


def leaving(program: Program) -> Schedule:
    """Leaves, as a script does that has seen enough."""
    sys.exit(3)


def faulty(program: Program) -> Schedule:
    """Has a fault of its own, of a kind that nobody expects."""
    raise KeyError("a fault\nof two lines")


def endless_from_two(program: Program) -> Schedule:
    """Never comes back, but for a network of one layer."""
    return (
        endless(program)
        if sum(value.role == "parameter" for value in program.values) > 1
        else StoreAll()(program)
    )


def waiting(program: Program) -> Schedule:
    """Waits until the file that DEADLY_GO names is there."""
    while not os.path.exists(os.environ["DEADLY_GO"]):
        time.sleep(0.01)
    return StoreAll()(program)
