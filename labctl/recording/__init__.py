"""The run file: every pulse and read of a run on disk the moment it happened."""

from labctl.recording.layout import Outcome, State
from labctl.recording.names import new_run_path
from labctl.recording.reader import RunSummary, open_run, read_summary
from labctl.recording.recover import recover
from labctl.recording.writer import RunWriter

__all__ = [
    "Outcome",
    "RunSummary",
    "RunWriter",
    "State",
    "new_run_path",
    "open_run",
    "read_summary",
    "recover",
]
