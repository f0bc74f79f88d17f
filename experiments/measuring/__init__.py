"""From one point to one row: measured, predicted, or refused with a reason."""
