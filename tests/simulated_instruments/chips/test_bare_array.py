"""A chip on probes: what a voltage on its lines does, and that it is the same chip as a board's."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from labctl.simulated_instruments.cells.parameters import ParameterSet
from labctl.simulated_instruments.cells.rram_parameters import RramParameters
from labctl.simulated_instruments.chips.bare_array import ArrayProbe, BareArray
from labctl.simulated_instruments.chips.crossbar import CrossbarMacro
from labctl.simulated_instruments.chips.periphery import Periphery
from labctl.simulated_instruments.instruments.bare_array import build
from labctl.simulated_instruments.instruments.clocks import VirtualClock
from labctl.simulated_instruments.network import Bias
from labctl.simulated_instruments.wire import Site

ROWS, COLS = 6, 5
OPEN, FORMING = 3.3, 1.2
QUIET = dataclasses.replace(
    RramParameters.default(), read_noise=0.0, read_noise_floor=0.0, flicker_noise=0.0, telegraph_fraction=0.0,
    read_disturb=0.0, relaxation_times=(),
)  # fmt: skip
"""Cells whose readings are all the same."""


class Rig:
    """A chip with a probe on every line."""

    def __init__(self, parameters: ParameterSet | None = None, periphery: Periphery | None = None) -> None:
        self.chip = CrossbarMacro.buy("T-9", parameters, ROWS, COLS, periphery)
        self.clock = VirtualClock()
        self.array = BareArray(self.chip, self.clock)
        self.probes: dict[str, ArrayProbe] = {}
        for line in self.array.lines:
            self.probes[line] = self.array.probe()
            self.probes[line].touch([line])

    def hold(self, **levels: float | None) -> None:
        for line, level in levels.items():
            self.probes[line].hold(None if level is None else Bias("voltage", level, 1e-3))

    def form(self, row: int = 2, col: int = 3, volts: float = 4.2) -> None:
        self.hold(**{f"SL{col}": 0.0, f"WL{row}": FORMING})
        self.probes[f"BL{row}"].pulse(volts, 1e-6)

    def conductance(self, row: int = 2, col: int = 3, volts: float = 0.2) -> float:
        self.hold(**{f"SL{col}": 0.0, f"WL{row}": OPEN, f"BL{row}": volts})
        amps = self.probes[f"BL{row}"].sense(20e-3).amps
        self.hold(**{f"SL{col}": None, f"WL{row}": None, f"BL{row}": None})
        return amps / volts


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_a_forming_pulse_on_its_lines_is_the_board_s_on_the_same_cell() -> None:
    """To the last bit where nothing but the pulse's voltage decides: both then read past and through ideal converters,
    and the ADC's step of 16 uA / 16383 * 33 / 32 at 0.2 V is what they may differ by."""
    rig = Rig(QUIET, Periphery.ideal())
    board = CrossbarMacro.buy("T-9", QUIET, ROWS, COLS, Periphery.ideal())
    code = 55_000
    rig.form(volts=code * board.dac.step)
    board.pulse(1, np.array([13], np.uint32), code, 1e-6, FORMING, 0.0)
    codes = board.read(np.array([13], np.uint32))[0, 0]
    expected = (codes * board.adc.step + board.adc.offset) / 0.2
    assert expected > 5e-6
    assert rig.conductance() == pytest.approx(expected, abs=board.adc.step / 0.2)


