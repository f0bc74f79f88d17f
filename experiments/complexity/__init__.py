"""The complexity of any PyTorch model, found from measured steps at small shapes.

config     the variables: what each one changes, its letter, its values
measuring  one shape to one row: sums, and the live bytes at every moment of its steps
moments    the same moment in models of different depth
lattice    polynomials through a grid of rows, in exact arithmetic
formulas   polynomials and maxima of polynomials as people and programs read them
fitting    a sum to a polynomial, a peak to a maximum; or why neither is decided
axes       the values at which it is measured: units, degrees, the grid, rows far away
study      what is found from the rows
report     the table, the files, the figure
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
