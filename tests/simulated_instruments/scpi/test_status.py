"""The status model as a client sees it: events, enables, summaries, and what clears which."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labctl.simulated_instruments.scpi import Instrument, Keyword, setting
from labctl.simulated_instruments.scpi.status import Register


def test_power_on_is_an_event_until_it_is_read(client) -> None:
    assert client.ask("*ESR?") == "128"
    assert client.ask("*ESR?") == "0"
    assert client.ask("*ESE?;*SRE?") == "0;0"


@pytest.mark.parametrize(
    ("message", "events"),
    [("FOO", 32), ("OUTP 1,2", 32), ("PULS:WIDT 9", 16), ("REF", 16), ("FAIL", 8), ("*OPC", 1)],
)
def test_events_tell_what_happened(client, message: str, events: int) -> None:
    client.send("*CLS")
    client.send(message)
    assert client.ask("*ESR?") == str(events)


def test_the_status_byte_sums_up(client) -> None:
    client.send("*CLS;FAIL")
    assert client.ask("*STB?") == "4"
    client.send("*ESE 8")
    assert client.ask("*STB?") == "36"
    client.send("*SRE 32")
    assert client.ask("*STB?") == "100"
    assert client.ask("*ESR?") == "8"
    assert client.ask("*STB?") == "4"


def test_bit_six_of_the_service_request_enable_cannot_be_set(client) -> None:
    assert client.ask("*SRE 255;*SRE?") == "191"
    client.send("*SRE 256;*ESE -1")
    assert client.errors() == [-222, -222]


def test_an_answer_that_waits_is_the_message_available_bit(client) -> None:
    assert client.exchange.status_byte() == 0
    client.send("*OPC?")
    assert client.exchange.status_byte() == 16
    client.receive()
    assert client.exchange.status_byte() == 0
    assert client.ask("*OPC?;*STB?") == "1;16"


def test_message_available_is_each_connections_own(client, instrument) -> None:
    other = instrument.connect()
    client.send("*OPC?")
    assert other.status_byte() == 0
    assert client.exchange.status_byte() == 16


def test_a_service_request_is_made_once_per_reason_and_cleared_by_the_poll(client) -> None:
    client.send("*CLS;*ESE 32;*SRE 36")
    assert not client.exchange.requests_service
    client.send("FOO")
    assert client.exchange.requests_service
    assert client.exchange.status_byte() == 4 + 32 + 64
    assert client.exchange.status_byte() == 4 + 32
    assert not client.exchange.requests_service
    assert client.ask("*STB?") == "100"  # MSS says what is so; RQS what is new
    client.send("*CLS")
    client.send("FOO")
    assert client.exchange.status_byte() == 4 + 32 + 64


def test_a_request_goes_away_with_its_reason(client) -> None:
    client.send("*CLS;*SRE 4")
    client.send("FOO")
    client.send("*CLS")
    assert not client.exchange.requests_service
    assert client.exchange.status_byte() == 0


def test_an_answer_can_be_the_reason_for_service(client) -> None:
    client.send("*SRE 16")
    client.send("*OPC?")
    assert client.exchange.status_byte() == 16 + 64


def test_cls_clears_events_and_errors_but_no_enables(client, instrument) -> None:
    client.send("*ESE 60;*SRE 4;:STAT:OPER:ENAB 3;PTR 1;NTR 2;:FOO")
    instrument.status.operation.change(1, True)
    client.send("*CLS")
    assert client.ask("*ESR?;*ESE?;*SRE?;:SYST:ERR:COUN?") == "0;60;4;0"
    assert client.ask("STAT:OPER?;OPER:COND?;ENAB?;PTR?;NTR?") == "0;1;3;1;2"


def test_rst_resets_settings_and_nothing_of_the_status(client, board) -> None:
    client.send("*CLS;*ESE 60;*SRE 4;:FORM REAL,32;FORM:BORD SWAP;:STAT:QUES:ENAB 5;:PULS:WIDT 1;:FOO")
    client.send("*RST")
    assert board.resets == 1
    assert client.ask("FORM?;FORM:BORD?;:PULS:WIDT?") == "ASC;NORM;1.0E-07"
    assert client.ask("*ESE?;*SRE?;:STAT:QUES:ENAB?;:SYST:ERR:COUN?;*ESR?") == "60;4;5;1;32"


@pytest.mark.parametrize(("node", "bit"), [("OPER", 128), ("QUES", 8)])
def test_conditions_reach_the_status_byte_through_filters_and_enables(client, instrument, node: str, bit: int) -> None:
    register = instrument.status.operation if node == "OPER" else instrument.status.questionable
    client.send(f"STAT:{node}:ENAB 2;NTR 4")
    register.change(2 | 4, True)
    assert client.ask("*STB?") == str(bit)
    assert client.ask(f"STAT:{node}:COND?") == "6"
    assert client.ask(f"STAT:{node}?") == "6"
    assert client.ask(f"STAT:{node}:EVENt?;*STB?") == "0;16"
    register.change(4, False)
    assert client.ask(f"STAT:{node}?") == "4"


def test_preset_enables_nothing_and_latches_what_rises(client) -> None:
    client.send("STAT:OPER:ENAB 9;PTR 0;NTR 9;:STAT:QUES:ENAB 1;*ESE 1;:STAT:PRES")
    assert client.ask("STAT:OPER:ENAB?;PTR?;NTR?;:STAT:QUES:ENAB?;*ESE?") == "0;32767;0;0;1"


masks = st.integers(0, 0x7FFF)


@given(masks, masks, masks, masks)
def test_an_event_is_a_change_that_a_filter_lets_through(before: int, after: int, rising: int, falling: int) -> None:
    register = Register()
    register.condition = before
    register.clear_event()
    register.positive_transition, register.negative_transition = rising, falling
    register.condition = after
    assert register.take_event() == (after & ~before & rising) | (before & ~after & falling)
    assert register.take_event() == 0


def test_the_top_bit_of_a_register_is_never_used(client, instrument) -> None:
    instrument.status.operation.condition = 0xFFFF
    assert client.ask("STAT:OPER:COND?") == "32767"


def test_self_test_and_identity_and_version(client, board) -> None:
    assert client.ask("*IDN?") == "Maker,Model,serial,1.0"
    assert client.ask("SYST:VERS?;*TST?") == "1999.0;0"
    board.test_result = 3
    assert client.ask("*TST?") == "3"
    assert client.ask("SYST:ERR?") == '-330,"Self-test failed;3"'
    client.send("*WAI")
    assert client.ask("*OPC?") == "1"


def test_errors_are_read_one_by_one_counted_or_all_at_once(client, instrument) -> None:
    client.send("FOO")
    client.send("FAIL;REF")
    instrument.report(-241, "chip")
    assert client.ask("SYST:ERR:COUN?") == "4"
    assert client.ask("SYSTem:ERRor:NEXT?") == '-113,"Undefined header;FOO"'
    assert client.ask("SYST:ERR:ALL?") == (
        '42,"Cell stuck",-221,"Settings conflict;output is on",-241,"Hardware missing;chip"'
    )
    assert client.ask("SYST:ERR:ALL?") == '0,"No error"'
    assert client.ask("SYST:ERR:COUN?") == "0"


def test_the_queue_overflows_into_its_last_entry(client) -> None:
    for _ in range(40):
        client.send("FOO")
    assert client.errors() == [-113] * 31 + [-350]


@pytest.mark.parametrize(
    ("message", "answer"),
    [
        ("FORM ASC", "ASC"),
        ("FORM ASC,0", "ASC"),
        ("FORM REAL", "REAL,64"),
        ("FORM:DATA REAL,32", "REAL,32"),
        ("FORMAT INTEGER,16", "INT,16"),
    ],
)
def test_array_formats_are_set_as_the_standard_writes_them(client, message: str, answer: str) -> None:
    assert client.ask(message + ";:FORM?") == answer


@pytest.mark.parametrize("message", ["FORM REAL,16", "FORM INT,32", "FORM HEX", "FORM ASC,7"])
def test_an_array_format_there_is_not_is_an_illegal_value(client, message: str) -> None:
    client.send(message)
    assert client.errors() == [-224]
    assert client.ask("FORM?") == "ASC"


def test_a_register_of_the_firmwares_own_has_its_commands_and_its_bit() -> None:
    instrument = Instrument(("M", "1", "2", "3"), registers={"MEASurement": 1})
    exchange = instrument.connect()
    instrument.status.own["MEASurement"].change(1 << 9, True)
    exchange.write(b"STAT:MEAS:ENAB 512;COND?;*STB?\n")
    assert bytes(exchange.read(99)[0]) == b"512;17\n"  # an answer waits, too
    exchange.write(b"*CLS;*STB?;:STAT:MEAS?;MEAS:ENAB?;:STAT:PRES;MEAS:ENAB?\n")
    assert bytes(exchange.read(99)[0]) == b"0;0;512;0\n"


def test_a_firmware_may_bring_its_own_format() -> None:
    brought = setting("FORMat[:DATA]", Keyword("SREal"), SimpleNamespace(data="SRE"), "data")
    exchange = Instrument(("M", "1", "2", "3"), [brought], own_format=True).connect()
    exchange.write(b"FORM:DATA SRE;:FORM?\n")
    assert bytes(exchange.read(99)[0]) == b"SRE\n"
    with pytest.raises(ValueError, match="collides"):
        Instrument(("M", "1", "2", "3"), [brought])
