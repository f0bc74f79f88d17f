"""What all tests share: threads, and how Hypothesis draws."""

from __future__ import annotations

import os

import torch
from hypothesis import HealthCheck, settings

# The workers of pytest-xdist share the cores, and so do the processes that tests start.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A run must not fail by what it happens to draw, nor because the machine is slow: `make test` draws
# the same examples each time, and no test has a deadline. `make soak` draws others.
ANY_SPEED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same", ANY_SPEED, derandomize=True, database=None)
settings.register_profile("random", ANY_SPEED, print_blob=True)
settings.load_profile("same")
