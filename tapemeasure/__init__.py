"""The public names of `autodiff` and `profiler` under the distribution's own name.

    import tapemeasure
    step = tapemeasure.profile(loss, weights)

A name is looked up when it is first used, so importing this package does not load PyTorch.
"""

from typing import Any

import autodiff
import autodiff.pytorch
import profiler

__version__ = "0.1.0"

_PACKAGES = (autodiff, autodiff.pytorch, profiler)
__all__ = sorted({name for package in _PACKAGES for name in package.__all__})


def __getattr__(name: str) -> Any:
    """Return a public name of one of the packages."""
    for package in _PACKAGES:
        if name in package.__all__:
            return getattr(package, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
