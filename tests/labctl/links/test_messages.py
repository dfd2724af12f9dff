"""Messages as a person reads them: nothing left out, blocks told apart, differences marked where they are."""

from __future__ import annotations

import hashlib

from hypothesis import example, given
from hypothesis import strategies as st

from labctl.links.board_frames import Kind, Status
from labctl.links.frames import ANSWER, encode
from labctl.links.messages import first_difference, pieces_of, shorten, shown, side_by_side

TITLES = ("recorded", "sent now")


@given(st.binary())
@example(b"#15abc")
@example(b"#0abc\n")
@example(b"LC\x01")
@example(b"".join(encode(Kind.READ, 3, 0, b"1234")) + b"tail")
def test_the_pieces_of_any_message_make_it_up(data: bytes) -> None:
    assert b"".join(piece.data for piece in pieces_of(data)) == data
    assert shown(data).isascii()


def test_a_block_is_shown_by_its_size_and_digest() -> None:
    payload = b";\n#12" * 400
    digest = hashlib.sha256(payload).hexdigest()
    message = b":READ? 1,#42000" + payload + b';0,"a;b"\n'
    assert shown(message) == f':READ? 1,<2,000 bytes {digest[:8]}>;0,"a;b"'
    (block,) = (piece for piece in pieces_of(message) if piece.sha256)
    assert (block.sha256, block.size, block.is_cut) == (digest, 2000, False)


def test_a_block_that_breaks_off_is_shown_as_such() -> None:
    assert shown(b"#3200abc").startswith("<3 of 200 bytes ")


def test_text_that_only_looks_like_a_block_is_text() -> None:
    assert shown(b"#H1F;#\n") == "#H1F;#"


def test_bytes_that_are_no_text_are_escaped() -> None:
    assert shown(b"a\\b\x00\t\xff") == "a\\\\b\\x00\\t\\xff"


def test_frames_are_told_by_name() -> None:
    request = b"".join(encode(Kind.TIME, 7, 0))
    answer = b"".join(encode(Kind.TIME | ANSWER, 7, Status.REFUSED, b"12345678"))
    assert shown(request) == "TIME number 7"
    assert shown(answer).startswith("TIME REFUSED number 7 <8 bytes ")
    assert shown(b"".join(encode(0x55, 1, 0))) == "kind 0x55 number 1"


@given(st.binary(), st.binary(), st.binary())
def test_the_first_difference_is_where_it_is(same: bytes, one: bytes, other: bytes) -> None:
    left, right = same + one, same + other
    naive = next((at for at in range(min(len(left), len(right))) if left[at] != right[at]), min(len(left), len(right)))
    assert first_difference(left, right) == (None if left == right else naive)


@given(st.text(), st.integers(6, 40), st.integers(0, 100))
def test_a_shortened_text_is_never_wider_than_asked(text: str, width: int, at: int) -> None:
    assert len(shorten(text, width, at)) <= width


def test_two_messages_stand_side_by_side_and_what_differs_is_marked() -> None:
    recorded = b":OUTPut:STATe ON;:PULSe 2,SET,1e-07,2.2,#14abcd;:SYSTem:TIME?\n"
    actual = b":PULSe 2,SET,1e-07,2.4,#14abcd;:SYSTem:TIME?\n"
    lines = side_by_side(recorded, actual, TITLES, 79)
    assert [line for line in lines if line.startswith("  *")] == [
        "  * :OUTPut:STATe ON;                    | :PULSe 2,SET,1e-07,2.4,",
        "  * :PULSe 2,SET,1e-07,2.2,              |",
    ]
    assert max(len(line) for line in lines) <= 79


def test_the_first_difference_is_marked_below_it() -> None:
    head = b":VOLT 1;" * 30
    lines = side_by_side(head + b":CURR 1.25;END", head + b":CURR 1.5;END", TITLES, 80)
    title, one, other, mark = lines[-4:]
    assert title == f"  first difference: byte {len(head) + 8}"
    at = mark.index("^")
    assert (one[at - 2 : at + 2], other[at - 2 : at + 2]) == ("1.25", "1.5;")


def test_a_difference_in_the_middle_of_a_long_unit_is_not_cut_off() -> None:
    one, other = b"x" * 200 + b"1" + b"y" * 200, b"x" * 200 + b"2" + b"y" * 200
    (row,) = (line for line in side_by_side(one, other, TITLES, 80) if line.startswith("  *"))
    assert "x1y" in row
    assert "x2y" in row


def test_runs_of_the_same_are_counted_instead_of_shown() -> None:
    same = b"A;" * 20
    lines = side_by_side(same + b"1", same + b"2", TITLES, 80)
    assert "    ... 18 the same" in lines
    assert sum(line.startswith("    A;") for line in lines) == 2
