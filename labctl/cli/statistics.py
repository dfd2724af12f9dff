"""The statistics of a recorded run as a table or as JSON values, for the commands that show them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labctl.cli.console import print_table
from labctl.recording.reader import open_run

if TYPE_CHECKING:
    from labctl.analysis.characterisation import Statistic


def statistics_of(path: Path) -> list[Statistic]:
    """Of the run at `path`, by the kind of its measurement. Raises RecordingError where there is none to make."""
    from labctl.analysis.characterisation import statistics

    with open_run(path) as tree:
        return statistics(tree)


def print_statistics(found: Iterable[Statistic]) -> None:
    """One line each: value, the interval that holds the true one 95 times of 100, and of how many it was made."""
    from labctl.analysis.characterisation.statistic import interval, shown

    rows = [
        (
            each.name,
            shown(each.value, each.unit),
            interval(each),
            f"{each.n:,}",
            each.note,
        )
        for each in found
    ]
    print_table(rows, ("statistic", "value", "95 % interval", "of", ""))


def as_values(found: Iterable[Statistic]) -> list[dict[str, Any]]:
    """As plain JSON values."""
    return [asdict(each) for each in found]
