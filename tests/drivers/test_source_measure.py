"""Every source-measure unit does the same by its own language: what holds for one holds for all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from instruments import Leads, ResistorLead, ServedInstrument, served

from labctl.drivers.keithley_2400 import Keithley2400
from labctl.drivers.keithley_2450 import Keithley2450
from labctl.drivers.keithley_2600 import Keithley2600
from labctl.drivers.pulse_generator import PulseGenerator
from labctl.drivers.pulses import NotPulsedError
from labctl.drivers.source_measure import SourceMeasureUnit, swept
from labctl.errors import InstrumentError, LinkError, LinkTimeoutError
from labctl.links.wire_log import read_wire_log
from labctl.simulated_instruments.instruments import keithley_2400, keithley_2450, keithley_2600
from labctl.simulated_instruments.network import Bias

MODELS = {
    "2400": (Keithley2400, keithley_2400.build, {"wired_to": "load.hi"}, ""),
    "2450": (Keithley2450, keithley_2450.build, {"wired_to": "load.hi"}, ""),
    "2600": (Keithley2600, keithley_2600.build, {"wired_to": {"a": "load.hi"}}, "a"),
}
OHMS = 1e4
VOLTS = 0.06
"""What a reading of a pulse errs by at the most: five of the hum of 12 mV in a thousandth of a cycle on a 6 V range."""
AMPS = 20e-9
"""What a reading on the 100 uA ranges errs by at the most here: some steps of 1 nA, and their noise."""


@dataclass
class Bench:
    """A unit on a resistor of 10 kOhm. instrument: the driver. unit: it, or its channel. lead: what it drives."""

    instrument: Any
    unit: Any
    served: ServedInstrument
    lead: ResistorLead


@contextlib.contextmanager
def bench_of(model: str, **settings: Any) -> Iterator[Bench]:
    kind, build, options, channel = MODELS[model]
    leads = Leads(OHMS)
    with served(build, options, load=leads) as instrument, instrument.driver(kind, **settings) as driver:
        yield Bench(driver, driver.channel(channel) if channel else driver, instrument, leads.lead("hi"))


@pytest.fixture(params=MODELS)
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    with bench_of(request.param) as found:
        yield found


def test_all_have_the_common_face(bench: Bench) -> None:
    assert isinstance(bench.unit, SourceMeasureUnit)


def test_a_resistor_is_measured_as_what_it_is(bench: Bench) -> None:
    unit = bench.unit
    unit.source_voltage(1.0, 1e-3)
    unit.output(True)
    measured = unit.measure()
    assert measured.volts == pytest.approx(1.0, abs=1e-3)
    assert measured.amps == pytest.approx(1.0 / OHMS, abs=AMPS)
    assert (measured.in_compliance, measured.overflow) == (False, False)
    assert unit.status() == {"output on"}


def test_compliance_is_told_with_what_is_really_there(bench: Bench) -> None:
    unit = bench.unit
    unit.source_voltage(1.0, 5e-5)
    unit.output(True)
    measured = unit.measure()
    assert measured.in_compliance
    assert measured.amps == pytest.approx(5e-5, abs=AMPS)
    assert measured.volts == pytest.approx(0.5, abs=1e-3)
    assert unit.status() == {"output on", "in compliance"}


def test_a_current_source_stops_at_its_voltage(bench: Bench) -> None:
    unit = bench.unit
    unit.source_current(5e-5, 2.0)
    unit.output(True)
    free = unit.measure()
    assert (free.volts, free.in_compliance) == (pytest.approx(0.5, abs=1e-3), False)
    unit.source_current(5e-5, 0.2)
    unit.output(True)
    held = unit.measure()
    assert (held.volts, held.in_compliance) == (pytest.approx(0.2, abs=1e-3), True)


def test_a_sweep_is_one_message_each_way_and_ends_at_0_v(tmp_path: Path) -> None:
    for model in MODELS:
        path = tmp_path / model
        with bench_of(model, wire_log=str(path)) as bench:
            unit = bench.unit
            unit.source_voltage(0.0, 1e-4)
            unit.output(True)
            before = len(list(read_wire_log(path)))
            levels = np.linspace(0.0, 2.0, 21)
            found = unit.sweep(levels, 1e-4, delay=1e-3)
            assert [direction for _, direction, _ in read_wire_log(path)][before:] == [">", "<"]
            reached = np.minimum(levels, 1.0)
            np.testing.assert_allclose(found.amps, reached / OHMS, atol=AMPS)
            np.testing.assert_allclose(found.volts, reached, atol=1e-3)
            np.testing.assert_array_equal(found.in_compliance[levels != 1.0], levels[levels != 1.0] > 1.0)
            assert not found.overflow.any()
            assert abs(unit.measure().volts) < 1e-3


def test_a_sweep_of_more_levels_than_one_command_holds(bench: Bench) -> None:
    bench.unit.source_voltage(0.0, 1e-3)
    bench.unit.output(True)
    levels = np.linspace(0.1, 1.0, 250)
    np.testing.assert_allclose(bench.unit.sweep(levels, 1e-3).amps, levels / OHMS, atol=AMPS)


def test_a_pulse_lasts_as_long_as_it_should_and_is_refused_where_it_cannot(bench: Bench) -> None:
    unit = bench.unit
    unit.source_voltage(0.0, 1e-3)
    unit.output(True)
    for width in (unit.shortest_pulse, 1.7 * unit.shortest_pulse, 5 * unit.shortest_pulse, 20e-3):
        measured = unit.pulse(0.75, width, 1e-4)
        assert measured.amps == pytest.approx(0.75 / OHMS, abs=1e-6)  # a hundredth of a cycle hears the mains
        assert bench.lead.held_for(0.75) == pytest.approx(width, rel=1e-8)  # a delay is told in nine digits
        assert abs(unit.measure().volts) < 1e-3
    with pytest.raises(ValueError, match="cannot be given"):
        unit.pulse(0.75, unit.shortest_pulse / 2, 1e-3)


@pytest.mark.parametrize("model", MODELS)
def test_a_pulse_is_as_long_where_the_mains_have_60_hz(model: str) -> None:
    kind, build, options, channel = MODELS[model]
    leads = Leads(OHMS)
    with (
        served(build, {**options, "line_frequency": 60}, load=leads) as instrument,
        instrument.driver(kind) as driver,
    ):
        unit = driver.channel(channel) if channel else driver
        unit.source_voltage(0.0, 1e-4)
        unit.output(True)
        unit.pulse(0.75, unit.shortest_pulse, 1e-4)
        assert leads.lead("hi").held_for(0.75) == pytest.approx(unit.shortest_pulse, rel=1e-8)


def held(bench: Bench, since: int = 0) -> float:
    """The highest V that has been on the lead."""
    return max((abs(each.level) for _, each in bench.lead.told[since:] if isinstance(each, Bias)), default=0.0)


def test_with_the_output_off_there_is_no_pulse_and_no_sweep_and_it_stays_off(bench: Bench) -> None:
    unit = bench.unit
    for before in (lambda: None, lambda: unit.output(True), bench.instrument.safe_state):
        before()
        if unit.is_on:
            continue
        unit.source_voltage(0.0, 1e-3)
        with pytest.raises(NotPulsedError, match="no pulse: its output is off"):
            unit.pulse(2.0, 5e-3, 1e-3)
        for levels in ([2.0], [2.0, 2.0]):
            with pytest.raises(InstrumentError, match="no sweep: its output is off"):
                unit.sweep(levels, 1e-3)
        assert "output on" not in unit.status()
    assert held(bench) == 0.0


def test_an_output_that_somebody_else_switched_off_gives_no_pulse(bench: Bench) -> None:
    unit = bench.unit
    unit.source_voltage(0.0, 1e-3)
    unit.output(True)
    bench.instrument.link.write({"a": "smua.source.output=0"}.get(getattr(unit, "name", ""), ":OUTP OFF"))
    with pytest.raises(NotPulsedError, match="no pulse: its output is off"):
        unit.pulse(2.0, 5e-3, 1e-3)
    assert not unit.is_on
    assert held(bench) == 0.0


def test_a_pulse_whose_limit_is_refused_is_not_given(bench: Bench) -> None:
    unit = bench.unit
    unit.source_voltage(0.0, 1e-3)
    unit.output(True)
    with pytest.raises(NotPulsedError, match="refused"):
        unit.pulse(2.0, 5e-3, 5.0)
    assert held(bench) == 0.0
    assert unit.pulse(2.0, 5e-3, 1e-3).volts == pytest.approx(2.0, abs=VOLTS)


def test_the_range_of_readings_does_not_hold_a_pulse_back_and_is_the_same_afterwards(bench: Bench) -> None:
    unit = bench.unit
    unit.set_current_range(1e-6)
    unit.source_voltage(0.0, 1e-3)
    unit.output(True)
    free = unit.pulse(2.0, 5e-3, 1e-3)
    assert (free.volts, free.in_compliance) == (pytest.approx(2.0, abs=VOLTS), False)
    unit.source_voltage(2.0, 1e-3)
    narrow = unit.measure()
    assert narrow.in_compliance
    assert narrow.amps == pytest.approx(1e-6, rel=0.06)
    limited = unit.pulse(2.0, 5e-3, 1e-5)
    assert limited.in_compliance
    assert limited.volts == pytest.approx(0.1, abs=VOLTS)


@pytest.mark.parametrize("model", MODELS)
def test_any_range_of_currents_can_be_had_whatever_the_compliance_was(model: str) -> None:
    with bench_of(model, current_range=1e-3) as bench:
        unit = bench.unit
        unit.source_voltage(5.0, 1e-3)
        unit.output(True)
        assert unit.measure().amps == pytest.approx(5e-4, rel=1e-3)
        for amps, compliance in ((1e-5, 1e-5), (1e-2, 1e-5), (1e-2, 1e-2), (1e-5, 1e-2), (1e-3, 1e-3)):
            unit.set_current_range(amps)
            unit.source_voltage(5.0, compliance)
            least = min(amps, compliance)
            assert unit.measure().amps == pytest.approx(min(5e-4, least), rel=0.06)


def test_a_range_does_not_raise_the_compliance(bench: Bench) -> None:
    unit = bench.unit
    unit.source_voltage(1.0, 1e-5)
    unit.output(True)
    unit.set_current_range(1e-2)
    assert unit.measure().amps == pytest.approx(1e-5, rel=0.06)


def test_what_it_sources_is_known_and_after_a_fault_it_is_not(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    unit, link = bench.unit, bench.instrument.link
    assert (unit.is_on, unit.voltage) == (False, None)
    unit.source_voltage(0.5, 1e-3)
    assert (unit.is_on, unit.voltage) == (False, 0.5)
    unit.output(True)
    assert unit.is_on
    with monkeypatch.context() as patched:
        exchange = link.exchange

        def lost(*parts: Any, **options: Any) -> Any:
            exchange(*parts, **options)
            raise LinkTimeoutError("no answer")

        patched.setattr(link, "exchange", lost)
        for action in (lambda: unit.source_voltage(0.7, 1e-3), lambda: unit.sweep([0.1], 1e-3)):
            with pytest.raises(LinkTimeoutError):
                action()
            assert (unit.is_on, unit.voltage) == (True, None)
    unit.sweep([0.1], 1e-3)
    assert unit.voltage == 0.0
    unit.source_current(1e-6, 1.0)
    assert (unit.is_on, unit.voltage) == (False, None)
    assert "output on" not in unit.status()


def test_after_a_pulse_readings_are_as_long_as_before(bench: Bench) -> None:
    unit = bench.unit
    unit.source_voltage(0.5, 1e-3)
    unit.output(True)

    def seconds() -> float:
        begun = bench.lead.clock.now()
        unit.measure()
        return bench.lead.clock.now() - begun

    usual = seconds()
    unit.pulse(0.5, 5e-3, 1e-3)
    assert seconds() == pytest.approx(usual)
    unit.set_integration_time(10 * unit.integration_time)
    assert seconds() > 5 * usual


def test_an_integration_time_that_is_none_is_refused_before_anything_is_sent(bench: Bench) -> None:
    with pytest.raises(ValueError, match="power line cycles"):
        bench.unit.set_integration_time(1e-4)
    with pytest.raises(ValueError, match="beyond the instrument's"):
        bench.unit.source_voltage(1e4, 1e-3)
    with pytest.raises(ValueError, match="compliance must be more than 0"):
        bench.unit.source_voltage(1.0, 0.0)
    with pytest.raises(ValueError, match="a sweep's levels"):
        bench.unit.sweep([0.0, float("nan")], 1e-3)


def test_measuring_with_the_output_off_is_an_error_not_a_reading(bench: Bench) -> None:
    with pytest.raises(InstrumentError):
        bench.unit.measure()


def test_safe_state_switches_off_and_the_snapshot_says_how_things_stand(bench: Bench) -> None:
    bench.unit.source_voltage(1.0, 1e-3)
    bench.unit.output(True)
    bench.instrument.safe_state()
    assert "output on" not in bench.unit.status()
    snapshot = bench.instrument.snapshot()
    assert snapshot["idn"] == bench.instrument.link.idn
    assert len(snapshot) > 8


@pytest.mark.parametrize("model", MODELS)
def test_a_unit_that_was_switched_off_meanwhile_is_not_trusted(model: str) -> None:
    with bench_of(model) as bench:
        bench.unit.source_voltage(0.1, 1e-3)
        bench.served.restart()
        with pytest.raises(LinkError):
            bench.unit.output(True)
        with pytest.raises(LinkError, match="restarted"):
            bench.unit.output(True)
        bench.instrument.connect = lambda: None
        bench.instrument.safe_state = lambda: None  # it is off


def test_another_instrument_is_told_from_its_identity() -> None:
    kind, build, options, _ = MODELS["2400"]
    with served(build, options, load=Leads()) as instrument:
        with pytest.raises(InstrumentError, match="'x' is for MODEL 2450 or"):
            instrument.driver(Keithley2450).connect()
        driver = instrument.driver(kind)
        driver.connect()
        driver.close()
        driver.close()


def test_a_model_is_known_by_its_field_and_not_by_a_serial_number() -> None:
    with (
        served(keithley_2600.build, {"model": "2636B", "serial": "4426010"}) as served_2600,
        served_2600.driver(Keithley2600) as driver,
    ):
        assert driver.names == ("a", "b")
        assert driver.channel("b").max_voltage == 200.0
    with served(keithley_2400.build, {"serial": "3352410"}) as served_2400:
        with served_2400.driver(Keithley2400) as driver:
            assert driver.max_voltage == 210.0
        with pytest.raises(InstrumentError, match="'x' is for 335 or 336"):
            served_2400.driver(PulseGenerator).connect()
    with (
        served(keithley_2450.build, {}) as served_2450,
        pytest.raises(InstrumentError, match=r"MODEL 2450,.* answers, where the driver 'x' is for MODEL 2400 or"),
    ):
        served_2450.driver(Keithley2400).connect()


def test_words_that_stand_for_no_value_are_flagged_and_never_passed_on() -> None:
    found = swept([0.1, 0.2, 0.3], [1e-6, 9.9e37, 9.91e37], [False, True, False])
    np.testing.assert_array_equal(np.isnan(found.amps), [False, True, True])
    np.testing.assert_array_equal(found.overflow, [False, True, True])
    assert found[1].in_compliance
    assert np.isnan(found[1].amps)
    assert found[0].amps == 1e-6