def test_it_goes_through_set_and_reset_as_on_a_board() -> None:
    rig = Rig(QUIET, Periphery.ideal())
    board = CrossbarMacro.buy("T-9", QUIET, ROWS, COLS, Periphery.ideal())
    cell, step = np.array([13], np.uint32), board.dac.step
    rig.form(volts=55_000 * step)
    board.pulse(1, cell, 55_000, 1e-6, FORMING, 0.0)
    for operation, code, gate in ((3, 30_000, 2.5), (2, 28_000, 1.4), (3, 26_000, 2.5), (2, 25_000, 2.0)):
        board.pulse(operation, cell, code, 1e-7, gate, 0.0)
        rig.hold(WL2=gate, **({"BL2": 0.0} if operation == 3 else {"SL3": 0.0}))
        rig.probes["SL3" if operation == 3 else "BL2"].pulse(code * step, 1e-7)
        rig.hold(WL2=None, BL2=None, SL3=None)
        codes = board.read(cell)[0, 0]
        expected = (codes * board.adc.step + board.adc.offset) / 0.2
        assert rig.conductance() == pytest.approx(expected, abs=board.adc.step / 0.2)
    assert rig.chip.pulse_counts[2, 3] == 5


def test_a_closed_word_line_lets_nothing_through(rig: Rig) -> None:
    rig.hold(SL3=0.0, WL2=0.3)
    rig.probes["BL2"].pulse(4.5, 1e-3)
    assert not rig.chip.pulse_counts.any()
    rig.hold(BL2=0.3)
    assert rig.probes["BL2"].sense(20e-3).amps == pytest.approx(0.0, abs=1e-13)
    assert not rig.chip.read_counts.any()


def test_the_gate_counts_from_the_lower_line() -> None:
    """1.5 V on the word line with both lines at 2 V and more is a closed transistor."""
    rig = Rig(QUIET)
    rig.form()
    rig.hold(BL2=2.2, SL3=2.0, WL2=1.5)
    assert rig.probes["BL2"].sense(20e-3).amps == pytest.approx(0.0, abs=1e-13)
    rig.hold(BL2=0.2, SL3=0.0)
    assert rig.probes["BL2"].sense(20e-3).amps > 1e-6


def test_what_is_held_beyond_the_read_range_acts_for_its_time_and_once(rig: Rig) -> None:
    rig.form()
    before = rig.chip.pulse_counts.sum()
    rig.hold(WL2=OPEN, BL2=0.0, SL3=2.2)
    rig.clock.spend(1e-3)
    rig.probes["SL3"].sense(20e-3)
    assert rig.chip.pulse_counts.sum() == before + 1
    rig.hold(SL3=0.0)
    rig.hold(SL3=None)
    assert rig.chip.pulse_counts.sum() == before + 1
    rig.hold(SL3=2.2)
    rig.clock.spend(1e-3)
    rig.hold(SL3=0.0)
    assert rig.chip.pulse_counts.sum() == before + 2
    assert rig.conductance() < 2e-6


def test_held_and_let_go_at_once_it_does_nothing(rig: Rig) -> None:
    rig.form()
    before = rig.chip.pulse_counts.sum()
    rig.hold(WL2=OPEN, BL2=0.0, SL3=2.5)
    rig.hold(SL3=0.0)
    assert rig.chip.pulse_counts.sum() == before


@pytest.fixture
def widths(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[int], float]]:
    """The cells and the width, s, of each pulse that reaches the chip, which goes on as ever."""
    given: list[tuple[list[int], float]] = []
    pulse_lines = CrossbarMacro.pulse_lines

    def seen(
        chip: CrossbarMacro, operation: int, cells: np.ndarray, volts: np.ndarray, width: float, *rest: float
    ) -> None:
        given.append((cells.tolist(), width))
        pulse_lines(chip, operation, cells, volts, width, *rest)

    monkeypatch.setattr(CrossbarMacro, "pulse_lines", seen)
    return given


@pytest.mark.parametrize("waited", [0.0, 12345.678, 3e7], ids=["at once", "after hours", "after a year"])
@pytest.mark.parametrize("width", [50e-9, 100e-9, 300e-9, 10e-6])
def test_what_is_held_acts_for_its_time_however_short_and_late(
    rig: Rig, widths: list[tuple[list[int], float]], width: float, waited: float
) -> None:
    rig.hold(WL2=FORMING, SL3=0.0)
    rig.clock.advance(waited)
    rig.hold(BL2=3.0)
    rig.clock.spend(width)
    rig.hold(BL2=0.0)
    assert widths == [([13], pytest.approx(width, abs=1e-12))]


