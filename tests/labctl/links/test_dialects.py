"""Errors asked for, and answers put together, in the two languages of bench instruments."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wires import Peer, RogueInstrument

from labctl.errors import InstrumentError, LinkTimeoutError
from labctl.links.dialects import Scpi, Tsp
from labctl.links.visa import VisaLink

SYNTAX = (-285, "TSP Syntax error at line 1: unexpected symbol near `='")
EMPTY = b"0\tQueue Is Empty\t0\t1\n"
IDN = b"Keithley Instruments Inc., Model 2602B, 1234567, 3.0.0\n"


@pytest.mark.parametrize(
    ("unit", "error"),
    [
        ("0\tQueue Is Empty\t0\t1", (0, "Queue Is Empty")),
        ("0.00000e+00\tQueue Is Empty\t0.00000e+00\t1.00000e+00\r", (0, "Queue Is Empty")),
        ("-285\tTSP Syntax error at line 1: unexpected symbol near `='\t20\t1", SYNTAX),
        ("802\tOUTPUT blocked by interlock\t40\t1", (802, "OUTPUT blocked by interlock")),
        ("1.0\t2.0\t3.0\t4.0", None),
        ("1.0\t-2e-07\t3\t4", None),
        ("true\t1.0\t2.0", None),
        ("", None),
    ],
)
def test_a_script_instrument_ends_its_answers_with_number_text_severity_and_node(
    unit: str, error: tuple[int, str] | None
) -> None:
    assert Tsp().error(unit) == error
    assert Tsp().is_last(unit) == (error is not None)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False) | st.integers(), min_size=1, max_size=6))
def test_printed_numbers_are_no_error_whatever_they_are(values: list[float | int]) -> None:
    assert not Tsp().is_last("\t".join(f"{each:.9e}" if isinstance(each, float) else str(each) for each in values))


@given(st.integers(-999, 9999), st.text("abc XYZ:;,`'()", min_size=1).filter(lambda text: any(map(str.isalpha, text))))
def test_every_error_is_found_again(number: int, text: str) -> None:
    assert Tsp().error(f"{number}\t{text}\t20\t1") == (number, text.strip())
    assert Scpi().error(f'{number},"{text}"') == (number, text)


def speaks_tsp(answers: dict[bytes, bytes]):  # type: ignore[no-untyped-def]
    """An instrument that answers chunks as `answers` says and its error queue with what `errors` holds."""

    def behave(peer: Peer) -> None:
        errors: list[bytes] = []
        for line in peer.lines():
            if line == b"*IDN?":
                peer.send(IDN)
            elif line == b"print(errorqueue.next())":
                peer.send(errors.pop(0) if errors else EMPTY)
            elif line.startswith(b"bad"):
                errors += [b"-286\tTSP Runtime error at line 1\t20\t1\n", b"-285\tAnother\t20\t1\n"]
            else:
                peer.send(answers.get(line, b""))

    return behave


def tsp_link(rogue: RogueInstrument, **options: object) -> VisaLink:
    given = {"visa_library": "@py", "timeout_s": 1.0, **options}
    return VisaLink(rogue.resource_name, dialect=Tsp(), **given)  # type: ignore[arg-type]


def test_a_chunk_is_answered_with_a_line_a_print() -> None:
    with RogueInstrument(speaks_tsp({b"go": b"true\t1.5\t2\nnil\n\n"})) as rogue, tsp_link(rogue) as link:
        assert link.idn == IDN.decode().strip()
        assert link.exchange("go") == ["true\t1.5\t2", "nil", ""]
        link.write("nothing")
        assert link.exchange("go") == ["true\t1.5\t2", "nil", ""]


def test_an_error_that_ends_its_chunk_is_known_in_the_same_crossing_and_the_queue_is_drained() -> None:
    with RogueInstrument(speaks_tsp({b"x": b"7\n"})) as rogue, tsp_link(rogue) as link:
        with pytest.raises(InstrumentError, match="refused bad: -286,") as caught:
            link.query("bad")
        assert caught.value.errors == ((-286, "TSP Runtime error at line 1"), (-285, "Another"))
        assert link.query("x") == "7"


def test_silence_is_a_time_out_that_says_what_was_asked() -> None:
    def deaf(peer: Peer) -> None:
        for line in peer.lines():
            if line == b"*IDN?":
                peer.send(IDN)

    with (
        RogueInstrument(deaf) as rogue,
        tsp_link(rogue, timeout_s=0.2) as link,
        pytest.raises(LinkTimeoutError, match="waiting for the answer to print"),
    ):
        link.query("print(smua.measure.i())")
