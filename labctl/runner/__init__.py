"""Runs protocols: checked first, then step by step into a run file, always to an end in safe state."""

from labctl.runner.auxiliaries import AuxiliarySampler
from labctl.runner.preparing import Prepared, check_capabilities, prepare
from labctl.runner.recorded_array import RecordedArray
from labctl.runner.rereading import Reread
from labctl.runner.resuming import resume
from labctl.runner.running import Progress, RunResult, run

__all__ = [
    "AuxiliarySampler",
    "Prepared",
    "Progress",
    "RecordedArray",
    "Reread",
    "RunResult",
    "check_capabilities",
    "prepare",
    "resume",
    "run",
]
