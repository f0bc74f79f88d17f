"""What all tests share: threads, and how Hypothesis draws."""

from __future__ import annotations

import os

import torch
from hypothesis import settings

# The workers of pytest-xdist share the cores, and so do the processes that tests start.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A run must not fail by what it happens to draw, so `make test` draws the same examples each time.
# `make soak` draws others: --hypothesis-profile=random.
settings.register_profile("same", deadline=None, derandomize=True, database=None)
settings.register_profile("random", deadline=None, print_blob=True)
settings.load_profile("same")
