"""Reports: one page about a run or a chip that a browser shows and a printer prints, with nothing to load.

What a page holds is collected as plain values (`content`), by modules that know runs and chips; `html` alone knows how
it looks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labctl.lazy import lazily

if TYPE_CHECKING:
    from labctl.analysis.report.chip import chip_page
    from labctl.analysis.report.content import Page
    from labctl.analysis.report.html import render
    from labctl.analysis.report.run import run_page
    from labctl.analysis.report.saving import check_output, save_report

__all__ = ["Page", "check_output", "chip_page", "render", "run_page", "save_report"]

_HOMES = {
    "Page": "labctl.analysis.report.content",
    "check_output": "labctl.analysis.report.saving",
    "chip_page": "labctl.analysis.report.chip",
    "render": "labctl.analysis.report.html",
    "run_page": "labctl.analysis.report.run",
    "save_report": "labctl.analysis.report.saving",
}

__getattr__ = lazily(__name__, _HOMES)
