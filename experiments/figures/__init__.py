"""The report's figures, one module a family: each takes a sweep's results and gives a drawing whose title is its message."""