def test_a_pulse_elsewhere_does_not_cut_what_is_held_in_two(rig: Rig, widths: list[tuple[list[int], float]]) -> None:
    """Two rows on one source line, of which one is pulsed twice while the other is held."""
    rig.hold(WL1=FORMING, WL2=FORMING, SL3=0.0, BL1=0.0)
    rig.hold(BL2=3.0)
    rig.clock.spend(100e-9)
    rig.probes["BL1"].pulse(3.0, 200e-9)
    rig.probes["BL1"].pulse(3.0, 50e-9)
    rig.clock.spend(30e-9)
    rig.hold(BL2=0.0)
    near = [(cells, pytest.approx(width, abs=1e-12)) for cells, width in (([8], 2e-7), ([8], 5e-8), ([13], 3.8e-7))]
    assert widths == near


def test_a_pulse_on_what_is_held_ends_it_and_lets_it_begin_anew(
    rig: Rig, widths: list[tuple[list[int], float]]
) -> None:
    rig.hold(WL2=FORMING, SL3=0.0, BL2=2.5)
    rig.clock.spend(100e-9)
    rig.probes["BL2"].pulse(3.0, 200e-9)
    rig.clock.spend(30e-9)
    rig.hold(BL2=0.0)
    assert widths == [([13], pytest.approx(width, abs=1e-12)) for width in (1e-7, 2e-7, 3e-8)]


def test_a_measurement_beyond_the_read_range_is_a_pulse_and_no_read(rig: Rig) -> None:
    rig.form()
    rig.hold(WL2=OPEN, SL3=0.0, BL2=1.0)
    reads, pulses = rig.chip.read_counts.sum(), rig.chip.pulse_counts.sum()
    assert rig.probes["BL2"].sense(1e-3).amps > 1e-6
    assert rig.chip.pulse_counts.sum() == pulses + 1
    assert rig.chip.read_counts.sum() == reads


def test_voltages_that_read_count_as_reads_and_a_look_counts_as_nothing(rig: Rig) -> None:
    rig.form()
    rig.hold(WL2=OPEN, SL3=0.0, BL2=0.2)
    reads = rig.chip.read_counts[2, 3]
    rig.probes["BL2"].sense(20e-3)
    rig.probes["BL2"].pulse(0.3, 1e-6)
    assert rig.chip.read_counts[2, 3] == reads + 2
    looks = [rig.probes["BL2"].sense(0.0).amps for _ in range(3)]
    assert rig.chip.read_counts[2, 3] == reads + 2
    assert looks[0] == looks[1] == looks[2] > 1e-6


def test_readings_scatter_as_the_cell_does() -> None:
    """Within 5 standard deviations of a standard deviation from 400 readings, sd / sqrt(2 * 400)."""
    quiet = dataclasses.replace(QUIET, read_noise=0.02, read_noise_device_spread=0.0, read_noise_floor=0.0)
    rig = Rig(quiet)
    rig.form()
    rig.hold(WL2=OPEN, SL3=0.0, BL2=0.2)
    amps = np.array([rig.probes["BL2"].sense(1e-3).amps for _ in range(400)])
    assert amps.std() / amps.mean() == pytest.approx(0.02, rel=5 / np.sqrt(800))


def test_currents_of_cells_that_share_a_line_add() -> None:
    rig = Rig(QUIET, Periphery.ideal())
    single = []
    for col in (1, 3, 4):
        rig.form(2, col)
        single.append(rig.conductance(2, col))
        rig.hold(WL2=None)
    rig.hold(WL2=OPEN, BL2=0.2, SL1=0.0, SL3=0.0, SL4=0.0)
    parts = [-rig.probes[f"SL{col}"].sense(1e-3).amps for col in (1, 3, 4)]
    whole = rig.probes["BL2"].sense(1e-3).amps
    assert sum(parts) == pytest.approx(whole, rel=1e-6)
    assert whole == pytest.approx(0.2 * sum(single), rel=1e-6)


