"""The exchange of messages: compounds, fragments, interruptions, limits, and memory that is not copied."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labctl.links.blocks import decode, encode_header
from labctl.simulated_instruments.scpi import Exchange, Instrument, ScpiError

from .conftest import Board, Client, make_instrument


def block(payload: bytes) -> bytes:
    return encode_header(len(payload)) + payload


def test_compounds_keep_their_path_and_a_colon_resets_it(client) -> None:
    assert client.ask("SOUR:PULS:WIDT 1E-3;COUN 7;*OPC;WIDT?;:FREQ?;:PULS:COUN?") == "0.001;1000.0;7"
    client.send("PULS:COUN 1;FREQ 5")
    assert client.errors() == [-113]


def test_a_command_error_drops_the_rest_of_the_message_and_an_execution_error_does_not(client, board) -> None:
    assert client.ask("PULS:COUN?;WIDT 9;COUN 5;COUN?;COUN X;COUN 6;COUN?") == "1;5"
    assert board.count == 5
    assert client.errors() == [-222, -141]


def test_empty_messages_and_units_are_nothing(client) -> None:
    client.send("")
    client.send("  ;; \t;")
    assert client.errors() == []


def test_the_end_flag_completes_a_message_and_so_does_a_newline(instrument) -> None:
    exchange = instrument.connect()
    exchange.write(b"*OPC?")
    assert exchange.pending == 0
    exchange.write(b"", end=True)
    assert exchange.read(10) == (b"1\n", True)
    exchange.write(b"*OPC?\r\n")
    assert exchange.read(10) == (b"1\n", True)


def test_an_unread_answer_is_interrupted_by_the_next_message(client) -> None:
    client.send("*IDN?")
    client.exchange.read(3)
    assert client.ask("*OPC?") == "1"
    assert client.errors() == [-410]
    client.send("*OPC?")
    client.send("*CLS")
    assert client.exchange.pending == 0


def test_reading_with_nothing_to_say_is_unterminated_and_drops_what_was_begun(client) -> None:
    client.exchange.write(b"*IDN")
    assert client.exchange.read(10) == (b"", False)
    assert client.ask("*ESR?") == str(128 + 4)
    assert client.errors() == [-420]


def test_nothing_follows_an_answer_of_arbitrary_text(client, board) -> None:
    assert client.ask("*OPC?;*IDN?;*OPC?;:PULS:COUN 5") == "1;Maker,Model,serial,1.0"
    assert board.count == 5
    assert client.errors() == [-440]


def test_an_answer_beyond_all_bounds_is_a_deadlock(board) -> None:
    client = Client(make_instrument(board, output_limit=10_000).connect())
    board.answer = "x" * 3000
    client.send(";".join(["ANSW?"] * 10) + ";:PULS:COUN 5")
    assert client.exchange.pending == 0
    assert board.count == 1
    assert client.errors() == [-430]


def test_device_clear_drops_what_is_in_both_buffers_and_nothing_else(client) -> None:
    client.send("FOO")
    client.send("*OPC?")
    client.exchange.write(b"DATA:BYT #9123456789xx")
    client.exchange.clear()
    assert client.exchange.pending == 0
    assert client.errors() == [-113]


def test_a_stream_answers_one_message_after_another_and_never_with_query_errors(instrument) -> None:
    exchange = instrument.connect(stream=True)
    exchange.write(b"*OPC?\n*IDN?\nPULS:COUN?\n*OP")
    assert b"".join(exchange.take()) == b"1\nMaker,Model,serial,1.0\n1\n"
    assert exchange.read(10) == (b"", False)
    exchange.write(b"C?\nSYST:ERR?\n")
    assert exchange.read(3, until=0x0A) == (b"1\n", False)
    assert exchange.read(100) == (b'0,"No error"\n', True)


def test_a_stream_waits_with_messages_whose_answers_nobody_takes(board) -> None:
    exchange = make_instrument(board).connect(stream=True)
    board.answer = "x" * 40_000
    exchange.write(b"ANSW?\n" * 100)
    assert exchange.pending < 100_000
    received = 0
    while segments := exchange.take():
        received += sum(map(len, segments))
    assert received == 100 * 40_001


def test_connections_have_their_own_buffers_and_one_status(instrument) -> None:
    one, two = Client(instrument.connect()), Client(instrument.connect())
    one.exchange.write(b"PULS:COUN")
    two.send("PULS:COUN 3")
    one.send(" 4")
    assert two.ask("PULS:COUN?") == "4"
    one.send("FOO")
    assert two.errors() == [-113]


def test_threads_take_turns(instrument) -> None:
    def increment() -> None:
        client = Client(instrument.connect())
        for _ in range(200):
            assert client.ask("PULS:COUN MAX;COUN?;COUN MIN;COUN?") == "1000;1"

    threads = [threading.Thread(target=increment) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Client(instrument.connect()).errors() == []


def test_blocks_reach_the_handler_where_they_were_received(instrument, board) -> None:
    exchange = instrument.connect()
    codes = np.arange(50_000, dtype=">u2")
    message = b"DATA:COD 1," + block(codes.tobytes()) + b"\n"
    exchange.write(message)
    ((_, received),) = board.calls
    assert np.array_equal(received, codes)
    assert np.shares_memory(received, np.frombuffer(message, np.uint8))


def receive(exchange: Exchange, message: bytes, most: int = 10_000) -> memoryview:
    """Feed `message` as a server does; the memory it went into last."""
    rest = memoryview(message)
    while rest:
        memory = exchange.writable()
        count = min(len(memory), len(rest), most)
        memory[:count] = rest[:count]
        exchange.received(count)
        rest = rest[count:]
    return memory


def test_a_block_that_arrives_in_pieces_is_not_copied_after_its_header(instrument, board) -> None:
    exchange = instrument.connect()
    payload = bytes(range(256)) * 4096
    memory = receive(exchange, b"DATA:BYT " + block(payload) + b"\n")
    ((received,),) = board.calls
    assert received.tobytes() == payload
    assert np.shares_memory(received, np.frombuffer(memory.obj, np.uint8))


def test_an_array_that_a_handler_keeps_is_not_overwritten_by_the_next_message(instrument, board) -> None:
    exchange = instrument.connect()
    for fill in range(5):
        receive(exchange, b"*CLS\nDATA:BYT " + block(bytes([fill]) * 100_000) + b"\n*CLS\n*CL")
        receive(exchange, b"S\n")
    assert [set(array.tolist()) for (array,) in board.calls] == [{fill} for fill in range(5)]


def test_nor_is_any_view_of_it(instrument, board) -> None:
    exchange = instrument.connect()
    for fill in range(3):
        receive(exchange, b"KEEP " + block(bytes([fill]) * 100_001) + b"\n")
    assert [set(array.tolist()) for (array,) in board.calls] == [{0}, {0x0101}, {0x0202}]


def test_memory_is_used_again_where_no_handler_keeps_it(instrument) -> None:
    exchange = instrument.connect()
    message = b"FORG " + block(bytes(200_000)) + b"\n"
    first = receive(exchange, message)
    assert receive(exchange, message).obj is first.obj


def test_an_indefinite_block_ends_with_the_message(instrument, board) -> None:
    exchange = instrument.connect()
    exchange.write(b"DATA:BYT #0a\nb")
    exchange.write(b";c\n", end=True)
    stream = instrument.connect(stream=True)
    stream.write(b"DATA:BYT #0a;b\n*CLS\n")
    assert [array.tobytes() for (array,) in board.calls] == [b"a\nb;c", b"a;b"]


def test_arrays_are_answered_from_their_own_memory(client, board) -> None:
    board.answer = np.arange(100_000, dtype="<u2")
    client.send("FORM INT,16;FORM:BORD SWAP;:ANSW?")
    segments = client.exchange.take()
    assert np.shares_memory(np.frombuffer(segments[1], "<u2"), board.answer)
    client.send("ANSW?")
    assert np.array_equal(np.frombuffer(decode(client.receive()), "<u2"), board.answer)


@pytest.mark.parametrize(
    ("message", "number"),
    [
        (b"LAB '" + b"x" * 70_000 + b"'", -363),
        (b"x" * 70_000, -363),
        (b"DATA:BYT #6200000" + b"\n*CLS\n" * 33333 + b"..", -223),
        (b"DATA:BYT #599999" + b"x" * 99999 + b",#11a", -223),
    ],
)
def test_a_message_that_is_too_long_is_dropped_to_its_end(board, message: bytes, number: int) -> None:
    instrument = make_instrument(board, block_limit=99_999)
    for pieces in (1 << 20, 1000):
        exchange = instrument.connect(stream=True)
        for start in range(0, len(message), pieces):
            exchange.write(message[start : start + pieces])
            assert len(exchange._input.memory) <= 4 * 64 * 1024 + 2 * len(message[: min(pieces, 99_999)])
        exchange.write(b"\n*OPC?\n")
        assert b"".join(exchange.take()) == b"1\n"
        assert Client(instrument.connect()).errors() == [number]
    assert board.calls == []


def test_a_handler_that_fails_reaches_the_writer_and_nothing_is_carried_out_twice(client, board) -> None:
    with pytest.raises(IndexError):
        client.send("LIST 1;:CRAS;:LIST 2")
    assert board.calls == [(1.0,)]
    assert client.ask("PULS:COUN?") == "1"
    with pytest.raises(IndexError):
        receive(client.exchange, b"LIST 3\nCRAS\nLIST 4\n")
    assert board.calls == [(1.0,), (3.0,)]
    assert client.ask("PULS:COUN?") == "1"


pieces = st.sampled_from(
    [
        b"*IDN?",
        b"*OPC?;",
        b"PULS:COUN ",
        b"5;",
        b":",
        b"\n",
        b"\n",
        b"'a\nb'",
        b'ECHO? "x;\n"',
        b"#",
        b"#H1F",
        b"#13a\n;",
        b" #0",
        b"DATA:BYT #14ab\n;",
        b"ANSW?",
        b",",
        b" ",
        b"@",
        b"FAIL;",
        b"\xff",
        b"#9",
        b"(@1:3)",
    ]
)


@given(st.one_of(st.binary(max_size=80), st.lists(pieces, max_size=12).map(b"".join)), st.data(), st.booleans())
@settings(max_examples=300)
def test_how_the_input_is_cut_makes_no_difference(stream: bytes, data: st.DataObject, as_stream: bool) -> None:
    places = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    fragments = [stream[a:b] for a, b in zip([0, *places], [*places, len(stream)], strict=True)]
    outcomes = []
    for parts, kind in (([stream], bytes), (fragments, bytes), (fragments, bytearray)):
        board = Board()
        instrument = make_instrument(board)
        exchange = instrument.connect(as_stream)
        for part in parts:
            exchange.write(kind(part))
        exchange.write(b"", end=not as_stream)
        answer = b"".join(exchange.take())
        calls = [[np.asarray(argument).tolist() for argument in call] for call in board.calls]
        outcomes.append((answer, calls, board.count, Client(instrument.connect()).ask("SYST:ERR:ALL?")))
    assert outcomes[0] == outcomes[1] == outcomes[2]


@given(st.lists(st.one_of(st.binary(max_size=60), pieces), max_size=10))
def test_after_any_garbage_a_device_clear_brings_the_instrument_back(fragments: list[bytes]) -> None:
    client = Client(make_instrument(Board()).connect())
    for fragment in fragments:
        client.exchange.write(fragment)
    client.exchange.clear()
    assert client.ask("*CLS;*OPC?") == "1"


@given(st.text(st.characters(codec="latin-1"), max_size=50))
def test_any_string_survives_the_way_there_and_back(text: str) -> None:
    client = Client(make_instrument(Board()).connect())
    answer = client.ask('ECHO? "' + text.replace('"', '""') + '"')
    assert answer[1:-1].replace('""', '"') == text


@pytest.mark.parametrize("identity", [("a", "b", "c"), ("a,b", "b", "c", "d")])
def test_an_identity_has_four_fields(identity: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="four fields"):
        Instrument(identity)  # type: ignore[arg-type]


def test_a_report_from_the_firmwares_own_thread_asks_for_service(client, instrument) -> None:
    client.send("*CLS;*SRE 4")
    instrument.report(-240, "fan")
    assert client.exchange.requests_service
    with pytest.raises(ValueError, match="standard error"):
        instrument.report(0)
    assert issubclass(ScpiError, Exception)
