"""How this field counts snapshots and steps, and how to get from one count to another.

Here s is Revolve's: the states held at once, **the initial state among them**, the working state
**not** (that is the state which a step has just been run to, or from which it is being reversed). t
counts advances only. See `binomial`, which defines both.

| who | memory | time |
|---|---|---|
| Revolve, `pyrevolve` | s | `scheduler.ratio` = t/n: `advances_per_step` |
| `checkpoint-schedules` | s | `optimal_extra_steps` = t; `optimal_steps` |
| k segments of n steps | k + ⌈n/k⌉ − 2: `segments_to_snapshots` | |
| Rotor | s + what one reversal takes: `snapshots_to_rotor` | `optimal_steps`, one tape at a time |
| bytes without the given input | (s − 1) · bytes of a state: `snapshots_to_bytes` | |

Sources: Griewank and Walther 2000 (Algorithm 799); Chen et al. 2016, "Training deep nets with
sublinear memory cost" (segments); Beaumont, Eyraud-Dubois, Herrmann, Joly and Shilova 2019,
"Optimal checkpointing for heterogeneous chains" (Rotor).

It ignores programs, so every state has the same size, and gradients and temporaries count only
where it says so: what a plan really holds follows from its liveness.
"""

from math import isqrt

from autodiff.checkpointing.binomial import advances, whole_number
from autodiff.errors import PlannerError


def optimal_steps(n: int, s: int) -> int:
    """Return t(n, s) + n, every run of a step: the advances and the n reversed runs.

    This is `optimal_steps_binomial` of checkpoint-schedules, which refuses s ≥ n where we know that
    more snapshots than n − 1 do not help.
    """
    return advances(n, s) + n


def advances_per_step(n: int, s: int) -> float:
    """Return t(n, s)/n, the `ratio` of pyrevolve's scheduler.

    It is 0 for one step, and below 1 where no step is advanced over twice.
    """
    return advances(n, s) / n


def segments_to_snapshots(n: int, segments: int) -> int:
    """Return the least s with which Revolve holds as many states as n steps in equal segments.

    At the end of its sweep a segmented run holds the first state of every segment, and of the last
    segment all states; one of them is the working state. That is k + ⌈n/k⌉ − 2 for k segments of
    which the last is among the longest (one less if it is among the shorter).
    Raises PlannerError unless n and segments are whole numbers of at least 1, or if there are more
    segments than steps.
    """
    n, segments = whole_number("n", n, 1), whole_number("segments", segments, 1)
    if segments > n:
        raise PlannerError(
            f"segments = {segments} was given for n = {n} steps, at most one a step was "
            f"expected: give segments ≤ {n}"
        )
    return max(1, segments - n // -segments - 2)


def snapshots_to_segments(n: int, s: int) -> int:
    """Return the fewest equal segments of n steps that hold no more states than Revolve with s.

    The fewest, because a segmented run repeats every segment but the last, and that is the longer
    the fewer there are.
    Raises PlannerError unless n and s are whole numbers of at least 1, or if s is too small for any
    number of segments (about 2√n).
    """
    n, s = whole_number("n", n, 1), whole_number("s", s, 1)
    room = s + 2  # k segments fit when k + ⌈n/k⌉ ≤ room, that is k·(room − k) ≥ n
    if (room // 2) * (room - room // 2) < n:
        least = isqrt(4 * n - 1) - 1  # the least room is ⌈2√n⌉
        raise PlannerError(
            f"s = {s} was given for n = {n}, equal segments hold at least {least} states: give s "
            f"≥ {least}, or use Revolve"
        )
    root = (
        room - isqrt(room * room - 4 * n)
    ) // 2  # the smaller root of k·(room − k) = n, rounded up or one below that
    return root if root * (room - root) >= n else root + 1


def snapshots_to_rotor(s: int, working: int) -> int:
    """Return the memory, in units of one state, at which Rotor does what Revolve does with s.

    Rotor does not count the chain's input (its entry point takes one unit more and subtracts it),
    but does count the state from which a step is reversed, and what reversing that step takes in
    addition: `working`, which is the gradient of its output, what it tapes (its output included),
    and in some versions of Rotor the gradient of its input. So the memory is (s − 1) + 1 + working.
    The n steps are the stages before Rotor's loss stage. With the same memory Rotor may run fewer
    than t + n steps, because it can spend a snapshot's room on the tape of a step; it runs exactly
    as many if a tape takes more than s units.
    Raises PlannerError unless s and working are whole numbers of at least 1.
    """
    return whole_number("s", s, 1) + whole_number("working", working, 1)


def rotor_to_snapshots(memory: int, working: int) -> int:
    """Return the s that Rotor's memory amounts to: the inverse of `snapshots_to_rotor`.

    Raises PlannerError unless both are whole numbers of at least 1 and the memory exceeds the
    working set.
    """
    working = whole_number("working", working, 1)
    return whole_number("memory", memory, working + 1) - working


def snapshots_to_bytes(s: int, state_bytes: int) -> int:
    """Return the bytes of s snapshots without the given initial state: (s − 1) · state_bytes.

    Raises PlannerError unless s and state_bytes are whole numbers of at least 1.
    """
    return (whole_number("s", s, 1) - 1) * whole_number("state_bytes", state_bytes, 1)


def bytes_to_snapshots(limit_bytes: int, state_bytes: int) -> int:
    """Return the most snapshots, the given initial state included, that fit; 0 bytes give s = 1.

    Raises PlannerError unless limit_bytes is a whole number of at least 0 and state_bytes one of at
    least 1.
    """
    return 1 + whole_number("limit_bytes", limit_bytes, 0) // whole_number(
        "state_bytes", state_bytes, 1
    )
