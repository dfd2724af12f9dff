"""A simulator from a stranger's package, found by its entry point, and bench files that name it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TOY = '''
"""A counter that remembers, an echo and blocks."""

import numpy as np

from labctl.simulated_instruments.scpi import Block, Command, Instrument, Numeric, Text, quoted, setting


class Toy:
    def __init__(self, options, site):
        if "refuse" in options:
            raise ValueError(f"$.refuse: {options['refuse']}")
        self.level = 0.0
        self.memory = np.zeros(0, "<u2")
        self.state = site.folder / options["state"] if "state" in options else None
        if self.state and self.state.exists():
            self.level = float(self.state.read_text())
        codes = Block(dtype=np.uint16)
        self.wire = Instrument(
            ("Toys", "Toy", options.get("serial", "0"), "1"),
            [
                setting("LEVel", Numeric(unit="V"), self, "level"),
                Command("ECHO", query=quoted, query_parameters=(Text(),)),
                Command("MEMory", set=self.remember, parameters=(codes,), query=lambda: self.memory),
                Command("COUNt", query=self.count, query_parameters=(Numeric(integer=True),)),
                Command("REALs", query=lambda: np.array([0.5, 1.5, np.nan], np.float32)),
                Command("*TRG", set=self.trigger),
            ],
        )

    def remember(self, codes):
        self.memory = codes

    def count(self, number):
        return np.arange(number, dtype="<u2")

    def trigger(self):
        self.level += 1

    def close(self):
        if self.state:
            self.state.write_text(str(self.level))


class Unsaveable(Toy):
    def close(self):
        raise OSError("disk full")


class Leaf:
    wire = None

    def __init__(self, options, site):
        self.closings = []

    def close(self):
        self.closings.append("leaf")


class Grafted(Toy):
    def __init__(self, options, site):
        super().__init__(options, site)
        self.on = site.find(options["on"])
        self.name = options.get("serial", "")

    def close(self):
        self.on.closings.append(self.name)
'''

ENTRY_POINTS = """
[labctl.simulators]
toy = toy_simulator:Toy
unsaveable = toy_simulator:Unsaveable
leaf = toy_simulator:Leaf
grafted = toy_simulator:Grafted
broken = toy_simulator:Missing
absent = no_such_module:build
"""

BENCH = """
name = "not the simulators' business"

[instruments.anything]
driver = "whatever"

[simulated.socket]
simulator = "toy"
resource_name = "TCPIP::127.0.0.1::5025::SOCKET"
serial = "one"
state = "level.txt"

[simulated.gpib]
simulator = "toy"
resource_name = "GPIB0::24::INSTR"
serial = "two"
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder a stranger's package is installed in, on the path."""
    folder = tmp_path / "site"
    metadata = folder / "toy_simulator-1.dist-info"
    metadata.mkdir(parents=True)
    (folder / "toy_simulator.py").write_text(TOY)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-simulator\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(str(folder))
    importlib.invalidate_caches()
    yield folder
    sys.modules.pop("toy_simulator", None)


@pytest.fixture
def bench(plugin: Path, tmp_path: Path) -> Path:  # noqa: ARG001 -- the bench's simulators come with it
    path = tmp_path / "bench.toml"
    path.write_text(BENCH)
    return path
