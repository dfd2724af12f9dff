"""Typed parameters, over the wire: what reaches a handler, and the error for what does not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labctl.simulated_instruments.scpi import (
    Block,
    Boolean,
    ChannelList,
    Command,
    Format,
    Instrument,
    Keyword,
    Numeric,
    Parameter,
    ScpiError,
    Text,
    setting,
)
from labctl.simulated_instruments.scpi.lexer import units


def convert(parameter: Parameter, data: str, settings: Format | None = None) -> object:
    message = b"X " + data.encode("latin-1")
    ((_, _, (element,), _),) = units(message, 0, len(message))
    return parameter.convert(element, settings or Format())


def refusal(parameter: Parameter, data: str) -> int:
    with pytest.raises(ScpiError) as caught:
        convert(parameter, data)
    return caught.value.number


@pytest.mark.parametrize(
    ("data", "unit", "expected"),
    [
        ("10", "V", 10),
        ("10 MV", "V", 0.01),
        ("10 MAV", "V", 1e7),
        ("10 MA", "A", 0.01),
        ("10 UA", "A", 1e-5),
        ("10 A", "A", 10),
        ("10 MHZ", "HZ", 1e7),
        ("10 khz", "HZ", 1e4),
        ("10 MOHM", "OHM", 1e7),
        ("10 MAOHM", "OHM", 1e7),
        ("200 NS", "S", 2e-7),
        ("1.5e3 ns", "S", 1.5e-6),
        ("1 EXV", "V", 1e18),
        ("#H10", "V", 16),
    ],
)
def test_units_scale_numbers_exactly(data: str, unit: str, expected: float) -> None:
    assert convert(Numeric(unit=unit), data) == expected


@given(st.integers(-(10**6), 10**6), st.sampled_from(["", "M", "U", "N", "P", "K", "G"]))
def test_a_number_in_any_multiple_is_the_nearest_float(count: int, multiple: str) -> None:
    power = {"": 0, "M": -3, "U": -6, "N": -9, "P": -12, "K": 3, "G": 9}[multiple]
    assert convert(Numeric(unit="V"), f"{count} {multiple}V") == float(f"{count}e{power}")


def test_min_max_and_def_stand_for_what_they_are_now() -> None:
    top = [5.0]
    numeric = Numeric(unit="V", minimum=0, maximum=lambda: top[0], default=1)
    assert [convert(numeric, name) for name in ("MIN", "maximum", "DEF")] == [0, 5, 1]
    top[0] = 3.0
    assert convert(numeric, "MAX") == 3
    assert refusal(numeric, "4") == -222


@pytest.mark.parametrize(
    ("parameter", "data", "number"),
    [
        (Numeric(), "1 V", -138),
        (Numeric(unit="V"), "1 A", -131),
        (Numeric(unit="V", minimum=0), "-1", -222),
        (Numeric(unit="V", maximum=1), "1001 MV", -222),
        (Numeric(), "1E400", -222),
        (Numeric(), "MAX", -148),
        (Numeric(minimum=0), "MAX", -141),
        (Numeric(minimum=0), "FOO", -141),
        (Numeric(minimum=0), "INF", -141),
        (Numeric(infinite=True, maximum=9), "INF", -222),
        (Numeric(), "'1'", -158),
        (Numeric(), "#11a", -168),
        (Numeric(), "(@1)", -178),
        (Keyword("VOLTage"), "VOL", -224),
        (Keyword("VOLTage"), "1", -128),
        (Boolean(), "YES", -224),
        (Boolean(), "1 V", -138),
        (Boolean(), "'ON'", -158),
        (Text(), "abc", -148),
        (Text(max_length=2), "'abc'", -223),
        (Block(), "1", -128),
        (Block(dtype=np.uint16), "#13abc", -161),
        (ChannelList(), "1", -128),
        (ChannelList(), "(1)", -171),
        (ChannelList(), "(@1:2:3)", -171),
        (ChannelList(), "(@1,,2)", -171),
        (ChannelList(), "(@a)", -171),
        (ChannelList(maximum=9), "(@10)", -222),
        (ChannelList(), "(@0)", -222),
        (ChannelList(), "(@" + "9" * 5000 + ")", -222),
        (ChannelList(max_channels=3), "(@1:4)", -223),
        (ChannelList(), "(@" + "1:9999," * 7 + "1)", -223),
    ],
)
def test_what_a_parameter_does_not_take_has_its_error(parameter: Parameter, data: str, number: int) -> None:
    assert refusal(parameter, data) == number


def test_whole_numbers_are_rounded() -> None:
    values = [convert(Numeric(integer=True), data) for data in ("1.4", "-1.6", "#HFF", "1E3")]
    assert values == [1, -2, 255, 1000]
    assert all(isinstance(value, int) for value in values)


def test_infinities_are_numbers_only_where_they_mean_something() -> None:
    numeric = Numeric(infinite=True, minimum=0)
    assert convert(numeric, "INF") == convert(numeric, "INFinity") == convert(numeric, "9.9E37") == math.inf
    assert math.isnan(convert(numeric, "NAN"))
    assert refusal(numeric, "NINF") == -222


@pytest.mark.parametrize(("data", "expected"), [("ON", True), ("off", False), ("1", True), ("0", False), ("2.6", True)])
def test_booleans_are_words_or_numbers(data: str, expected: bool) -> None:
    assert convert(Boolean(), data) is expected


@pytest.mark.parametrize("data", ["VOLT", "volt", "VOLTage", "VOLTAGE"])
def test_keywords_reach_the_handler_in_short_form(data: str) -> None:
    assert convert(Keyword("VOLTage", "CURRent"), data) == "VOLT"


def test_channel_lists_keep_their_order_and_count_either_way() -> None:
    assert convert(ChannelList(), "(@1, 3:5,9 : 7 )") == (1, 3, 4, 5, 9, 8, 7)
    assert convert(ChannelList(), "(@)") == ()


@given(st.lists(st.integers(0, 65535), max_size=50), st.booleans())
def test_blocks_are_read_only_views_in_the_byte_order_that_is_set(codes: list[int], swapped: bool) -> None:
    wire = np.array(codes, "<u2" if swapped else ">u2").tobytes()
    array = convert(Block(dtype=np.uint16), f"#3{len(wire):03d}" + wire.decode("latin-1"), Format(swapped=swapped))
    assert isinstance(array, np.ndarray)
    assert array.tolist() == codes
    assert not array.flags.writeable


@pytest.mark.parametrize("word", ["voltage", "", "VOLT age", "VoltAge"])
def test_a_keyword_without_a_short_form_is_refused_when_it_is_declared(word: str) -> None:
    with pytest.raises(ValueError, match="short form"):
        Keyword(word)


def test_commands_that_cannot_work_are_refused_when_they_are_declared() -> None:
    with pytest.raises(ValueError, match="does nothing"):
        Command("NOTHing")
    with pytest.raises(ValueError, match="repeated"):
        Command("X", set=print, parameters=(Numeric(repeat=True), Numeric()))
    with pytest.raises(ValueError, match="behind an optional"):
        Command("X", set=print, parameters=(Numeric(optional=True), Numeric()))


def test_a_setting_without_limits_has_no_limits_to_ask_for(client) -> None:
    client.send("FREQ? MAX")
    assert client.errors() == [-224]


def test_a_setting_is_stored_queried_and_told_its_limits(client, board) -> None:
    assert client.ask("PULS:WIDT 200 NS;WIDT?") == "2.0E-07"
    assert board.width == 2e-7
    assert client.ask("PULS:WIDT? MAX;WIDT? MIN;WIDT? DEFault") == "1.0;1.0E-08;1.0E-07"
    assert client.ask("PULS:WIDT MAX;WIDT?") == "1.0"
    assert client.ask("FUNC CURRENT;FUNC?;:OUTP ON;OUTP?") == "CURR;1"


def test_a_setting_may_be_refused_by_the_property_behind_it() -> None:
    class Guarded:
        @property
        def level(self) -> float:
            return 1.5

        @level.setter
        def level(self, value: float) -> None:  # noqa: ARG002
            raise ScpiError(-221, "output is on")

    instrument = Instrument(("a", "b", "c", "d"), [setting("LEVel", Numeric(), Guarded(), "level")])
    exchange = instrument.connect()
    exchange.write(b"LEV 2;LEV?;:SYST:ERR?\n")
    assert exchange.read(100) == (b'1.5;-221,"Settings conflict;output is on"\n', True)


def test_handlers_get_suffixes_then_parameters(client, board) -> None:
    client.send("CHAN3:LEV7;:LIST 1,2 MV,3;:OPT 1;:OPT 1,2;:ROUT:CLOS (@1:3)")
    assert board.calls == [(3, 7), (1.0, 0.002, 3.0), (1.0,), (1.0, 2.0), ((1, 2, 3),)]
    assert client.ask("CHAN2:LEV9?") == "2,9"


@pytest.mark.parametrize(
    ("message", "number"),
    [
        ("PULS:WIDT", -109),
        ("LIST", -109),
        ("DATA:COD 1", -109),
        ("PULS:WIDT 1,2", -108),
        ("*RST 1", -108),
        ("OPT 1,2,3", -108),
        ("*IDN? 1", -108),
        ("*IDN", -113),
        ("*RST?", -113),
        ("CHAN5:LEV1", -114),
    ],
)
def test_too_few_too_many_and_the_wrong_half_of_a_command(client, message: str, number: int) -> None:
    client.send(message)
    assert client.errors() == [number]
