"""Reports: one page about a run or a chip that a browser shows and a printer prints, with nothing to load.

What a page holds is collected as plain values (`content`), by modules that know runs and chips; `html` alone knows how
it looks.
"""

from labctl.analysis.report.chip import chip_page
from labctl.analysis.report.content import Page
from labctl.analysis.report.html import render
from labctl.analysis.report.run import run_page
from labctl.analysis.report.saving import check_output, save_report

__all__ = ["Page", "check_output", "chip_page", "render", "run_page", "save_report"]
