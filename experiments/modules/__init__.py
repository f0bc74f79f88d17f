"""One step of any PyTorch module: what it takes and where, and the largest batch that fits.

config     the keys of the command line as typed values
build      the module, its example batch and its optimiser, on fake or on real tensors
prediction a step measured on fake tensors, and the largest batch that fits
execution  the same step on real tensors
summary    what is said of it, in words and numbers
report     the terminal's table, the page and its tables
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
