"""A 2450 on a resistor, over the wire: numbers, compliance, refusals, sweeps and named buffers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from source_meters import Bench, wired

from labctl.simulated_instruments.instruments.keithley_2450 import AUTO_DELAY, RATINGS, build

OHMS = 10e3
AMPS_NOISE = 0.4e-9  # on 100 uA at 1 PLC
VOLTS_NOISE = 10e-6  # on 2 V
LIMITED, OUTPUT, READBACK = 1 << 5, 1 << 7, 1 << 3


@pytest.fixture
def smu() -> Iterator[Bench]:
    with wired(build) as bench:
        yield bench


def test_it_says_what_it_is_and_which_language_it_speaks(smu: Bench) -> None:
    assert smu.ask("*IDN?").startswith("KEITHLEY INSTRUMENTS,MODEL 2450,1234567,")
    assert smu.ask("*LANG?") == "SCPI"
    assert smu.complaints("*LANG TSP") == [-221]


def test_defaults(smu: Bench) -> None:
    asked = ":SOUR:FUNC?;:SENS:FUNC?;:SENS:COUN?;:SENS:CURR:AZER?;RANG:AUTO?;:SOUR:VOLT:READ:BACK?;:ROUT:TERM?"
    assert smu.ask(asked) == 'VOLT;"CURR:DC";1;1;1;1;FRON'
    assert smu.ask(":OUTP?") == "0"
    assert smu.numbers(":SOUR:VOLT:ILIM?") == [1.05e-4]
    assert smu.numbers(":SOUR:CURR:VLIM?") == [21.0]


@pytest.mark.parametrize("volts", [-0.7, 0.2, 0.9])
def test_a_sourced_voltage_drives_the_current_of_the_resistor(smu: Bench, volts: float) -> None:
    smu.tell(f":SOUR:VOLT {volts};:OUTP ON")
    amps, source = smu.numbers(':READ? "defbuffer1", READ, SOUR')
    assert amps == pytest.approx(volts / OHMS, abs=6 * AMPS_NOISE)
    assert source == pytest.approx(volts, abs=6 * VOLTS_NOISE)


def test_without_readback_the_source_is_what_was_set(smu: Bench) -> None:
    smu.tell(":SOUR:VOLT:READ:BACK OFF;:SOUR:VOLT 0.5;:SOUR:VOLT:ILIM 20E-6;:OUTP ON")
    source, word = smu.numbers(":READ? 'defbuffer1', SOUR, SOURSTAT")
    assert source == 0.5
    assert int(word) == LIMITED | OUTPUT
    smu.tell(":SOUR:VOLT:READ:BACK ON")
    source, word = smu.numbers(":READ? 'defbuffer1', SOUR, SOURSTAT")
    assert source == pytest.approx(0.2, abs=6 * VOLTS_NOISE)
    assert int(word) == LIMITED | OUTPUT | READBACK


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("settings", "reading", "noise"),
    [
        (":SOUR:VOLT:ILIM 50E-6;:SOUR:VOLT {sign}5", 50e-6, AMPS_NOISE),
        (":SOUR:FUNC CURR;:SENS:FUNC 'VOLT';:SOUR:CURR:VLIM 1.5;:SOUR:CURR {sign}1E-3", 1.5, VOLTS_NOISE),
    ],
)
def test_limits_hold_on_either_side(smu: Bench, settings: str, reading: float, noise: float, sign: int) -> None:
    smu.tell(settings.format(sign="+" if sign > 0 else "-") + ";:OUTP ON")
    found, word = smu.numbers(":READ? 'defbuffer1', READ, SOURSTAT")
    assert found == pytest.approx(sign * reading, abs=6 * noise)
    assert int(word) & LIMITED
    tripped = smu.ask(":SOUR:VOLT:ILIM:TRIP?;:SOUR:CURR:VLIM:TRIP?")
    assert tripped == ("1;0" if "VOLT:ILIM" in settings else "0;1")


@pytest.mark.parametrize(
    ("message", "number"),
    [
        (":SOUR:VOLT 211", -222),
        (":SOUR:VOLT:RANG 2;:SOUR:VOLT 5", -222),
        (":SOUR:VOLT:ILIM 0.5;:SOUR:VOLT 100", -221),  # beyond 20 W
        (":SENS:FUNC 'FREQ'", -224),
        (":INIT", -221),
        (":SOUR:SWE:CURR:LIN 0,1E-3,11", -221),  # volts are sourced
        (":TRAC:MAKE 'mine', 5", -222),
        (":TRAC:DEL 'defbuffer1'", -221),
        (":TRAC:TRIG 'nobodys'", -224),
        (":SOUR:LIST:VOLT 1,2;:SOUR:SWE:VOLT:LIST 3", -222),
        (":SENS:FUNC 'RES';:SOUR:FUNC VOLT", -221),
        (":SOUR:VOLT:DEL:USER6 1", -114),
    ],
)
def test_what_it_refuses(smu: Bench, message: str, number: int) -> None:
    assert smu.complaints(message) == [number]


def test_reset_puts_settings_back_and_clear_does_not(smu: Bench) -> None:
    smu.tell(":SOUR:VOLT 0.5;:SENS:CURR:NPLC 0.1;:TRAC:MAKE 'mine', 20;:OUTP ON")
    smu.tell("*CLS")
    assert smu.ask(":SOUR:VOLT?;:OUTP?;:TRAC:POIN? 'mine'") == "0.5;1;20"
    smu.tell("*RST")
    assert smu.ask(":SOUR:VOLT?;:OUTP?;:SENS:CURR:NPLC?;:TRAC:ACT?") == "0.0;0;1.0;0"
    smu.session.write(":TRAC:POIN? 'mine'")
    assert smu.ask(":SYST:ERR?").startswith("-224")


# -- buffers ----------------------------------------------------------------------------------------------------------


def test_a_buffer_of_ones_own_keeps_as_many_readings_as_it_is_made_for(smu: Bench) -> None:
    smu.tell(":TRAC:MAKE 'mine', 10;:SENS:COUN 7;:SOUR:VOLT 0.5;:OUTP ON;:TRAC:TRIG 'mine'")
    assert smu.ask(":TRAC:ACT? 'mine';:TRAC:ACT?") == "7;0"
    smu.tell(":TRAC:TRIG 'MINE'")
    assert smu.ask(":TRAC:ACT? 'mine'") == "10"
    assert smu.numbers(":TRAC:DATA? 1, 10, 'mine'") == pytest.approx([5e-5] * 10, abs=6 * AMPS_NOISE)
    smu.tell(":TRAC:CLE 'mine'")
    assert smu.ask(":TRAC:ACT? 'mine'") == "0"
    smu.tell(":TRAC:DEL 'mine'")
    assert smu.complaints(":TRAC:CLE 'mine'") == [-224]


def test_a_buffer_that_fills_continuously_forgets_the_oldest(smu: Bench) -> None:
    smu.tell(":TRAC:MAKE 'mine', 10;:TRAC:FILL:MODE CONT, 'mine';:SENS:COUN 10;:OUTP ON;:TRAC:TRIG 'mine'")
    last = smu.ask(":TRAC:DATA? 10, 10, 'mine', SEC, FRAC")
    smu.tell(":SENS:COUN 9;:TRAC:TRIG 'mine'")
    assert smu.ask(":TRAC:DATA? 1, 1, 'mine', SEC, FRAC") == last


def test_what_a_buffer_tells_of_a_reading(smu: Bench) -> None:
    smu.tell(":SOUR:VOLT 0.5;:OUTP ON;:TRAC:TRIG")
    words = "DATE,FORM,FRAC,READ,REL,SEC,SOUR,SOURFORM,SOURSTAT,SOURUNIT,STAT,TIME,TST,UNIT"
    told = dict(zip(words.split(","), smu.ask(f":TRAC:DATA? 1,1,'defbuffer1',{words}").split(","), strict=True))
    assert told["DATE"] == "01/01/2026"
    assert float(told["FORM"].split()[0]) == pytest.approx(float(told["READ"]) * 1e6)
    assert told["FORM"].split()[1] == "uA"
    assert float(told["SOURFORM"].split()[0]) == pytest.approx(float(told["SOUR"]) * 1e3)
    assert told["SOURUNIT"] == "V"
    assert int(told["SEC"]) == 1_767_225_600
    assert 0 < float(told["FRAC"]) < 1
    assert float(told["REL"]) == 0
    assert told["TST"] == f"{told['DATE']} {told['TIME']}"
    assert int(told["SOURSTAT"]) == OUTPUT | READBACK
    assert int(told["STAT"]) == 1 << 3  # front terminals
    assert smu.ask(":TRAC:DATA? 1,1,'defbuffer1',SOURFORMATTED") == told["SOURFORM"]


def test_the_reading_is_given_in_the_unit_asked_for(smu: Bench) -> None:
    smu.tell(":SOUR:VOLT 0.5;:OUTP ON;:SENS:CURR:UNIT OHM")
    assert smu.numbers(":READ?") == [pytest.approx(OHMS, rel=1e-4)]
    smu.tell(":SENS:CURR:UNIT WATT")
    assert smu.numbers(":READ?") == [pytest.approx(0.25 / OHMS, rel=1e-4)]


@pytest.mark.parametrize("ohms", [47.0, 10e3, 3.3e6])
def test_resistance_finds_its_range(ohms: float) -> None:
    with wired(build, resistance=ohms) as smu:
        smu.tell(":SENS:FUNC 'RES';:OUTP ON")
        assert smu.numbers(":READ?") == [pytest.approx(ohms, rel=1e-3)]
        assert smu.ask(":SOUR:FUNC?") == "CURR"


def test_statistics_of_a_buffer(smu: Bench) -> None:
    smu.tell(":SOUR:LIST:VOLT 0.1,0.2,0.6;:SOUR:SWE:VOLT:LIST 1,0;:INIT")
    expected = {"AVER": 3e-5, "MAX": 6e-5, "MIN": 1e-5, "STDD": np.std([1e-5, 2e-5, 6e-5], ddof=1)}
    for kind, amps in expected.items():
        assert smu.numbers(f":TRAC:STAT:{kind}?") == [pytest.approx(amps, abs=6 * AMPS_NOISE)]


def test_readings_travel_as_floats_too(smu: Bench) -> None:
    smu.tell(":SENS:COUN 3;:SOUR:VOLT 0.5;:OUTP ON;:TRAC:TRIG;:FORM:DATA REAL;:FORM:BORD NORM")
    doubles = smu.session.query_binary_values(":TRAC:DATA? 1,3", "d", is_big_endian=True, data_points=3)
    smu.tell(":FORM:DATA SRE;:FORM:BORD SWAP")
    singles = smu.session.query_binary_values(":TRAC:DATA? 1,3", "f", is_big_endian=False, data_points=3)
    assert doubles == pytest.approx([5e-5] * 3, abs=6 * AMPS_NOISE)
    assert singles == pytest.approx(doubles, rel=1e-6)


# -- sweeps -----------------------------------------------------------------------------------------------------------


def sweep(smu: Bench, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """(levels, A) of a sweep of volts."""
    smu.tell(f":SOUR:VOLT:ILIM 5E-3;:SOUR:SWE:VOLT:{kind};:INIT;*WAI")
    count = int(smu.ask(":TRAC:ACT?"))
    levels, amps = np.array(smu.numbers(f":TRAC:DATA? 1,{count},'defbuffer1',SOUR,READ")).reshape(-1, 2).T
    return levels, amps


@pytest.mark.parametrize(
    ("kind", "levels"),
    [
        ("LIN -1,1,21", np.linspace(-1, 1, 21)),
        ("LIN:STEP 1,0,0.25", np.linspace(1, 0, 5)),
        ("LOG 0.01,10,4", np.array([0.01, 0.1, 1.0, 10.0])),
        ("LIN 0,1,3,0,2", np.array([0, 0.5, 1] * 2)),
        ("LIN 0,1,3,0,1,BEST,OFF,ON,'defbuffer1'", np.array([0, 0.5, 1, 1, 0.5, 0])),
    ],
)
def test_sweeps_measure_every_level(smu: Bench, kind: str, levels: np.ndarray) -> None:
    smu.tell(":SOUR:VOLT:READ:BACK OFF")
    found, amps = sweep(smu, kind)
    np.testing.assert_allclose(found, levels, atol=1e-9)
    np.testing.assert_allclose(amps, levels / OHMS, atol=6 * 5e-9)  # on 1 mA at the most
    assert smu.ask(":OUTP?") == "0"


def test_a_sweep_stops_at_its_limit_where_told_to(smu: Bench) -> None:
    smu.tell(":SOUR:VOLT:ILIM 55E-6;:SOUR:SWE:VOLT:LIN 0,1,11,0,1,BEST,ON;:INIT")
    assert smu.ask(":TRAC:ACT?") == "7"  # 0.6 V is the first that would need more
    smu.tell(":SOUR:SWE:VOLT:LIN 0,1,11,0,1,BEST,OFF;:INIT")
    assert smu.ask(":TRAC:ACT?") == "11"


def test_a_sweep_takes_its_delays_and_integrations(smu: Bench) -> None:
    smu.tell(":SENS:CURR:AZER OFF;:SENS:CURR:NPLC 2;:SOUR:VOLT:READ:BACK OFF;:SOUR:SWE:VOLT:LIN 0,1,11,0.1")
    each = 0.1 + AUTO_DELAY + 2 / 50 + RATINGS.overhead
    assert smu.seconds(":INIT;*OPC?") == pytest.approx(11 * each, abs=1e-6)
    smu.tell(":SOUR:VOLT:DEL 0.05;:SENS:CURR:AZER ON")
    each = 0.1 + 0.05 + (1 + 2) * 2 / 50 + RATINGS.overhead  # zero and reference, too
    assert smu.seconds(":INIT;*OPC?") == pytest.approx(11 * each, abs=1e-6)


def test_a_simple_loop_measures_at_the_level_that_is_set(smu: Bench) -> None:
    smu.tell(":SOUR:VOLT 0.5;:TRIG:LOAD 'SimpleLoop', 5, 0.1;:INIT")
    assert smu.numbers(":TRAC:DATA? 1,5") == pytest.approx([5e-5] * 5, abs=6 * AMPS_NOISE)
