"""The grammar of messages: every form of data is taken apart, every malformed one has its own error."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from labctl.links.blocks import encode_header
from labctl.simulated_instruments.scpi.errors import ScpiError
from labctl.simulated_instruments.scpi.lexer import Element, Kind, Unit, units


def parse(message: bytes) -> list[Unit]:
    return list(units(message, 0, len(message)))


def only_element(data: bytes) -> Element:
    ((_, _, (element,), _),) = parse(b"X " + data)
    return element


def breach_of(message: bytes) -> int | None:
    """The number of the error that parsing `message` raises, if it does."""
    try:
        parse(message)
    except ScpiError as error:
        return error.number
    return None


def test_a_message_is_units_of_header_and_data() -> None:
    assert [(unit.header, unit.is_query, len(unit.elements)) for unit in parse(b" *CLS;:A:B? 1 , 2\t;c;; ")] == [
        ("*CLS", False, 0),
        (":A:B", True, 2),
        ("c", False, 0),
    ]


@pytest.mark.parametrize(
    ("data", "text", "suffix"),
    [
        (b"12", "12", ""),
        (b"-.5", "-.5", ""),
        (b"+1.", "+1.", ""),
        (b"1.5E-3", "1.5e-3", ""),
        (b"1.5 e +3", "1.5e+3", ""),
        (b"10 MV", "10", "MV"),
        (b"10mv", "10", "MV"),
        (b"1E3EX", "1e3", "EX"),
        (b"5 V/S", "5", "V/S"),
        (b"#H1f", "31", ""),
        (b"#q17", "15", ""),
        (b"#B101", "5", ""),
    ],
)
def test_every_numeric_form_is_a_number_with_its_suffix(data: bytes, text: str, suffix: str) -> None:
    assert only_element(data) == Element(Kind.NUMBER, text, suffix)


@pytest.mark.parametrize(
    ("data", "kind", "text"),
    [
        (b"MAX", Kind.CHARACTERS, "MAX"),
        (b'"it\'s; a ""string"""', Kind.STRING, 'it\'s; a "string"'),
        (b"'a''b\n'", Kind.STRING, "a'b\n"),
        (b"(@1,3:5)", Kind.EXPRESSION, "@1,3:5"),
    ],
)
def test_other_data_keeps_its_kind_and_text(data: bytes, kind: Kind, text: str) -> None:
    assert only_element(data) == Element(kind, text)


def test_a_block_is_a_view_of_the_message_and_may_hold_anything() -> None:
    message = bytearray(b"X 1,#15;\n\",',2")
    ((_, _, (_, block, last), _),) = units(message, 0, len(message))
    assert block.payload == b";\n\",'"
    assert last.text == "2"
    message[7] = ord("!")
    assert block.payload == b"!\n\",'"


def test_an_indefinite_block_takes_the_rest_of_the_message() -> None:
    assert only_element(b"#0a;b,c").payload == b"a;b,c"


@pytest.mark.parametrize(
    ("message", "number"),
    [
        (b"A@B", -101),
        (b"A 1@", -101),
        (b"\xffA", -101),
        (b"A $", -101),
        (b"A 1,", -102),
        (b"A ,1", -102),
        (b"A 1,;B", -102),
        (b"A #X", -102),
        (b"A 1 2", -103),
        (b"A 'b' c", -103),
        (b"A #11b c", -103),
        (b"A::B", -110),
        (b"*A??", -110),
        (b"12", -110),
        (b"A:", -110),
        (b"A(1)", -111),
        (b'A"b"', -111),
        (b"A,1", -111),
        (b"A +", -120),
        (b"A -.E1", -120),
        (b"A 1.2.3", -121),
        (b"A 1+2", -121),
        (b"A #B12", -121),
        (b"A #HXY", -121),
        (b"A 1E32001", -123),
        (b"A 1E" + b"9" * 5000, -123),
        (b"A " + b"1" * 256, -124),
        (b"A #H" + b"F" * 256, -124),
        (b"A 1 " + b"V" * 13, -134),
        (b"A " + b"B" * 13, -144),
        (b"A 'b", -151),
        (b'A "b""', -151),
        (b"A #1", -161),
        (b"A #15bcd", -161),
        (b"A #2x5bcd", -161),
        (b"A (1", -171),
        (b"A (1;2)", -171),
        (b"A ((1))", -171),
    ],
)
def test_each_breach_of_the_grammar_has_its_error(message: bytes, number: int) -> None:
    assert breach_of(message) == number


def test_leading_zeros_are_not_digits_too_many() -> None:
    assert float(only_element(b"0" * 400 + b"1").text) == 1


def test_units_before_the_breach_are_parsed() -> None:
    parsed = units(b"A;B 'x", 0, 6)
    assert next(parsed).header == "A"
    with pytest.raises(ScpiError):
        next(parsed)


strings = st.text(st.characters(codec="latin-1"), max_size=30)


@given(strings, st.sampled_from("'\""))
def test_any_string_reads_back_in_either_quote(text: str, quote: str) -> None:
    data = quote + text.replace(quote, quote * 2) + quote
    assert only_element(data.encode("latin-1")) == Element(Kind.STRING, text)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_float_reads_back(value: float) -> None:
    assert float(only_element(repr(value).encode()).text) == value


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=4))
def test_any_blocks_read_back_side_by_side(payloads: list[bytes]) -> None:
    data = b",".join(encode_header(len(payload)) + payload for payload in payloads)
    ((_, _, elements, _),) = parse(b"X " + data)
    assert [bytes(element.payload) for element in elements] == payloads


@given(st.binary(max_size=200))
@example(b"A " + b'"' * 199)
@example(b"A (" * 60)
@example(b"A #9999999999")
def test_garbage_is_parsed_or_refused_and_nothing_else(message: bytes) -> None:
    breach = breach_of(message)
    assert breach is None or -200 < breach <= -100


def test_a_contrived_message_takes_linear_time() -> None:
    for piece in (b'"', b"''", b" ", b"1", b"A", b"A:", b"(", b"1E", b"\x00;"):
        message = b"A " + piece * (1 << 18)
        assert breach_of(message + b"$") is not None


@pytest.mark.parametrize("message", [b"A " + b"B" * 13, b"A 1,", b"A 1, ;B", b":*CLS"])
def test_some_makers_forgive_what_the_standard_does_not(message: bytes) -> None:
    with pytest.raises(ScpiError):
        parse(message)
    (first, *_) = units(message, 0, len(message), True)
    assert first.header in ("A", "*CLS")


ELEMENTS = (
    b"1",
    b"-2.5e3 ",
    b" 10 MV",
    b"1.2.3",
    b"WORD",
    b"LONGERTHANTWELVE",
    b"#13a;,",
    b"#H1F",
    b"#0",
    b"'a;b'",
    b'"',
    b"(@1)",
    b"$",
    b"",
)


@given(st.lists(st.sampled_from(ELEMENTS), max_size=5), st.booleans())
def test_text_that_is_remembered_is_understood_as_other_text_is(elements: list[bytes], forgiving: bool) -> None:
    def understood(spaces: int) -> list[object]:
        message = b"HEAD?" + b" " * spaces + b",".join(elements) + b";NEXT 1"
        found: list[object] = []
        try:
            for unit in units(message, 0, len(message), forgiving):
                found += [unit.header, unit.is_query, *((*each[:3], bytes(each.payload)) for each in unit.elements)]
        except ScpiError as error:
            found.append(str(error))
        return found

    assert understood(1) == understood(1) == understood(300)  # too long to be remembered
