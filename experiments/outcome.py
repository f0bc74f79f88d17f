"""The exit code of a command line that Hydra runs: jobs return values to Hydra, so what they came to is noted here.

It is the one piece of state of the experiments; `main` reads it when Hydra is done.
"""

from __future__ import annotations

FINE, SOME_FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130

exit_codes: list[int] = []


def exit_code() -> int:
    """The worst of what was noted."""
    return max(exit_codes, default=FINE)
