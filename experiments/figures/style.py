"""How every figure looks: colours, markers and dashes, and a layout by the width of its text.

The colours follow Okabe and Ito (2008), darkened or lightened so that their lightness differs too
(about 12, 30, 45, 60 and 76 of 100), so a figure printed in grey says the same. Nothing here
changes matplotlib's state: a figure is built and saved within `styled()`.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from experiments.figures.layout import PAGE, current, stack

INK, MUTED, FAINT = "#1a1a1a", "#555555", "#c8c8c8"
WIDTH = PAGE.width
"""Inches; the report shows a figure somewhat larger than that."""
TITLE_SIZE, TEXT_SIZE, NOTE_SIZE = 13.0, 10.0, 9.0

ROOMY = 24
"""How many marks have room along a line."""

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TORN = re.compile(
    r"(?<=\d) (?=%|[KMGT]?i?B\b|layers?\b)|(?<=\b[ndbkj]) (?=[=>])|(?<=[=>]) (?=[\ddb]\b|\d)"
)

_RC: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "sans-serif"],
    "font.size": TEXT_SIZE,
    "axes.titlesize": TEXT_SIZE,
    "axes.titlelocation": "left",
    "axes.titlecolor": MUTED,
    "axes.labelsize": TEXT_SIZE,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.7,
    "xtick.labelsize": 9.0,
    "ytick.labelsize": 9.0,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.minor.visible": False,
    "ytick.minor.visible": False,
    "legend.fontsize": 9.5,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 6.5,
    "hatch.linewidth": 0.7,
    "hatch.color": "#8d8d8d",
    "text.parse_math": False,
    "svg.fonttype": "none",
    "savefig.facecolor": "white",
    "figure.facecolor": "white",
}


@dataclass(frozen=True, eq=False)
class Drawing:
    """A finished figure: its message, how to read it, and the picture."""

    title: str
    caption: str
    figure: Figure


@dataclass(frozen=True)
class Look:
    """How a series is drawn: series differ in colour, lightness, marker and dashes.

    Sizes differ so that marks on one another all show.
    """

    colour: str
    marker: str
    dash: Any = "-"
    size: float = 7.0


MODE_LOOKS = {
    "no_grad": Look("#f0b02e", "o", "-", 11.5),
    "forward": Look("#4a9fce", "s", (0, (6, 2)), 8.5),
    "full": Look("#10254d", "D", "-", 8.5),
    "w1_only": Look("#c0470c", "^", (0, (4, 1.5, 1, 1.5)), 6),
    "only": Look("#00785a", "P", (0, (2, 1))),
    "checkpointed": Look("#6b2d80", "v", (0, (1, 1))),
}
MORE_LOOKS = (
    Look("#10254d", "D", "-", 9.5),
    Look("#e08a1e", "o", (0, (5, 2)), 6),
    Look("#2a8f6d", "s", (0, (2, 1)), 8),
    Look("#7db8dc", "^", (0, (4, 1.5, 1, 1.5)), 7),
    Look("#6b2d80", "v", (0, (1, 1)), 5),
    Look("#8a8a8a", "P", (0, (7, 2, 1, 2, 1, 2)), 6),
)
MODE_NAMES = {
    "no_grad": "no-grad",
    "forward": "forward",
    "full": "full",
    "w1_only": "W₁ only",
    "only": "W_j only",
    "checkpointed": "checkpointed",
}


@contextmanager
def styled(salt: str = "") -> Iterator[None]:
    """Give figures this look; `salt` keeps one SVG's ids apart from another's in the same page."""
    settings: Any = {**_RC, "svg.hashsalt": salt or "tapemeasure"}
    with matplotlib.rc_context(settings):
        yield


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """Return an empty figure whose body, without title, legend and note, is `height` inches."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def finish(figure: Figure, title: str, note: str = "", handles: Sequence[Any] = ()) -> Figure:
    """Set title, legend and note, each in space of its own, and lay out the rest.

    A legend entry may be a pair, drawn one on the other and labelled as the first.
    """
    layout = current()
    if layout.is_column:
        stack(figure)
    if not layout.has_words:
        title, note = "", ""
    width, body = figure.get_size_inches()
    margin = 0.12
    # Glyphs are hinted per resolution, so a line may be drawn wider than it is at 72 dpi.
    points = (0.96 if layout.is_column else 0.98) * (width - 2 * margin) * 72
    lines = wrap(title, points, TITLE_SIZE, bold=True) if title else []
    notes = wrap(note, points, NOTE_SIZE) if note else []
    columns = _legend_columns(handles, points)
    top = 0.08 + len(lines) * TITLE_SIZE * 1.3 / 72 + 0.08
    labels = ["\n".join(wrap(_label(entry), points - 60, 9.5)) for entry in handles]
    more = sum(label.count("\n") for label in labels)
    legend = -(-len(handles) // columns) * 0.215 + more * 0.16 + 0.08 if handles else 0.0
    bottom = len(notes) * NOTE_SIZE * 1.35 / 72 + (0.14 if notes else 0.04)
    height = body + top + legend + bottom
    figure.set_size_inches(width, height)
    texts = (
        ("\n".join(lines), 1 - 0.08 / height, "top", TITLE_SIZE, INK, 1.25),
        ("\n".join(notes), 0.07 / height, "bottom", NOTE_SIZE, MUTED, 1.3),
    )
    for text, y, anchor, size, colour, spacing in texts if notes else texts[:1]:
        figure.text(
            margin / width, y, text, ha="left", va=anchor, size=size, color=colour,
            linespacing=spacing, weight="bold" if anchor == "top" else "normal",
        )  # fmt: skip
    if handles:
        place = (margin / width, 1 - top / height)
        figure.legend(
            handles=list(handles), labels=labels, ncols=columns,
            loc="upper left", bbox_to_anchor=place, borderaxespad=0, borderpad=0,
            handlelength=2.6, columnspacing=1.6,
        )  # fmt: skip
    rect = (0.0, bottom / height, 1.0, body / height)
    # Laid out once: saving as SVG and as PNG would each do it again, slower than drawing.
    ConstrainedLayoutEngine(rect=rect, w_pad=0.08, h_pad=0.06, wspace=0.03, hspace=0.05).execute(
        figure
    )
    return figure


def _label(handle: Any) -> str:
    return str((handle[0] if isinstance(handle, tuple) else handle).get_label())


def _legend_columns(handles: Sequence[Any], points: float) -> int:
    """Return as many columns as fit, all as wide as the widest entry."""
    if not handles:
        return 1
    widest = max(text_width(_label(entry), 9.5) for entry in handles) + 60
    fit = max(1, int(points // widest))
    rows = -(-len(handles) // fit)
    return -(-len(handles) // rows)


@lru_cache(maxsize=4096)
def text_width(text: str, size: float, bold: bool = False) -> float:
    """Return the width of one line of text in points, by the font's own metrics."""
    font = get_font(
        findfont(FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal"))
    )
    font.set_size(size, 72)
    font.set_text(text)
    return float(font.get_width_height()[0] / 64)


def wrap(text: str, points: float, size: float, bold: bool = False) -> list[str]:
    """Return text in lines no wider than `points`; a number stays with its unit, as `n = 3`."""
    lines: list[str] = []
    for word in _TORN.sub("\N{NO-BREAK SPACE}", text).split(" "):
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size, bold) <= points:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def handle(label: str, look: Look, line: bool = True, hollow: bool = False) -> Line2D:
    """Return a legend entry that shows a series' mark, and its line where it has one."""
    face = "white" if hollow else look.colour
    return Line2D(
        [], [], color=look.colour, marker=look.marker, linestyle=look.dash if line else "none",
        label=label, markerfacecolor=face, markeredgecolor=look.colour if hollow else "white",
        markeredgewidth=1.2 if hollow else 0.6,
    )  # fmt: skip


def marks(
    axes: Axes,
    xs: Any,
    ys: Any,
    look: Look,
    hollow: bool = False,
    rank: int = 0,
    size: float | None = None,
) -> None:
    """Draw marks, hollow for another engine or shape; `size` where none lies on another.

    Where there are very many, marks are smaller, so that they stay apart.
    """
    across = list(xs)
    share = min(1.0, (ROOMY / len(across)) ** 0.5) if across else 1.0
    size = (size or look.size) * share
    axes.plot(
        across, list(ys), linestyle="none", marker=look.marker, color=look.colour,
        zorder=4 + 0.1 * rank, markersize=size + 3.5 if hollow else size,
        markerfacecolor="none" if hollow else look.colour,
        markeredgecolor=look.colour if hollow else "white",
        markeredgewidth=(1.2 if hollow else 0.6) * share,
    )  # fmt: skip


def png_of(drawing: Drawing, dpi: int = 150) -> bytes:
    """Return the drawing as a PNG, the same bytes every time."""
    buffer = io.BytesIO()
    drawing.figure.savefig(
        buffer, format="png", dpi=dpi, metadata={"Software": None, "Title": drawing.title}
    )
    return buffer.getvalue()


def pdf_of(drawing: Drawing) -> bytes:
    """Return the drawing as a PDF with its fonts, the same bytes every time."""
    buffer = io.BytesIO()
    with matplotlib.rc_context({"pdf.fonttype": 42}):  # papers refuse Type 3 fonts
        metadata = {"CreationDate": None, "Creator": None, "Producer": None, "Title": drawing.title}
        drawing.figure.savefig(buffer, format="pdf", metadata=metadata)
    return buffer.getvalue()


def svg_of(drawing: Drawing) -> str:
    """Return the drawing as an SVG with its title and caption, without ids that would repeat."""
    buffer = io.BytesIO()
    drawing.figure.savefig(
        buffer,
        format="svg",
        metadata={
            "Date": None,
            "Creator": None,
            "Title": drawing.title,
            "Description": drawing.caption,
        },
    )
    # Matplotlib also writes characters that XML cannot hold, and no page could include them.
    text = _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", buffer.getvalue().decode())
    return re.sub(r' id="[A-Za-z0-9.]+_\d+"', "", text)
