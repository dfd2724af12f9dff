"""Reports: one page about a run or a chip that a browser shows and a printer prints, with nothing to load.

What a page holds is collected as plain values (`content`), by modules that know runs and chips; `html` alone knows how
it looks.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

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


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: a name that cannot be written is refused before the heavy parts."""
    if name not in _HOMES:
        raise AttributeError(f"module 'labctl.analysis.report' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
