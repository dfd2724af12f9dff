"""A 2400 on a resistor, over the wire: numbers, compliance, refusals, sweeps, buffer, status."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from source_meters import Bench, wired

from labctl.simulated_instruments.instruments.keithley_2400 import RATINGS, build

OHMS = 10e3
AMPS_NOISE = 0.5e-9  # on 100 uA at 1 PLC
COMPLIANCE, RANGE_COMPLIANCE, OVERFLOW = 1 << 3, 1 << 16, 1 << 0


@pytest.fixture
def smu() -> Iterator[Bench]:
    with wired(build) as bench:
        yield bench


def test_it_says_what_it_is(smu: Bench) -> None:
    maker, model, serial, _ = smu.ask("*IDN?").split(",")
    assert (maker, model, serial) == ("KEITHLEY INSTRUMENTS INC.", "MODEL 2400", "1234567")


@pytest.mark.parametrize("volts", [-0.7, 0.2, 0.9])
def test_a_sourced_voltage_drives_the_current_of_the_resistor(smu: Bench, volts: float) -> None:
    smu.tell(f":FORM:ELEM CURR;:SOUR:VOLT {volts};:OUTP ON")
    assert smu.numbers(":READ?") == [pytest.approx(volts / OHMS, abs=6 * AMPS_NOISE)]


def test_a_sourced_current_drops_its_voltage_over_the_resistor(smu: Bench) -> None:
    smu.tell(":FORM:ELEM VOLT;:SOUR:FUNC CURR;:SENS:FUNC 'VOLT';:SOUR:CURR 100E-6;:OUTP ON")
    assert smu.numbers(":READ?") == [pytest.approx(1.0, abs=6 * 5e-6)]  # half of the last digit of 2 V


def test_what_is_not_measured_shows_what_is_sourced_and_the_rest_is_no_number(smu: Bench) -> None:
    smu.tell(":SOUR:VOLT 0.5;:OUTP ON")
    volts, amps, ohms, _, word = smu.numbers(":READ?")
    assert volts == 0.5
    assert amps == pytest.approx(5e-5, abs=6 * AMPS_NOISE)
    assert ohms == 9.91e37
    assert int(word) == 1 << 2 | 1 << 12 | 1 << 14  # front terminals, amperes measured, volts sourced


def test_what_is_unwired_is_an_open_circuit() -> None:
    with wired(build, resistance=None) as smu:
        smu.tell(":FORM:ELEM VOLT,CURR,STAT;:SENS:FUNC:ALL;:SENS:RES:MODE MAN;:SOUR:FUNC CURR;:SOUR:CURR 1E-3;:OUTP ON")
        volts, amps, word = smu.numbers(":READ?")
        assert volts == pytest.approx(21.0, abs=1e-3)
        assert abs(amps) < 1e-6
        assert int(word) & COMPLIANCE


def test_the_same_serial_number_has_the_same_noise() -> None:
    def readings(serial: str) -> list[float]:
        with wired(build, serial=serial) as smu:
            smu.tell(":FORM:ELEM CURR;:SOUR:VOLT 0.5;:OUTP ON;:TRIG:COUN 5")
            return smu.numbers(":READ?")

    assert readings("1") == readings("1")
    assert readings("1") != readings("2")


def test_measure_turns_its_function_on_and_takes_one_reading(smu: Bench) -> None:
    smu.tell(":FORM:ELEM VOLT,CURR;:TRIG:COUN 5;:SENS:CURR:NPLC 0.1;:SENS:CURR:RANG 1E-4;:SOUR:VOLT 0.5;:OUTP ON")
    volts, amps = smu.numbers(":MEAS:CURR?")
    assert (volts, amps) == (0.5, pytest.approx(5e-5, abs=6 * AMPS_NOISE))
    assert smu.ask(":TRIG:COUN?;:SENS:CURR:NPLC?;:SENS:CURR:RANG:AUTO?;:CONF?") == '1;1.0;1;"CURR:DC"'
    smu.tell(":CONF:VOLT")
    assert smu.ask(":SENS:FUNC?;FUNC:COUN?") == '"VOLT:DC","CURR:DC";2'


def test_without_concurrent_measurements_one_function_follows_the_other(smu: Bench) -> None:
    smu.tell(":SENS:FUNC:CONC OFF;:SENS:FUNC 'VOLT:DC'")
    assert smu.ask(":SENS:FUNC?;FUNC:OFF?") == '"VOLT:DC";"CURR:DC","RES"'
    assert smu.complaints(":SENS:FUNC 'VOLT','CURR'") == [-221]
    smu.tell(":SENS:FUNC 'RESISTANCE'")
    assert smu.ask(":SENS:FUNC?") == '"RES"'


def test_other_terminals_turn_the_output_off(smu: Bench) -> None:
    smu.tell(":OUTP ON;:ROUT:TERM REAR")
    assert smu.ask(":OUTP?;:ROUT:TERM?") == "0;REAR"


# -- compliance and ranges --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", [1, -1])
def test_current_compliance_holds_the_current_and_lets_the_voltage_go(smu: Bench, sign: int) -> None:
    smu.tell(f":FORM:ELEM VOLT,CURR,STAT;:SENS:FUNC 'VOLT','CURR';:SENS:CURR:PROT 50E-6;:SOUR:VOLT {sign * 5};:OUTP ON")
    volts, amps, word = smu.numbers(":READ?")
    assert amps == pytest.approx(sign * 50e-6, abs=6 * AMPS_NOISE)
    assert volts == pytest.approx(sign * 0.5, abs=6 * 50e-6)
    assert int(word) & COMPLIANCE
    assert smu.ask(":SENS:CURR:PROT:TRIP?") == "1"
    assert smu.ask(":SENS:VOLT:PROT:TRIP?") == "0"


@pytest.mark.parametrize("sign", [1, -1])
def test_voltage_compliance_holds_the_voltage_and_lets_the_current_go(smu: Bench, sign: int) -> None:
    smu.tell(
        ":FORM:ELEM VOLT,CURR,STAT;:SENS:FUNC 'VOLT','CURR';:SOUR:FUNC CURR;:SENS:VOLT:PROT 2"
        f";:SOUR:CURR {sign * 1e-3};:OUTP ON"
    )
    volts, amps, word = smu.numbers(":READ?")
    assert volts == pytest.approx(sign * 2, abs=6 * 5e-6)
    assert amps == pytest.approx(sign * 2e-4, abs=6 * 5e-9)
    assert int(word) & COMPLIANCE


def test_below_the_limit_nothing_is_limited(smu: Bench) -> None:
    smu.tell(":FORM:ELEM STAT;:SENS:CURR:PROT 51E-6;:SOUR:VOLT 0.5;:OUTP ON")
    assert not int(smu.numbers(":READ?")[0]) & (COMPLIANCE | RANGE_COMPLIANCE)
    assert smu.ask(":SENS:CURR:PROT:TRIP?") == "0"


def test_a_fixed_measurement_range_below_the_limit_limits_first(smu: Bench) -> None:
    smu.tell(":FORM:ELEM CURR,STAT;:SENS:CURR:RANG 10E-6;:SOUR:VOLT 0.5;:OUTP ON")
    amps, word = smu.numbers(":READ?")
    assert amps == pytest.approx(10.5e-6, abs=6 * 0.05e-9)
    assert int(word) & (COMPLIANCE | RANGE_COMPLIANCE) == RANGE_COMPLIANCE


def test_ranges_are_named_by_what_they_reach(smu: Bench) -> None:
    smu.tell(":SENS:CURR:PROT 0.1;:SENS:CURR:RANG 2E-3;:SOUR:VOLT:RANG 1.5")
    assert smu.numbers(":SENS:CURR:RANG?") == [1.05e-2]
    assert smu.numbers(":SOUR:VOLT:RANG?") == [2.1]
    assert smu.ask(":SENS:CURR:RANG:AUTO?;:SOUR:VOLT:RANG:AUTO?") == "0;0"


def test_the_source_range_follows_the_level_only_while_it_is_automatic(smu: Bench) -> None:
    smu.tell(":SOUR:VOLT 1.9")
    assert smu.numbers(":SOUR:VOLT:RANG?") == [2.1]
    smu.tell(":SOUR:VOLT:RANG 2")
    assert smu.complaints(":SOUR:VOLT 5") == [-222]
    assert smu.numbers(":SOUR:VOLT?") == [1.9]


@pytest.mark.parametrize(
    ("message", "number"),
    [
        (":SOUR:VOLT 211", -222),
        (":SOUR:CURR 1.06", -222),
        (":SENS:CURR:NPLC 11", -222),
        (":SOUR:VOLT 5;:SOUR:VOLT:RANG 0.2", -222),
        (":SENS:CURR:RANG 1", 824),  # above the range of the compliance
        (":SENS:VOLT:RANG 2", 823),  # volts are measured on the range they are sourced on
        (":SENS:CURR:PROT 0.1;:SENS:CURR:RANG 0.1;:SENS:CURR:PROT 50E-6", 822),
        (":SENS:CURR:PROT 0.5;:SOUR:VOLT 100", 826),
        (":SOUR:VOLT 100;:SENS:CURR:PROT 0.5", 826),
        (":SENS:FUNC 'RES';:SOUR:CURR 1E-3", 825),
        (":SENS:FUNC 'FREQ'", -224),
        (":TRIG:COUN 2501", -222),
        (":TRIG:COUN 100;:ARM:COUN 26", -222),
        (":INIT", 803),
        ("*TRG", -211),
        (":SOUR:VOLT:FOO 1", -113),
    ],
)
def test_what_it_refuses(smu: Bench, message: str, number: int) -> None:
    assert smu.complaints(message) == [number]


def test_readings_need_the_output(smu: Bench) -> None:
    assert smu.complaints(":READ?") == [803]
    smu.tell(":SOUR:CLE:AUTO ON")
    assert len(smu.numbers(":READ?")) == 5
    assert smu.ask(":OUTP?") == "0"


# -- reset and status -------------------------------------------------------------------------------------------------


def test_reset_puts_settings_back_and_clear_does_not(smu: Bench) -> None:
    smu.tell("*ESE 61;*SRE 32;:SOUR:VOLT 0.5;:SENS:CURR:NPLC 0.1;:OUTP ON")
    assert smu.complaints("*CLS") == []
    assert smu.ask(":SOUR:VOLT?;:OUTP?;*ESE?;*SRE?") == "0.5;1;61;32"
    smu.session.write(":NONSENSE")
    smu.session.write("*RST")
    assert smu.ask("*ESE?;*SRE?") == "61;32"
    assert smu.ask(":SOUR:VOLT?;:OUTP?;:SENS:CURR:NPLC?") == "0.0;0;1.0"
    assert smu.ask(":SYST:ERR?").startswith("-113")  # the queue outlives a reset


def test_clear_empties_the_queue_and_the_events(smu: Bench) -> None:
    smu.tell(":SOUR:VOLT 5;:OUTP ON")
    smu.ask(":READ?")
    smu.session.write(":NONSENSE")
    smu.session.write("*CLS")
    assert smu.ask(":SYST:ERR?") == '0,"No error"'
    assert smu.ask(":STAT:MEAS?;*ESR?") == "0;0"


def test_measurement_events_tell_of_readings_and_of_compliance(smu: Bench) -> None:
    smu.tell(":SOUR:VOLT 0.5;:OUTP ON")
    assert int(smu.ask(":STAT:MEAS?")) == 0
    smu.ask(":READ?")
    assert int(smu.ask(":STAT:MEAS?")) == 1 << 6
    smu.tell(":SOUR:VOLT 5")
    smu.ask(":READ?")
    assert int(smu.ask(":STAT:MEAS:COND?")) & 1 << 14
    assert int(smu.ask(":STAT:MEAS?")) == 1 << 6 | 1 << 14
    assert int(smu.ask(":STAT:MEAS?")) == 0  # reading clears


def test_a_full_buffer_asks_for_service(smu: Bench) -> None:
    smu.tell(":STAT:PRES;*CLS;*SRE 1;:STAT:MEAS:ENAB 512;:TRAC:CLE;:TRAC:POIN 5;:TRAC:FEED:CONT NEXT")
    smu.tell(":SOUR:VOLT 0.5;:OUTP ON;:TRIG:COUN 4;:INIT")
    assert int(smu.ask("*STB?")) & 65 == 0
    smu.tell(":TRIG:COUN 1;:INIT")
    assert int(smu.ask("*STB?")) & 65 == 65
    smu.tell("*CLS")
    assert int(smu.ask("*STB?")) & 65 == 0


# -- triggers, sweeps, buffer -----------------------------------------------------------------------------------------


def test_a_staircase_measures_every_level(smu: Bench) -> None:
    smu.tell(":FORM:ELEM VOLT,CURR;:SENS:CURR:PROT 1E-3;:SOUR:VOLT:STAR -1;:SOUR:VOLT:STOP 1;:SOUR:VOLT:STEP 0.1")
    assert smu.ask(":SOUR:SWE:POIN?") == "21"
    smu.tell(":SOUR:VOLT:MODE SWE;:TRIG:COUN 21;:OUTP ON")
    volts, amps = np.array(smu.numbers(":READ?")).reshape(-1, 2).T
    np.testing.assert_allclose(volts, np.linspace(-1, 1, 21), atol=1e-9)
    np.testing.assert_allclose(amps, volts / OHMS, atol=6 * AMPS_NOISE)


def test_sweeps_run_down_in_decades_and_by_lists(smu: Bench) -> None:
    smu.tell(":FORM:ELEM VOLT;:SENS:CURR:PROT 1E-2;:OUTP ON;:SOUR:VOLT:STAR 0.01;:SOUR:VOLT:STOP 10;:SOUR:SWE:POIN 4")
    smu.tell(":SOUR:SWE:SPAC LOG;:SOUR:SWE:DIR DOWN;:SOUR:VOLT:MODE SWE;:TRIG:COUN 4")
    np.testing.assert_allclose(smu.numbers(":READ?"), [10, 1, 0.1, 0.01])
    smu.tell(":SOUR:LIST:VOLT 0.3,-0.2;:SOUR:LIST:VOLT:APP 0.7;:SOUR:VOLT:MODE LIST;:TRIG:COUN 6")
    np.testing.assert_allclose(smu.numbers(":READ?"), [0.3, -0.2, 0.7] * 2)
    smu.tell(":SOUR:VOLT:MODE FIX;:TRIG:COUN 1")
    assert smu.numbers(":READ?") == [0.0]  # the fixed level is what it was


def test_the_step_is_meant_as_it_was_set_whatever_the_order(smu: Bench) -> None:
    smu.tell(":SOUR:VOLT:STEP 0.5;:SOUR:VOLT:STAR 0;:SOUR:VOLT:STOP 2")
    assert smu.ask(":SOUR:SWE:POIN?") == "5"
    smu.tell(":SOUR:SWE:POIN 3")
    assert smu.numbers(":SOUR:VOLT:STEP?") == [1.0]
    smu.tell(":SOUR:VOLT:CENT 1;:SOUR:VOLT:SPAN 4")
    assert smu.ask(":SOUR:VOLT:STAR?;STOP?") == "-1.0;3.0"


@pytest.mark.parametrize(
    ("settings", "each"),
    [
        (":SYST:AZER OFF;:SENS:CURR:NPLC 1;:SOUR:DEL 0", 1 / 50 + RATINGS.overhead),
        (":SYST:AZER OFF;:SENS:CURR:NPLC 0.01;:SOUR:DEL 0", 0.01 / 50 + RATINGS.overhead),
        (":SYST:AZER ON;:SENS:CURR:NPLC 1;:SOUR:DEL 0.1", 0.1 + 3 / 50 + RATINGS.overhead),
        (":SYST:AZER OFF;:SENS:CURR:NPLC 1;:SOUR:DEL 0;:TRIG:DEL 0.25", 0.25 + 1 / 50 + RATINGS.overhead),
        (":SYST:AZER OFF;:SENS:AVER ON;:SENS:AVER:COUN 4;:SOUR:DEL 0", 4 * (1 / 50 + RATINGS.overhead)),
    ],
)
def test_a_sweep_takes_its_delays_and_integrations(smu: Bench, settings: str, each: float) -> None:
    smu.tell(f"{settings};:SOUR:VOLT:MODE SWE;:SOUR:VOLT:STOP 1;:SOUR:SWE:POIN 11;:TRIG:COUN 11;:OUTP ON")
    assert smu.seconds(":READ?") == pytest.approx(11 * each, abs=1e-6)  # a time of day has steps of 0.24 us


def test_the_arm_timer_keeps_its_schedule(smu: Bench) -> None:
    smu.tell(":FORM:ELEM TIME;:ARM:SOUR TIM;:ARM:TIM 0.5;:ARM:COUN 4;:OUTP ON")
    np.testing.assert_allclose(np.diff(smu.numbers(":READ?")), 0.5, atol=1e-6)


def test_the_bus_triggers_what_waits_for_it(smu: Bench) -> None:
    smu.tell(":FORM:ELEM CURR;:SOUR:VOLT 0.5;:OUTP ON;:ARM:SOUR BUS;:ARM:COUN 2;:INIT")
    assert int(smu.ask(":STAT:OPER:COND?")) == 1 << 6
    assert smu.complaints(":INIT") == [-213]
    smu.tell("*TRG")
    assert len(smu.numbers(":FETC?")) == 1
    smu.tell("*TRG")
    assert len(smu.numbers(":FETC?")) == 2
    assert int(smu.ask(":STAT:OPER:COND?")) == 1 << 10
    assert smu.complaints("*TRG") == [-211]
    assert smu.complaints(":READ?") == [-214]  # nobody could send a trigger while it waits


def test_an_endless_run_goes_on_until_it_is_aborted(smu: Bench) -> None:
    smu.tell(":FORM:ELEM CURR;:OUTP ON;:ARM:COUN INF;:INIT")
    before = len(smu.numbers(":FETC?"))
    assert len(smu.numbers(":FETC?")) > before
    smu.tell(":ABOR")
    after = len(smu.numbers(":FETC?"))
    assert len(smu.numbers(":FETC?")) == after
    assert smu.complaints(":READ?") == [830]


def test_the_buffer_keeps_readings_times_and_their_statistics(smu: Bench) -> None:
    smu.tell(":FORM:ELEM CURR,TIME;:TRAC:POIN 3;:TRAC:FEED SENS;:TRAC:FEED:CONT NEXT")
    assert smu.complaints(":TRAC:POIN 4") == [800]
    smu.tell(":SOUR:LIST:VOLT 0.1,0.2,0.6;:SOUR:VOLT:MODE LIST;:TRIG:COUN 3;:OUTP ON;:INIT")
    amps, seconds = np.array(smu.numbers(":TRAC:DATA?")).reshape(-1, 2).T
    np.testing.assert_allclose(amps, [1e-5, 2e-5, 6e-5], atol=6 * AMPS_NOISE)
    assert seconds[0] == 0
    assert np.all(np.diff(seconds) > 0)
    assert smu.ask(":TRAC:POIN:ACT?;:TRAC:FEED:CONT?") == "3;NEV"
    for kind, expected in (("MEAN", 3e-5), ("MAX", 6e-5), ("MIN", 1e-5), ("SDEV", np.std([1e-5, 2e-5, 6e-5], ddof=1))):
        smu.tell(f":CALC3:FORM {kind}")
        assert smu.numbers(":CALC3:DATA?")[1] == pytest.approx(expected, abs=6 * AMPS_NOISE)


def test_readings_travel_as_floats_too(smu: Bench) -> None:
    smu.tell(":FORM:ELEM CURR;:SOUR:VOLT 0.5;:OUTP ON;:TRIG:COUN 3;:FORM:DATA REAL,32")
    swapped = smu.session.query_binary_values(":READ?", "f", is_big_endian=False, data_points=3)
    smu.tell(":FORM:BORD NORM")
    straight = smu.session.query_binary_values(":FETC?", "f", is_big_endian=True, data_points=3)
    assert swapped == straight
    assert straight == pytest.approx([5e-5] * 3, abs=6 * AMPS_NOISE)


# -- resistance, noise ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ohms", [47.0, 10e3, 3.3e6])
def test_automatic_ohms_find_their_range(ohms: float) -> None:
    with wired(build, resistance=ohms) as smu:
        smu.tell(":FORM:ELEM RES;:SENS:FUNC 'RES';:OUTP ON")
        assert smu.numbers(":READ?") == [pytest.approx(ohms, rel=1e-4)]
        assert smu.numbers(":SENS:RES:RANG?")[0] >= ohms


def test_a_fixed_resistance_range_overflows(smu: Bench) -> None:
    smu.tell(":FORM:ELEM RES;:SENS:FUNC 'RES';:SENS:RES:RANG 2E3;:OUTP ON")
    assert smu.numbers(":READ?") == [9.9e37]


@pytest.mark.parametrize("cycles", [10.0, 1.0, 0.1, 0.01])
def test_noise_goes_by_the_integration_time(smu: Bench, cycles: float) -> None:
    """The sample standard deviation of 400 readings is within 15 % of the truth in all but 1 of 40,000 cases."""
    smu.tell(f":FORM:ELEM CURR;:SOUR:VOLT 0.5;:SENS:CURR:NPLC {cycles};:OUTP ON;:TRIG:COUN 400")
    full, white = 1e-4, AMPS_NOISE / cycles**0.5
    hum = RATINGS.hum * full / cycles if cycles < 1 else 0.0
    rounding = 1e-9 / max(cycles, 1.0) / 12**0.5  # the standard deviation of an even distribution over one digit
    expected = np.sqrt(white**2 + hum**2 + rounding**2)
    assert np.std(smu.numbers(":READ?")) == pytest.approx(expected, rel=0.15)
