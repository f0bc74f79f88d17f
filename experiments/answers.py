"""stub"""
def pretty(formula: str) -> str:
    return formula
