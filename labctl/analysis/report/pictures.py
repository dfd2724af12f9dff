"""Figures as pictures within a page."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from matplotlib.backends.backend_agg import FigureCanvasAgg

from labctl.analysis.report.content import Picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DPI = 90


def picture(figure: Figure, told: str, *, always: bool = False, wide: bool = True) -> Picture:
    """`figure` as a Picture with these."""
    content = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(content, format="png", dpi=_DPI)
    return Picture(content.getvalue(), told, always, wide)
