"""Formulas found from measured rows: polynomials, maxima of polynomials, the table of them."""
