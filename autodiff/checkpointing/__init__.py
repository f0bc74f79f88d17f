"""Planners: what is computed when. One file a family; each is a pure function from a program to a schedule.

`cells` finds the chain in a program, `store` makes a schedule of a plan on cells; a planner of one's own needs no more
than those two. `binomial` and `conventions` know no program.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