def test_through_a_floating_line_current_sneaks() -> None:
    """Bit line 0 drives, bit line 1 is grounded; source line 3 floats between two formed cells in series."""
    rig = Rig(QUIET, Periphery.ideal())
    for row in (0, 1):
        rig.form(row, 3)
        rig.hold(**{f"WL{row}": None})
    first, second = rig.conductance(0), rig.conductance(1)
    rig.hold(WL0=OPEN, WL1=OPEN, BL0=0.2, BL1=0.0, SL3=None)
    sensed = rig.probes["BL0"].sense(1e-3)
    assert sensed.amps == pytest.approx(0.2 / (1 / first + 1 / second), rel=0.02)
    assert rig.probes["SL3"].sense(1e-3).volts == pytest.approx(0.2 * first / (first + second), abs=5e-3)


def test_a_source_at_its_limit_protects_the_cell_from_a_reset() -> None:
    rig = Rig(QUIET)
    rig.form()
    before = rig.conductance()
    rig.hold(WL2=OPEN, BL2=0.0)
    rig.probes["SL3"].hold(Bias("voltage", 2.5, 1e-6))
    sensed = rig.probes["SL3"].sense(20e-3)
    assert sensed.limited
    assert sensed.amps == 1e-6
    assert sensed.volts < 0.5
    assert rig.conductance() == pytest.approx(before, rel=1e-6)


def test_probes_on_one_post_are_connected(rig: Rig) -> None:
    one, other = rig.array.probe(), rig.array.probe()
    one.touch(["post"])
    other.touch(["post"])
    one.hold(Bias("voltage", 1.5, 1e-3))
    assert other.sense(1e-3).volts == pytest.approx(1.5)


def test_phase_change_cells_melt_and_crystallise_on_their_lines() -> None:
    card = build({"cells": "pcm_90nm", "rows": 4, "cols": 4, "chip": "P-1"}, Site(Path()))
    bit, source, word = (card.lead(name) for name in ("BL1", "SL1", "WL1"))
    source.hold(Bias("voltage", 0.0, 1e-2))
    word.hold(Bias("voltage", 3.3, 1e-6))

    def conductance() -> float:
        bit.hold(Bias("voltage", 0.2, 1e-3))
        amps = bit.sense(20e-3).amps
        bit.hold(Bias("voltage", 0.0, 1e-3))
        return amps / 0.2

    fresh = conductance()
    bit.pulse(4.5, 1e-7)
    assert conductance() < 0.5 * fresh
    card.close()


class TestCard:
    def test_a_lead_that_is_not_there_is_told_with_those_that_are(self, tmp_path: Path) -> None:
        card = build({"rows": 4, "cols": 3, "chip": "T-1"}, Site(tmp_path))
        with pytest.raises(ValueError, match=r"^chip T-1 has no line 'BL4'; there are: BL0 to BL3, SL0 to SL2, WL0 to"):
            card.lead("BL4")
        assert card.lead("WL3") is card.lead("WL3")
        card.close()

    def test_it_remembers_as_the_board_does_and_is_the_board_s_chip(self, tmp_path: Path) -> None:
        from labctl.simulated_instruments.instruments.test_board import build as board

        options = {"rows": 4, "cols": 3, "chip": "T-1", "state": "chip.h5"}
        card = build(options, Site(tmp_path))
        card.lead("SL1").hold(Bias("voltage", 0.0, 1e-2))
        card.lead("WL2").hold(Bias("voltage", FORMING, 1e-6))
        card.lead("BL2").pulse(4.2, 1e-6)
        with pytest.raises(ValueError, match=r"^the chip of chip\.h5 is in use by another process$"):
            board(options, Site(tmp_path))
        card.close()
        card.close()
        same = board(options, Site(tmp_path))
        counts = same.firmware.chip.pulse_counts
        assert list(np.flatnonzero(counts)) == [2 * 3 + 1]
        same.close()
