"""One job, a multirun of jobs, and the callbacks that Hydra makes."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
