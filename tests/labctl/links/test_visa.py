"""The link over real sockets, against instruments that misbehave."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import re
import signal
import socket
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import pyvisa
from hypothesis import given, settings
from hypothesis import strategies as st
from wires import IDN, NO_ERROR, Peer, RogueInstrument, scripted

from labctl.errors import InstrumentError, LabctlError, LinkClosedError, LinkError, LinkTimeoutError
from labctl.links import transports
from labctl.links.dialects import Scpi
from labctl.links.transports import SocketTransport, VisaTransport
from labctl.links.visa import VisaLink
from labctl.links.wire_log import WireLog, read_wire_log


@pytest.fixture(params=["socket", "visa"])
def either_transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> type:
    """Both ways bytes can move on the same connection; the slow one is what other backends get."""
    if request.param == "visa":
        monkeypatch.setattr(transports, "_pyvisa_py_interface", lambda _: None)
        return VisaTransport
    return SocketTransport


def link_to(rogue: RogueInstrument, timeout_s: float = 0.4, **options: object) -> VisaLink:
    return VisaLink(rogue.resource_name, visa_library="@py", timeout_s=timeout_s, **options)  # type: ignore[arg-type]


def seconds_until(error: type[Exception], call: Callable[[], object]) -> tuple[float, str]:
    started = time.monotonic()
    with pytest.raises(error) as raised:
        call()
    assert type(raised.value) is error
    return time.monotonic() - started, str(raised.value)


# -- what goes well ---------------------------------------------------------------------------------------------


def test_both_transports_bring_the_same_answers(either_transport: type) -> None:
    block = bytes(range(256)) * 300
    answers = {
        b"BLOCK?": b"#6076800" + block + b';1.5;"a;b";' + NO_ERROR + b"\n",
        b"TWO?": b"#11\n;#13;\n#;ok;" + NO_ERROR + b"\r\n",
        b"EMPTY?": b"#10;" + NO_ERROR + b"\n",
    }
    with RogueInstrument(scripted(answers)) as rogue, link_to(rogue, 0.4) as link:
        assert isinstance(link._transport, either_transport)
        assert link.idn == IDN
        found, number, text = link.exchange("BLOCK?")
        assert found.tobytes() == block
        assert (number, text) == ("1.5", '"a;b"')
        first, second, word = link.exchange("TWO?")
        assert (first.tobytes(), second.tobytes(), word) == (b"\n", b";\n#", "ok")
        assert link.exchange("EMPTY?")[0].size == 0


def test_a_block_becomes_an_array_of_its_own_that_may_be_written() -> None:
    codes = np.arange(70_000, dtype="<u2")
    answers = {b"CODES?": b"#6140000" + codes.tobytes() + b";" + NO_ERROR + b"\n"}
    with RogueInstrument(scripted(answers)) as rogue, link_to(rogue) as link:
        (block,) = link.exchange("CODES?")
        viewed = block.view("<u2")
        np.testing.assert_array_equal(viewed, codes)
        viewed[:] = 0
        np.testing.assert_array_equal(link.exchange("CODES?")[0].view("<u2"), codes)


def test_arrays_leave_as_blocks_in_one_message_with_the_error_query() -> None:
    seen = bytearray()

    def behave(peer: Peer) -> None:
        peer.send(IDN.encode() + b"\n")
        while not seen.endswith(b":SYSTem:ERRor?\n"):
            seen.extend(peer.socket.recv(1 << 16))
        peer.send(NO_ERROR + b"\n")

    cells = np.arange(600, dtype="<u4")
    with RogueInstrument(behave) as rogue, link_to(rogue, 2) as link:
        link.exchange("READ ", cells[::2], ",", np.zeros(0, "<u2"))
    sent = bytes(seen).partition(b"*IDN?\n")[2]
    assert sent == b"READ #41200" + cells[::2].tobytes() + b",#10;:SYSTem:ERRor?\n"


def test_a_message_of_thousands_of_pieces_is_sent_whole() -> None:
    parts: list[str | np.ndarray] = []
    for number in range(1500):
        parts += [f"A {number},", np.zeros(1, np.uint8), ";"]
    got = []

    def behave(peer: Peer) -> None:
        for line in peer.lines():
            got.append(line)
            peer.send(IDN.encode() + b"\n" if line == b"*IDN?" else NO_ERROR + b"\n")

    with RogueInstrument(behave) as rogue, link_to(rogue, 2) as link:
        link.exchange(*parts)
    assert got[1].count(b"#11\0;") == 1500


@settings(max_examples=15, deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=3), st.lists(st.integers(1, 9), min_size=1))
def test_an_answer_in_tiny_fragments_is_one_answer(blocks: list[bytes], sizes: list[int]) -> None:
    whole = b"".join(b"#2%02d%s;" % (len(each), each) for each in blocks) + b"12.5;" + NO_ERROR + b"\n"

    def dribble(peer: Peer) -> None:
        at = turn = 0
        while at < len(whole):
            size = sizes[turn % len(sizes)]
            peer.send(whole[at : at + size])
            at, turn = at + size, turn + 1

    with RogueInstrument(scripted({b"X?": dribble})) as rogue, link_to(rogue, 5) as link:
        *found, number = link.exchange("X?")
    assert [each.tobytes() for each in found] == blocks
    assert number == "12.5"


def test_nothing_waits_for_acknowledgements_on_the_socket() -> None:
    with RogueInstrument(scripted({})) as rogue, link_to(rogue) as link:
        connection = link._transport._socket
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_an_instrument_that_ends_its_lines_with_crlf_is_recognised_after_a_fault() -> None:
    def crlf(peer: Peer) -> None:
        for line in peer.lines():
            if line == b"*IDN?":
                peer.send(IDN.encode() + b"\r\n")
            elif not line.startswith(b"SILENCE"):
                peer.send(NO_ERROR + b"\r\n")

    with RogueInstrument(crlf) as rogue, link_to(rogue, 0.2) as link:
        with pytest.raises(LinkTimeoutError):
            link.write("SILENCE")
        assert link.resynchronise() == []
        link.write("OK")


def test_an_identity_with_a_semicolon_is_recognised_after_a_fault() -> None:
    answers = {b"*IDN?": b"Odd; and old,1,2,3\n", b"SILENCE": lambda _: None}
    with RogueInstrument(scripted(answers)) as rogue, link_to(rogue, 0.2) as link:
        with pytest.raises(LinkTimeoutError):
            link.write("SILENCE")
        assert link.resynchronise() == []
        link.write("OK")


def test_two_links_in_one_process_do_not_close_each_other() -> None:
    with RogueInstrument(scripted({})) as rogue, link_to(rogue) as first:
        second = link_to(rogue)
        second.connect()
        second.close()
        second.close()
        first.write("STILL THERE")


def test_a_session_somebody_else_opened_with_pyvisa_outlives_ours() -> None:
    with RogueInstrument(scripted({})) as rogue:
        manager = pyvisa.ResourceManager("@py")
        with contextlib.closing(manager.open_resource(rogue.resource_name)) as theirs:
            theirs.read_termination = theirs.write_termination = "\n"
            with link_to(rogue):
                pass
            assert theirs.query("*IDN?") == IDN
        manager.close()


def test_a_link_can_be_closed_and_connected_again() -> None:
    with RogueInstrument(scripted({})) as rogue:
        link = link_to(rogue)
        for _ in range(2):
            link.connect()
            link.write("OK")
            link.close()
        with pytest.raises(LinkClosedError, match="not connected"):
            link.write("OK")


def test_text_with_a_newline_is_no_message() -> None:
    with (
        RogueInstrument(scripted({})) as rogue,
        link_to(rogue) as link,
        pytest.raises(ValueError, match="two messages"),
    ):
        link.write("A\nB")


# -- silence and lateness ---------------------------------------------------------------------------------------


def test_an_answer_that_comes_too_late_is_never_taken_for_the_next(either_transport: type) -> None:  # noqa: ARG001
    def late(peer: Peer) -> None:
        threading.Timer(0.25, peer.send, [b"late;" + NO_ERROR + b"\n"]).start()

    with RogueInstrument(scripted({b"LATE?": late})) as rogue, link_to(rogue, 0.16) as link:
        with pytest.raises(LinkTimeoutError):
            link.query("LATE?")
        for number in range(5):
            assert link.query(f"ECHO? {number}") == str(number)
            time.sleep(0.03)


def test_an_identity_that_comes_too_late_is_not_taken_for_the_next_either() -> None:
    """The dangerous one: the question that finds the place may itself be answered late, and then twice."""
    slow = threading.Event()

    def behave(peer: Peer) -> None:
        for line in peer.lines():
            if slow.is_set():
                time.sleep(0.12)
            body = line.partition(b";")[0]
            peer.send(IDN.encode() + b"\n" if body == b"*IDN?" else body + b";" + NO_ERROR + b"\n")

    with RogueInstrument(behave) as rogue, link_to(rogue, 0.1) as link:
        slow.set()
        for _ in range(3):
            with pytest.raises(LinkError):
                link.query("A")
        slow.clear()
        time.sleep(0.4)
        for word in ("B", "C", "D"):
            with contextlib.suppress(LinkError):  # it may still have to find its place; a wrong answer is the sin
                assert link.query(word) == word
        assert link.query("E") == "E"


def test_silence_is_reported_near_the_deadline_with_who_what_and_how_long(either_transport: type) -> None:  # noqa: ARG001
    with RogueInstrument(scripted({b"READ": lambda _: None})) as rogue, link_to(rogue, 0.4) as link:
        waited, said = seconds_until(LinkTimeoutError, lambda: link.query("READ:EVERYTHING?"))
        assert 0.39 < waited < 1.0
        assert re.fullmatch(
            re.escape(rogue.resource_name) + r": no answer after 0\.4\d* s of 0\.4 s, waiting for the answer to "
            r"READ:EVERYTHING\?",
            said,
        ), said


def test_an_instrument_that_never_says_who_it_is_is_given_up_at_the_deadline() -> None:
    with RogueInstrument(lambda peer: list(peer.lines())) as rogue:
        waited, said = seconds_until(LinkTimeoutError, link_to(rogue, 0.2).connect)
    assert 0.19 < waited < 0.7
    assert "waiting for the answer to *IDN?" in said


def test_a_deadline_holds_however_busily_the_other_side_talks() -> None:
    def chatter(peer: Peer) -> None:
        with contextlib.suppress(OSError):
            for _ in range(500):
                peer.socket.sendall(b"#")
                time.sleep(0.01)

    answers = {b"BLOCK?": lambda peer: (peer.send(b"#9100000000"), chatter(peer)), b"TEXT?": chatter}
    with RogueInstrument(scripted(answers)) as rogue:
        for word in ("BLOCK?", "TEXT?"):
            with link_to(rogue, 0.2) as link:
                waited, _ = seconds_until(LinkError if word == "TEXT?" else LinkTimeoutError, lambda: link.query(word))  # noqa: B023
                assert waited < 1.2


def test_a_broken_off_answer_says_how_much_had_come() -> None:
    answers = {b"BLOCK?": b"#41000" + bytes(10)}
    with RogueInstrument(scripted(answers)) as rogue, link_to(rogue, 0.2) as link:
        _, said = seconds_until(LinkTimeoutError, lambda: link.query("BLOCK?"))
        assert "did not go on after 16 bytes" in said
        assert link.query("ECHO? 1") == "1"


def test_a_block_that_breaks_off_is_not_taken_for_part_of_the_next_answer() -> None:
    def rest_later(peer: Peer) -> None:
        peer.send(b"#41000" + bytes(10))
        threading.Timer(0.5, peer.send, [b"\n7;8;\n" * 165 + b";" + NO_ERROR + b"\n"]).start()

    with RogueInstrument(scripted({b"BLOCK?": rest_later})) as rogue, link_to(rogue, 0.2) as link:
        with pytest.raises(LinkTimeoutError):
            link.query("BLOCK?")
        for _ in range(20):
            assert link.query("ECHO? 3") == "3"
            time.sleep(0.02)


def test_a_message_that_is_not_taken_ends_at_the_deadline_and_the_link_opens_anew() -> None:
    deaf = threading.Event()

    def behave(peer: Peer) -> None:
        if not deaf.is_set():
            peer.send(IDN.encode() + b"\n")
            deaf.set()
            time.sleep(0.6)
        else:
            scripted({})(peer)

    with RogueInstrument(behave) as rogue, link_to(rogue, 0.2) as link:
        waited, said = seconds_until(LinkTimeoutError, lambda: link.exchange("X ", np.zeros(50_000_000, np.uint8)))
        assert waited < 0.6
        assert "the message was not taken" in said
        assert link.query("ECHO? 5") == "5"
        assert rogue.connections == 2


def test_a_serial_line_which_opening_anew_does_not_clear_finds_its_place_as_it_is() -> None:
    def slow(peer: Peer) -> None:
        time.sleep(0.3)
        peer.send(b"#12\n;;late;" + NO_ERROR + b"\n")

    answers = {b"SLOW?": slow, b"BLOCK?": b"#3300" + b"a\n;" * 100 + b";1.5;" + NO_ERROR + b"\n"}
    with RogueInstrument(scripted(answers)) as rogue:
        port = rogue.resource_name.split("::")[2]
        name = f"ASRLsocket://127.0.0.1:{port}::INSTR"
        with VisaLink(name, visa_library="@py", timeout_s=0.2) as link:
            with pytest.raises(LinkTimeoutError):
                link.query("SLOW?")
            for number in range(5):
                assert link.query(f"ECHO? {number}") == str(number)
            block, value = link.exchange("BLOCK?")
            assert (block.tobytes(), value) == (b"a\n;" * 100, "1.5")
        assert rogue.connections == 1


# -- closing ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("said_before", [b"", b"1.2", b"#45000" + bytes(100), b"#4", b"#10;", b"#11"])
def test_a_connection_that_closes_is_reported_at_once(said_before: bytes) -> None:
    def die(peer: Peer) -> None:
        peer.send(said_before)
        peer.hang_up()

    with RogueInstrument(scripted({b"DIE?": die})) as rogue, link_to(rogue, 5) as link:
        waited, said = seconds_until(LinkClosedError, lambda: link.query("DIE?"))
        assert waited < 0.5
        assert "the other side closed the connection after" in said
        assert link.query("ECHO? 2") == "2"


def test_a_refused_connection_is_one_clear_sentence(either_transport: type) -> None:  # noqa: ARG001
    with socket.create_server(("127.0.0.1", 0)) as listener:
        name = f"TCPIP0::127.0.0.1::{listener.getsockname()[1]}::SOCKET"
    waited, said = seconds_until(LinkClosedError, VisaLink(name, visa_library="@py", timeout_s=5).connect)
    assert waited < 1
    assert said.startswith(name + ": ")
    assert re.search("nothing answers there|connection broke", said)
    assert "\n" not in said


@pytest.mark.parametrize(
    ("name", "library"),
    [
        ("TCPIP0::no such host.invalid::1::SOCKET", "@py"),
        ("GPIB0::24::INSTR", "@py"),
        ("TCPIP0::127.0.0.1::5025::SOCKET", "@nonesuch"),
    ],
)
def test_what_cannot_be_opened_names_the_resource(name: str, library: str) -> None:
    with warnings.catch_warnings(action="ignore"):  # pyvisa-py leaves its socket behind where a host has no address
        with pytest.raises(LinkError) as raised:
            VisaLink(name, visa_library=library, timeout_s=0.3).connect()
        said = str(raised.value)
        del raised
        gc.collect()
    assert said.startswith(f"{name}: could not be opened")


def test_a_server_that_has_gone_is_reported_at_once_each_time() -> None:
    with RogueInstrument(scripted({b"DIE?": Peer.hang_up})) as rogue:
        link = link_to(rogue, 5)
        link.connect()
        with pytest.raises(LinkClosedError):
            link.query("DIE?")
    for _ in range(2):
        waited, said = seconds_until(LinkClosedError, lambda: link.write("OK"))
        assert waited < 0.5
        assert "nothing answers there (Connection refused)" in said
        assert "its place was lost at DIE?" in said
    link.close()


def test_another_instrument_behind_the_same_address_is_not_spoken_to() -> None:
    names = iter([IDN, "Someone,Else,8,1.0", "Someone,Else,8,1.0"])
    got = []

    def behave(peer: Peer) -> None:
        name = next(names).encode()
        for line in peer.lines():
            got.append(line)
            if line.startswith(b"DIE"):
                return
            peer.send(name + b"\n" if line == b"*IDN?" else NO_ERROR + b"\n")

    with RogueInstrument(behave) as rogue, link_to(rogue, 1) as link:
        with pytest.raises(LinkClosedError):
            link.write("DIE")
        for _ in range(2):
            with pytest.raises(LinkError, match=rf"'Someone,Else,8,1.0' answers where '{IDN}' was"):
                link.write("PULSE")
    assert not any(line.startswith(b"PULSE") for line in got)


# -- garbage ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("garbage", "said"),
    [
        (b"#3abc;\n", "has no definite length"),
        (b"#3 12;\n", "has no definite length"),
        (b"#Hff\n", "has no definite length"),
        (b"#0abc\n", "has no definite length"),
        (b"#11x,5\n", "instead of a semicolon or a newline"),
        (b"1;#12\n;;0\n", "ask for blocks first"),
        (b"x" * (2 << 20), "has no end of line"),
    ],
)
def test_garbage_is_a_link_error_that_leaves_no_trace(garbage: bytes, said: str) -> None:
    with RogueInstrument(scripted({b"X?": garbage})) as rogue, link_to(rogue, 1) as link:
        waited, text = seconds_until(LinkError, lambda: link.exchange("X?"))
        assert said in text
        assert waited < 0.9
        assert link.query("ECHO? 4") == "4"


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60))
def test_no_answer_at_all_brings_anything_but_our_own_errors(answer: bytes) -> None:
    def say(peer: Peer) -> None:
        peer.send(answer)
        peer.hang_up()

    with RogueInstrument(scripted({b"X?": say})) as rogue, link_to(rogue, 1) as link:
        with contextlib.suppress(LabctlError):
            link.exchange("X?")
        assert link.query("ECHO? 6") == "6"


# -- refusals ---------------------------------------------------------------------------------------------------


def refusing(queue: list[bytes]) -> Callable[[Peer], None]:
    def behave(peer: Peer) -> None:
        for line in peer.lines():
            if line == b"*IDN?":
                peer.send(IDN.encode() + b"\n")
            elif line.startswith(b"DROPPED"):
                continue  # as a message is from its first command error on, the error query with it
            else:
                peer.send((queue.pop(0) if queue else NO_ERROR) + b"\n")

    return behave


def test_a_refusal_is_told_by_the_deadline_of_its_message() -> None:
    asked = []

    def behave(peer: Peer) -> None:
        for line in peer.lines():
            if line == b"*IDN?":
                peer.send(IDN.encode() + b"\n")
            elif not asked:
                asked.append(line)
                peer.send(b'-222,"Data out of range"\n')  # and not another word

    with RogueInstrument(behave) as rogue, link_to(rogue, 5) as link:
        waited, said = seconds_until(InstrumentError, lambda: link.write("PULSE 5 V", timeout_s=0.3))
        assert '-222,"Data out of range"' in said
        assert waited < 0.6


def test_a_refusal_carries_the_command_and_the_whole_queue() -> None:
    queue = [b'-222,"Data out of range;5 V"', b'101,"Out of sequence"']
    with RogueInstrument(refusing(queue)) as rogue, link_to(rogue) as link:
        with pytest.raises(InstrumentError) as raised:
            link.exchange("PULSE 5 V,", np.zeros(9, np.uint8))
        assert raised.value.errors == ((-222, "Data out of range;5 V"), (101, "Out of sequence"))
        assert raised.value.command == "PULSE 5 V,"
        listed = '-222,"Data out of range;5 V"; 101,"Out of sequence"'
        assert str(raised.value) == f"{rogue.resource_name}: the instrument refused PULSE 5 V,: {listed}"
        link.write("FINE")


def test_a_refusal_that_swallowed_the_error_query_is_a_refusal_not_a_time_out(either_transport: type) -> None:  # noqa: ARG001
    queue = [b'-113,"Undefined header"']
    with RogueInstrument(refusing(queue)) as rogue, link_to(rogue, 0.4) as link:
        waited, said = seconds_until(InstrumentError, lambda: link.write("DROPPED"))
        assert waited < 1.5
        assert 'refused DROPPED: -113,"Undefined header"' in said


def test_an_error_queue_that_never_ends_is_bounded() -> None:
    with RogueInstrument(refusing([b'-1,"again"'] * 1000)) as rogue, link_to(rogue) as link:
        waited, _ = seconds_until(InstrumentError, lambda: link.write("X"))
        with pytest.raises(InstrumentError) as raised:
            link.write("X")
        assert len(raised.value.errors) == 33
        assert waited < 0.4


def test_a_slow_error_queue_that_never_ends_is_bounded_in_time() -> None:
    def slow(peer: Peer) -> None:
        for line in peer.lines():
            if line != b"*IDN?":
                time.sleep(0.1)
            peer.send(IDN.encode() + b"\n" if line == b"*IDN?" else b'-1,"again"\n')

    with RogueInstrument(slow) as rogue, link_to(rogue, 0.35) as link:
        waited, _ = seconds_until(InstrumentError, lambda: link.write("X"))
    assert waited < 0.8


def test_a_connection_that_dies_while_the_queue_is_drained_does_not_hide_the_refusal() -> None:
    with (
        RogueInstrument(scripted({b"X": b'-222,"too much"\n', b":SYST": Peer.hang_up})) as rogue,
        link_to(rogue, 1) as link,
    ):
        waited, said = seconds_until(InstrumentError, lambda: link.write("X"))
        assert '-222,"too much"' in said
        assert waited < 0.5


@pytest.mark.parametrize("answer", [b"5\n", b"#15hello\n", b"0\n", b"512,512\n", b"\n"])
def test_an_instrument_without_that_error_query_is_found_out_not_believed(answer: bytes) -> None:
    with RogueInstrument(scripted({b"X?": answer})) as rogue, link_to(rogue) as link:
        with pytest.raises(InstrumentError, match=r"X\? was answered with .* last, where :SYSTem:ERRor\? asks"):
            link.query("X?")
        assert link.query("ECHO? 1") == "1"


def test_the_error_query_is_the_instruments_own_word() -> None:
    answers = {b"X?;ERRX?": b"7;" + NO_ERROR + b"\n"}
    with RogueInstrument(scripted(answers)) as rogue, link_to(rogue, dialect=Scpi("ERRX?")) as link:
        assert link.query("X?") == "7"


def test_more_or_less_than_one_word_is_no_answer_to_a_query() -> None:
    with RogueInstrument(scripted({b"X?": b"1;2;" + NO_ERROR + b"\n"})) as rogue, link_to(rogue) as link:
        for message in ("X?", "NOTHING"):
            with pytest.raises(InstrumentError, match="was not answered in one word"):
                link.query(message)


def test_errors_left_by_a_lost_exchange_are_not_blamed_on_the_next() -> None:
    queue: list[bytes] = []

    def behave(peer: Peer) -> None:
        for line in peer.lines():
            if line == b"*IDN?":
                peer.send(IDN.encode() + b"\n")
            elif line.startswith(b"LOST"):
                queue.append(b'-410,"Query INTERRUPTED"')
            else:
                peer.send((queue.pop(0) if queue else NO_ERROR) + b"\n")

    with RogueInstrument(behave) as rogue, link_to(rogue, 0.2) as link:
        with pytest.raises(LinkTimeoutError):
            link.write("LOST")
        link.write("FINE")


# -- finding the place ------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="no alarm to stand for Ctrl-C")
def test_ctrl_c_in_the_middle_of_an_exchange_leaves_the_link_able_to_go_on() -> None:
    def slowly(peer: Peer) -> None:
        peer.send(b"#510000" + bytes(4000))
        threading.Timer(0.25, peer.send, [bytes(6000) + b";" + NO_ERROR + b"\n"]).start()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with RogueInstrument(scripted({b"BLOCK?": slowly})) as rogue, link_to(rogue, 2) as link:
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(KeyboardInterrupt):
                link.exchange("BLOCK?")
            assert link.query("ECHO? 9") == "9"
            assert link.exchange("BLOCK?")[0].size == 10_000
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_half_sent_block_is_ended_by_a_new_connection() -> None:
    """In place it cannot be: the instrument would take whatever follows for the rest of the block."""
    messages: list[int] = []

    def behave(peer: Peer) -> None:
        if not messages:
            messages.append(0)
            peer.send(IDN.encode() + b"\n")
            with contextlib.suppress(OSError):
                while data := peer.socket.recv(1 << 16):
                    messages[0] += len(data)
                    time.sleep(0.02)
        else:
            scripted({})(peer)

    with RogueInstrument(behave) as rogue, link_to(rogue, 0.4) as link:
        with pytest.raises(LinkTimeoutError, match="not taken"):
            link.exchange("X ", np.zeros(200_000_000, np.uint8))
        assert link.query("ECHO? 1") == "1"
        assert rogue.connections == 2
        assert 0 < messages[0] < 200_000_000


def test_resynchronising_hands_back_what_stood_in_the_error_queue() -> None:
    with RogueInstrument(refusing([b'-410,"Query INTERRUPTED"', b'5,"hot"'])) as rogue, link_to(rogue) as link:
        assert link.resynchronise() == [(-410, "Query INTERRUPTED"), (5, "hot")]
        assert link.resynchronise() == []


def test_who_must_know_that_there_was_a_fault_is_told_before_anything_else_is_sent() -> None:
    told = []

    def distrust(within_s: float) -> None:
        told.append(within_s)
        if len(told) > 1:
            raise LinkError("not the same any more")

    seen = []

    def behave(peer: Peer) -> None:
        for line in peer.lines():
            seen.append(line.partition(b";")[0])
            if line.startswith(b"DIE"):
                return
            peer.send(IDN.encode() + b"\n" if line == b"*IDN?" else NO_ERROR + b"\n")

    with RogueInstrument(behave) as rogue, link_to(rogue, 1, after_fault=distrust) as link:
        link.write("A")
        assert not told
        with pytest.raises(LinkClosedError):
            link.write("DIE")
        link.write("B")
        assert len(told) == 1
        assert 0 < told[0] <= 0.5
        with pytest.raises(LinkClosedError):
            link.write("DIE")
        for _ in range(2):
            with pytest.raises(LinkError, match="not the same any more"):
                link.write("C")
    assert b"C" not in seen


# -- the wire log -----------------------------------------------------------------------------------------------


def test_the_wire_log_has_every_byte_both_ways_in_order(tmp_path: Path) -> None:
    log = WireLog(tmp_path / "wire.log")
    broken = {b"BROKEN?": b"#41000" + b"z" * 10, b"BLOCK?": b"#13a;b;1;" + NO_ERROR + b"\n", b"ONLY?": b"#11x\r\n"}
    with RogueInstrument(scripted(broken)) as rogue, link_to(rogue, 0.2, wire_log=log) as link:
        link.exchange("BLOCK?")
        with pytest.raises(LinkTimeoutError):
            link.exchange("BROKEN? ", np.arange(3, dtype=np.uint8))
        link.query("ECHO? 1")
        with pytest.raises(InstrumentError):
            link.exchange("ONLY?")
    log.close()
    traffic = [(direction, data) for _, direction, data in read_wire_log(log.path)]
    ask = b";:SYSTem:ERRor?\n"
    assert traffic[:6] == [
        (">", b"*IDN?\n"),
        ("<", IDN.encode() + b"\n"),
        (">", b"BLOCK?" + ask),
        ("<", b"#13a;b;1;" + NO_ERROR + b"\n"),
        (">", b"BROKEN? #13\x00\x01\x02" + ask),
        ("<", b"#41000zzzzzzzzzz"),
    ]
    assert (">", b"*IDN?\n") in traffic[6:]
    assert traffic[-4:] == [
        (">", b"ECHO? 1" + ask),
        ("<", b"1;" + NO_ERROR + b"\n"),
        (">", b"ONLY?" + ask),
        ("<", b"#11x\r\n"),
    ]
    assert log.digest == hashlib.sha256(log.path.read_bytes()).hexdigest()
