"""labctl: program, read and characterise memory-array test chips, and record every pulse.

import labctl

with labctl.load_bench("bench.toml") as bench, bench.array("main") as array:
    result = labctl.run("write_verify", array, target=target, tolerance="1 uS")
tree = labctl.open_run(result.path)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labctl.lazy import lazily

if TYPE_CHECKING:
    from labctl.bench.live import load_bench
    from labctl.errors import LabctlError
    from labctl.recording.reader import open_run
    from labctl.runner import resume, run
    from labctl.targets import load_target

__version__ = "0.1.0"
__all__ = ["LabctlError", "load_bench", "load_target", "open_run", "resume", "run"]

_HOMES = {
    "LabctlError": "labctl.errors",
    "load_bench": "labctl.bench.live",
    "load_target": "labctl.targets",
    "open_run": "labctl.recording.reader",
    "resume": "labctl.runner",
    "run": "labctl.runner",
}

__getattr__ = lazily(__name__, _HOMES)
