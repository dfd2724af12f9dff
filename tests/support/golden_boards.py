"""A driver around the golden model of an associative array, installed as a stranger's package would be; its benches.

Run as a program, it is killed in the middle of a run: `golden_boards.py BENCH STEPS`.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from labctl.array import Capability, Geometry, Nominal, PulseLimits, Scale
from labctl.associative import Action, AssociativeGeometry, Counters, Execution, Run
from labctl.bench.settings import InstrumentSettings
from labctl.compiler.golden import GoldenArray
from labctl.errors import InstrumentError

PASS_S = 1e-6
_BIT = Scale(1.0, 0.0, 1, "1")


class GoldenSettings(InstrumentSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """refuses: the so manieth exchange is refused after its first action; 0: none."""

    rows: int = 100
    tracks: int = 8
    domains: int = 8
    serial: str = "GOLD-1"
    refuses: int = 0


class _WallClock:
    """With the time that programs took."""

    def __init__(self) -> None:
        self.spent = 0.0

    def now(self) -> float:
        return time.time() + self.spent

    def sleep_until(self, moment: float) -> None:
        self.spent += max(0.0, moment - self.now())


class GoldenBoard:
    """An AssociativeArray whose chip is fresh whenever it is connected."""

    Settings: ClassVar[type] = GoldenSettings
    capabilities = Capability.ASSOCIATE
    dac = adc = _BIT
    limits = PulseLimits()
    sequence = 1

    def __init__(self, settings: GoldenSettings, managers: Any) -> None:  # noqa: ARG002
        self._settings = settings
        self.chip_serial = settings.serial
        self.clock = _WallClock()
        self.exchanges = 0

    @classmethod
    def nominal(cls, settings: GoldenSettings) -> Nominal:
        geometry = Geometry(settings.rows, settings.tracks * settings.domains, "racetrack")
        return Nominal(geometry, cls.capabilities, cls.dac, cls.adc, cls.limits)

    def connect(self) -> None:
        own = self._settings
        self.golden = GoldenArray(AssociativeGeometry(own.rows, own.tracks, own.domains))
        self.geometry, self.associative = self.golden.geometry, self.golden.associative

    def perform(self, *actions: Action) -> tuple[Any, ...]:
        self.exchanges += 1
        if self.exchanges == self._settings.refuses:
            self.golden.perform(actions[0])
            raise InstrumentError("the board refused the second action", given=1)
        return tuple(self._timed(action, *self.golden.perform(action)) for action in actions)

    def counters(self) -> Counters:
        return self.golden.counters()

    def snapshot(self) -> Mapping[str, Any]:
        return {"idn": "golden", "serial": self.chip_serial}

    def safe_state(self, timeout_s: float = 2.0) -> None:
        """Nothing is driven."""

    def close(self) -> None:
        """Nothing is held."""

    def _timed(self, action: Action, result: Any) -> Any:
        if not isinstance(action, Run):
            return result
        seconds = action.program.passes * PASS_S
        self.clock.spent += seconds
        return Execution(result.counters, seconds, result.trace)


def install(site: Path) -> None:
    """Make a folder for `sys.path` of a package that brings the driver `golden`."""
    metadata = site / "golden-1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: golden\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[labctl.drivers]\ngolden = golden_boards:GoldenBoard\n")


def write_golden_bench(folder: Path, **settings: Any) -> Path:
    path = folder / "bench.toml"
    told = "".join(f"{name} = {value!r}\n" for name, value in settings.items())
    path.write_text(f'[instruments.ap]\ndriver = "golden"\n{told}[arrays.main]\ninstrument = "ap"\n')
    return path


def killed(bench: Path, steps: int) -> None:
    """The run of `tallying.TALLY` that a kill ends while an exchange after so many steps is under way."""
    from tallying import TALLY

    import labctl

    with labctl.load_bench(bench) as live, live.array() as array:
        perform, seen = array.driver.perform, [0]

        def struck(*actions: Action) -> Any:
            if seen[0] == steps and isinstance(actions[-1], Run):
                os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
            return perform(*actions)

        def progress(step: Any) -> None:  # noqa: ARG001
            seen[0] += 1

        array.driver.perform = struck
        labctl.run(TALLY, array, out=bench.parent / "runs", seed=3, progress=progress, trace=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(sys.argv[1]).parent / "site"))
    killed(Path(sys.argv[1]), int(sys.argv[2]))
