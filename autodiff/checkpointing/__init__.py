"""Planners: pure functions from a program to a schedule, one file per family.

`cells` finds the chain in a program and `store` turns a plan on cells into a schedule; a
user-defined planner needs only these two. `binomial` and `conventions` do not depend on programs.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
