"""One channel of a source-measure unit on a lead that remembers, and where leads go."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from labctl.simulated_instruments.instruments.bare_array import build as build_card
from labctl.simulated_instruments.instruments.clocks import VirtualClock
from labctl.simulated_instruments.instruments.resistor import Resistor, build
from labctl.simulated_instruments.instruments.source_measure import (
    BeyondPower,
    BeyondRange,
    OffState,
    Range,
    Ratings,
    SourceMeasureChannel,
)
from labctl.simulated_instruments.instruments.wiring import OpenCircuit, lead_to
from labctl.simulated_instruments.network import Bias, Sensed
from labctl.simulated_instruments.wire import Site

STEP, NOISE = 1e-3, 1e-5  # of full scale
RATINGS = Ratings(
    voltage=tuple(Range(full, full * STEP, full * 1e-6, full * NOISE) for full in (1.0, 10.0)),
    current=tuple(Range(full, full * STEP, full * 1e-6, full * NOISE) for full in (1e-3, 0.1)),
    source_reach=1.05,
    sense_reach=1.055,
    corners=((10.5, 0.02), (1.05, 0.105)),
    hum=0.0,
    overhead=0.0,
    first_ranges={"voltage": 1.0, "current": 1e-3},
    first_limits={"voltage": 1.0, "current": 1e-3},
)


class Recorder(Resistor):
    """A resistor that remembers what is held on it."""

    def __init__(self, resistance: float) -> None:
        super().__init__(resistance, 0.0, VirtualClock())
        self.held: Bias | None = None

    def hold(self, bias: Bias | None) -> None:
        super().hold(bias)
        self.held = bias


@pytest.fixture
def lead() -> Recorder:
    return Recorder(1e3)


@pytest.fixture
def channel(lead: Recorder) -> SourceMeasureChannel:
    return SourceMeasureChannel(RATINGS, lead, "serial")


def test_a_level_leaves_in_the_steps_of_its_range(channel: SourceMeasureChannel, lead: Recorder) -> None:
    channel.set_output(True)
    channel.set_level("voltage", 0.50049)
    assert lead.held == Bias("voltage", pytest.approx(0.5), 1e-3)
    channel.set_level("voltage", 0.50049, most=5.0)  # on the range of 10 V
    assert lead.held == Bias("voltage", pytest.approx(0.50), 1e-3)
    assert channel.source_range("voltage").full_scale == 10.0


@pytest.mark.parametrize(
    ("state", "held"),
    [
        (OffState.NORMAL, Bias("voltage", 0.0, 5e-6)),
        (OffState.ZERO, Bias("voltage", 0.0, 1e-3)),
        (OffState.GUARD, Bias("current", 0.0, 5e-3)),
        (OffState.HIGH_IMPEDANCE, None),
    ],
)
def test_what_an_output_that_is_off_does_to_its_lead(
    channel: SourceMeasureChannel, lead: Recorder, state: OffState, held: Bias | None
) -> None:
    channel.set_level("voltage", 0.5)
    channel.set_off_state(state)
    assert lead.held == held
    channel.set_output(True)
    assert lead.held == Bias("voltage", 0.5, 1e-3)
    channel.set_output(False)
    assert lead.held == held


def test_an_off_limit_of_ones_own(channel: SourceMeasureChannel, lead: Recorder) -> None:
    channel.off_limits = {"current": 1e-4}
    channel.set_off_state(OffState.NORMAL)
    assert lead.held == Bias("voltage", 0.0, 1e-4)


def test_closing_lets_go(channel: SourceMeasureChannel, lead: Recorder) -> None:
    channel.set_output(True)
    channel.close()
    assert lead.held is None


def test_another_function_turns_the_output_off(channel: SourceMeasureChannel) -> None:
    channel.set_output(True)
    channel.select("voltage")
    assert channel.output
    channel.select("current")
    assert not channel.output


def test_what_is_beyond_it_changes_nothing(channel: SourceMeasureChannel, lead: Recorder) -> None:
    channel.set_output(True)
    before = lead.held
    with pytest.raises(BeyondRange, match=r"12 is beyond 10\.5 V"):
        channel.set_level("voltage", 12.0)
    with pytest.raises(BeyondRange):
        channel.set_limit("current", 0.2)
    channel.set_limit("current", 0.05)
    with pytest.raises(BeyondPower, match=r"10\.5 V together with 0\.05 A"):
        channel.set_level("voltage", 5.0)
    channel.set_limit("current", 1e-3)
    channel.set_level("voltage", 5.0)
    with pytest.raises(BeyondPower):
        channel.set_limit("current", 0.05)
    channel.set_level("voltage", 0.0)
    assert lead.held == before


def test_a_fixed_range_overflows_and_an_automatic_one_follows(channel: SourceMeasureChannel, lead: Recorder) -> None:
    channel.set_limit("current", 0.02)
    channel.set_level("voltage", 10.0)
    channel.set_output(True)
    reading = channel.measure()
    assert reading.amps == pytest.approx(10e-3, abs=6 * 0.1 * NOISE)
    assert channel.sense_range("current").full_scale == 0.1
    lead.resistance = 1e6
    assert channel.measure().amps == pytest.approx(10e-6, abs=6 * 1e-3 * NOISE)
    assert channel.sense_range("current").full_scale == 1e-3


class Battery(Recorder):
    """5 V, whatever is held on it."""

    def sense(self, seconds: float) -> Sensed:
        self.clock.spend(seconds)
        return Sensed(5.0, 0.0, False)


def test_a_reading_beyond_its_range_is_infinite_and_has_no_resistance() -> None:
    channel = SourceMeasureChannel(RATINGS, Battery(1e3), "serial")
    channel.select("current")
    channel.set_sensing("voltage", "current")
    channel.set_sense_range("voltage", 1.0)
    channel.set_output(True)
    reading = channel.measure()
    assert reading.volts == math.inf
    assert reading.overflow
    assert reading.ohms == math.inf
    channel.set_sensing("voltage")
    channel.set_sense_auto("voltage", True)
    assert channel.measure().volts == math.inf  # no larger range than the limit of 1 V calls for
    channel.set_limit("voltage", 10.0)
    reading = channel.measure()
    assert reading.volts == pytest.approx(5.0, abs=6 * 10 * NOISE)
    assert math.isnan(reading.ohms)  # without a current


def test_the_moving_filter_averages_over_the_last_readings(channel: SourceMeasureChannel, lead: Recorder) -> None:
    channel.moving, channel.averaging = True, 3
    channel.set_level("voltage", 0.5)
    channel.set_output(True)
    channel.measure()
    lead.resistance = 2e3
    found = [channel.measure().amps for _ in range(3)]
    np.testing.assert_allclose(found, [0.375e-3, 1e-3 / 3, 0.25e-3], atol=6 * 1e-3 * NOISE)
    assert channel.reading_time == pytest.approx(3 / 50)  # one conversion, zero and reference


def test_whether_it_is_at_its_limit_is_looked_up_on_the_lead(channel: SourceMeasureChannel, lead: Recorder) -> None:
    channel.set_level("voltage", 1.0)
    assert not channel.at_limit()
    channel.set_output(True)
    assert not channel.at_limit()
    lead.resistance = 999.0
    assert channel.at_limit()


def test_to_look_whether_it_is_at_its_limit_is_no_read_of_a_cell() -> None:
    card = build_card({"rows": 4, "cols": 4, "chip": "T-1"}, Site(Path()))
    card.lead("SL2").hold(Bias("voltage", 0.0, 1e-2))
    card.lead("WL1").hold(Bias("voltage", 3.3, 1e-3))
    channel = SourceMeasureChannel(RATINGS, card.lead("BL1"), "serial")
    channel.set_level("voltage", 0.2)
    channel.set_output(True)
    before = card.clock.now()
    assert not channel.at_limit()
    assert not card.array.chip.read_counts.any()
    assert card.clock.now() == before
    channel.measure()
    assert card.array.chip.read_counts.sum() == 1
    card.close()


# -- wiring -----------------------------------------------------------------------------------------------------------


def test_nothing_at_the_end_of_a_lead_takes_no_current() -> None:
    lead = lead_to("", Site(Path()))
    assert isinstance(lead, OpenCircuit)
    lead.hold(Bias("voltage", 2.0, 1e-3))
    sensed = lead.sense(0.1)
    assert (sensed.volts, sensed.amps, sensed.limited) == (2.0, 0.0, False)
    lead.hold(Bias("current", -1e-3, 5.0))
    sensed = lead.sense(0.1)
    assert (sensed.volts, sensed.amps, sensed.limited) == (-5.0, 0.0, True)
    lead.hold(None)
    assert lead.sense(0.1).volts == 0.0


def test_a_lead_is_found_by_fixture_and_name() -> None:
    load = build({}, Site(Path()))
    site = Site(Path(), {"load": load, "rock": object()}.__getitem__)
    assert lead_to("load.hi", site) is load.resistor
    for wrong, said in (("load", "FIXTURE.LEAD"), ("load.lo", "no lead 'lo'"), ("rock.hi", "no leads")):
        with pytest.raises(ValueError, match=said):
            lead_to(wrong, site)
