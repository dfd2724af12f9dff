"""Writes a page where it does no harm: whole or not at all, and over nothing but an older report."""

from __future__ import annotations

from pathlib import Path

from labctl.analysis.report.content import GENERATOR, Page
from labctl.analysis.writing import write_whole
from labctl.errors import RecordingError, UsageError

_ENDINGS = (".html", ".htm")
_HEAD = 1024  # bytes of a page that say what made it


def save_report(page: Page, output: Path, *, overwrite: bool = False) -> Path:
    """Write `page` to `output`, and return that.

    Raises as `check_output` does, and RecordingError where it cannot be written.
    """
    from labctl.analysis.report.html import render  # imports matplotlib, which is not needed to refuse a name

    check_output(output, overwrite=overwrite)
    content = render(page).encode("utf-8")
    try:
        write_whole(output, content)
    except OSError as problem:
        raise RecordingError(f"{output}: the report cannot be written: {problem.strerror or problem}") from None
    return output


def check_output(output: Path, *, overwrite: bool = False) -> None:
    """Raises UsageError for a name under which no page can be written, and where a file stands there that is no report
    of ours, unless `overwrite`."""
    if output.is_dir():
        raise UsageError(f"{output} is a folder: name a file to write, like {output / 'report.html'}")
    if output.suffix.lower() not in _ENDINGS:
        raise UsageError(f"{output}: a report is an HTML file: let its name end in .html")
    if not output.parent.is_dir():
        raise UsageError(f"{output}: there is no folder {output.parent}")
    if not overwrite and output.exists() and not _is_report(output):
        raise UsageError(f"{output} exists already and is no report: choose another name, or say --force")


def _is_report(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return f'name="generator" content="{GENERATOR} '.encode() in file.read(_HEAD)
    except OSError:
        return False
