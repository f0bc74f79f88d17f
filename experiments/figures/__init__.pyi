from .registry import draw_overview_of as draw_overview_of
