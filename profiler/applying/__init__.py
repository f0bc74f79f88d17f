"""Plans in a user's own training loop: what a planner chose for a model is what its step runs."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
