"""Which bench commands on associative arrays work on where none is named: a simulated one, with faults or without."""

from __future__ import annotations

import os
from typing import Any, Literal

from labctl.bench.settings import embedded_path


def with_bench(options: dict[str, Any], name: Literal["racetrack", "racetrack-ideal"]) -> dict[str, Any]:
    """`options` of a command, whose bench is the embedded one of that `name` unless another is given."""
    if options["bench"] is None and not os.environ.get("LABCTL_BENCH"):
        return {**options, "bench": embedded_path(name)}
    return options
