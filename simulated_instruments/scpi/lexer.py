"""A complete program message, taken apart into headers and data elements by the grammar of IEEE 488.2
chapter 7.

An element keeps its kind and its text; which kinds a parameter accepts is the parameter's business.
Patterns are possessive throughout, so that no message, however contrived, takes more than linear time.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from labctl.links.blocks import Buffer, parse_header

from .errors import ScpiError

LONGEST_WORD = 12
"""Characters of character data and of unit suffixes that the standard allows."""

_MOST_DIGITS = 255
_LARGEST_EXPONENT = 32000
_CACHED_TEXTS = 512

_PLAIN = re.compile(rb"[^;#\"'(\n]{1,200}+")  # text up to where a unit ends, or something else than text begins
_SPACES = re.compile(rb"[\x00-\x09\x0b-\x20]*+")
_HEADER = re.compile(rb"(\*[A-Za-z]\w*+|:?[A-Za-z]\w*+(?::[A-Za-z]\w*+)*+)(\?)?")
_NUMBER = re.compile(
    rb"(?P<mantissa>[+-]?(?:[0-9]++\.?[0-9]*+|\.[0-9]++))"
    rb"(?:[\x00-\x09\x0b-\x20]*+[eE][\x00-\x09\x0b-\x20]*+(?P<exponent>[+-]?[0-9]++))?"
    rb"(?:[\x00-\x09\x0b-\x20]*+(?P<suffix>[A-Za-z/%][A-Za-z0-9./^-]*+))?"
)
_CHARACTERS = re.compile(rb"[A-Za-z]\w*+")
_STRING = re.compile(rb"\"(?:[^\"]++|\"\")*+\"|'(?:[^']++|'')*+'")
_EXPRESSION = re.compile(rb"\([^\"#'();]*+\)")
_NON_DECIMAL = {
    ord("H"): (16, re.compile(rb"[0-9A-Fa-f]++")),
    ord("Q"): (8, re.compile(rb"[0-7]++")),
    ord("B"): (2, re.compile(rb"[01]++")),
}

_SPACE_BYTES = frozenset(range(0x21)) - {0x0A}
_PUNCTUATION = frozenset(b"\"#%'()*+,-./:;?^_")
_LETTERS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_DIGITS = frozenset(b"0123456789")
_LEGAL = _SPACE_BYTES | _PUNCTUATION | _LETTERS | _DIGITS
_COMMA, _SEMICOLON, _HASH = b",;#"


class Kind(enum.Enum):
    """The kinds of program data, by the names the standard's errors use."""

    NUMBER = "numeric data"
    CHARACTERS = "character data"
    STRING = "string data"
    BLOCK = "block data"
    EXPRESSION = "expression data"


class Element(NamedTuple):
    """One data element.

    text: a number in decimal (`#H1F` as `31`) without its suffix; character data as sent; a string without
    its quotes; an expression without its parentheses. suffix: a number's unit, in capitals. payload: a
    block's bytes.
    """

    kind: Kind
    text: str
    suffix: str = ""
    payload: memoryview = memoryview(b"")


class Unit(NamedTuple):
    """One message unit: a command or a query with its data.

    text: what it is, or what it begins with, whole elements, where that is not long; empty else.
    """

    header: str
    is_query: bool
    elements: tuple[Element, ...]
    text: bytes = b""


def units(data: Buffer, start: int, stop: int, forgiving: bool = False) -> Iterator[Unit]:
    """The units of the message `data[start:stop]` (without its terminator), each parsed when it is asked for.

    Units with nothing in them, as a trailing semicolon makes, are passed over. Raises ScpiError -1xx where
    the grammar is broken; nothing behind that place can be understood. forgiving: character data may be of any length,
    a comma may be the last thing there is, and a colon may lead a common command.
    """
    position = _skip_spaces(data, start, stop)
    while position < stop:
        if data[position] != _SEMICOLON:
            unit, position = _unit(data, position, stop, forgiving)
            yield unit
        if position < stop:
            position = _skip_spaces(data, position + 1, stop)


def _unit(data: Buffer, position: int, stop: int, forgiving: bool) -> tuple[Unit, int]:
    """The unit that begins at `position`, and where it ends: at a semicolon or `stop`.

    The text that it begins with, up to its first block if it has one, comes again and again in most dialogues; of one
    whole number, which is another each time as a counter is, up to that.
    """
    found = _PLAIN.match(data, position, stop)
    if found is not None:
        text, end = found[0], found.end()
        head, _, number = text.rpartition(b" ")
        if number.isdigit() and (end >= stop or data[end] == _SEMICOLON):
            known = _begun(head, forgiving)
            if known is not None and known[1] and not known[0].elements:
                unit = known[0]
                return Unit(unit.header, unit.is_query, (Element(Kind.NUMBER, number.decode("ascii")),), unit.text), end
        known = _begun(text, forgiving)
        if known is not None:
            unit, is_whole = known
            if is_whole and (end >= stop or data[end] == _SEMICOLON):
                return unit, end
            if not is_whole and end < stop and data[end] == _HASH:
                elements, end = _more_elements(data, end, stop, forgiving)
                return Unit(unit.header, unit.is_query, unit.elements + elements, unit.text), end
    return _parsed(data, position, stop, forgiving)


@lru_cache(_CACHED_TEXTS)
def _begun(text: bytes, forgiving: bool) -> tuple[Unit, bool] | None:
    """The unit that `text` is, and True; or its beginning up to a comma, and False. None where it is neither."""
    before, comma, behind = text.rpartition(b",")
    is_whole = not comma or bool(behind.strip())
    words = text if is_whole else before.rstrip()
    if not words or (not is_whole and words.endswith(b",")):
        return None
    try:
        unit, _ = _parsed(words, 0, len(words), forgiving)
    except ScpiError:
        return None
    return (unit._replace(text=text), is_whole) if is_whole or unit.elements else None


def begun(text: bytes, forgiving: bool = False) -> tuple[str, bool, tuple[Element, ...]]:
    """Header, whether it is a query, and elements of a unit that begins with `text`, as a unit has it."""
    known = _begun(text, forgiving)
    assert known is not None
    return known[0][:3]


def _parsed(data: Buffer, position: int, stop: int, forgiving: bool) -> tuple[Unit, int]:
    led = forgiving and bytes(data[position : position + 2]) == b":*"
    found = _HEADER.match(data, position + led, stop)
    if found is None:
        raise _bad_header(data[position])
    elements, position = _elements(data, _header_end(data, found.end(), stop), stop, forgiving)
    return Unit(found[1].decode("ascii"), found[2] is not None, elements), position


def _skip_spaces(data: Buffer, position: int, stop: int) -> int:
    if position < stop and data[position] > 0x20:
        return position
    found = _SPACES.match(data, position, stop)
    return found.end() if found else position


def _header_end(data: Buffer, position: int, stop: int) -> int:
    """Where the data begins, past the white space that must lead it."""
    if position >= stop or data[position] == _SEMICOLON:
        return position
    if data[position] not in _SPACE_BYTES:
        raise _bad_header(data[position])
    return _skip_spaces(data, position, stop)


def _bad_header(byte: int) -> ScpiError:
    if byte not in _LEGAL:
        return _invalid_character(byte)
    return ScpiError(-110) if byte in b":?*_" or byte in _DIGITS else ScpiError(-111, chr(byte))


def _invalid_character(byte: int) -> ScpiError:
    return ScpiError(-101, chr(byte) if 0x20 < byte < 0x7F else f"0x{byte:02X}")


def _elements(data: Buffer, position: int, stop: int, forgiving: bool) -> tuple[tuple[Element, ...], int]:
    """The comma-separated data up to the unit's end, and where that is."""
    if position >= stop or data[position] == _SEMICOLON:
        return (), position
    return _more_elements(data, position, stop, forgiving)


def _more_elements(data: Buffer, position: int, stop: int, forgiving: bool) -> tuple[tuple[Element, ...], int]:
    """One at least."""
    elements = []
    while True:
        element, position = _element(data, position, stop, forgiving)
        elements.append(element)
        position = _skip_spaces(data, position, stop)
        if position >= stop or data[position] == _SEMICOLON:
            return tuple(elements), position
        if data[position] not in _LEGAL:
            raise _invalid_character(data[position])
        if data[position] != _COMMA:
            raise ScpiError(-103, f"{element.kind.value} is followed by {chr(data[position])}")
        position = _skip_spaces(data, position + 1, stop)
        if position >= stop or (forgiving and data[position] == _SEMICOLON):
            if forgiving:
                return tuple(elements), position
            raise ScpiError(-102, "nothing after a comma")


def _element(data: Buffer, position: int, stop: int, forgiving: bool) -> tuple[Element, int]:
    """The element that begins at `position`, and where it ends."""
    first = data[position]
    if first in _DIGITS or first in b"+-.":
        return _number(data, position, stop)
    if first in _LETTERS:
        return _characters(data, position, stop, forgiving)
    if first == ord("#"):
        return _hash(data, position, stop)
    if first in b"\"'":
        return _string(data, position, stop)
    if first == ord("("):
        found = _EXPRESSION.match(data, position, stop)
        if found is None:
            raise ScpiError(-171)
        return Element(Kind.EXPRESSION, found[0][1:-1].decode("latin-1")), found.end()
    raise (ScpiError(-102, f"no data begins with {chr(first)}") if first in _LEGAL else _invalid_character(first))


def _number(data: Buffer, position: int, stop: int) -> tuple[Element, int]:
    found = _NUMBER.match(data, position, stop)
    if found is None:
        raise ScpiError(-120)
    mantissa, exponent, suffix = found.group("mantissa", "exponent", "suffix")
    _check_number_end(data, found.end(), stop)
    if len(mantissa.lstrip(b"+-0")) > _MOST_DIGITS:
        raise ScpiError(-124)
    text: bytes = mantissa
    if exponent is not None:
        if len(exponent) > _MOST_DIGITS or abs(int(exponent)) > _LARGEST_EXPONENT:
            raise ScpiError(-123)
        text += b"e" + exponent
    if suffix is None:
        return Element(Kind.NUMBER, text.decode("ascii")), found.end()
    if len(suffix) > LONGEST_WORD:
        raise ScpiError(-134)
    return Element(Kind.NUMBER, text.decode("ascii"), suffix.decode("ascii").upper()), found.end()


def _check_number_end(data: Buffer, position: int, stop: int) -> None:
    """`1.2.3` and `#B12` are numbers gone wrong, not numbers with something behind them."""
    if position < stop and (data[position] in _DIGITS or data[position] in _LETTERS or data[position] in b"+-._"):
        raise ScpiError(-121, chr(data[position]))


def _characters(data: Buffer, position: int, stop: int, forgiving: bool) -> tuple[Element, int]:
    found = _CHARACTERS.match(data, position, stop)
    if found is None:
        raise ScpiError(-141)
    if found.end() - position > LONGEST_WORD and not forgiving:
        raise ScpiError(-144)
    return Element(Kind.CHARACTERS, found[0].decode("ascii")), found.end()


def _string(data: Buffer, position: int, stop: int) -> tuple[Element, int]:
    found = _STRING.match(data, position, stop)
    if found is None:
        raise ScpiError(-151, "the closing quote is missing")
    quote = found[0][:1].decode("ascii")
    return Element(Kind.STRING, found[0][1:-1].decode("latin-1").replace(quote * 2, quote)), found.end()


def _hash(data: Buffer, position: int, stop: int) -> tuple[Element, int]:
    """A block, or a number in hexadecimal, octal or binary."""
    mark = data[position + 1] if position + 1 < stop else 0x20
    if mark in _DIGITS:
        return _block(data, position, stop)
    if mark & ~0x20 not in _NON_DECIMAL:
        raise ScpiError(-102, "nothing begins like this with #")
    base, pattern = _NON_DECIMAL[mark & ~0x20]
    found = pattern.match(data, position + 2, stop)
    if found is None:
        raise ScpiError(-121, f"a number in base {base} has no such digit")
    _check_number_end(data, found.end(), stop)
    if found.end() - found.start() > _MOST_DIGITS:
        raise ScpiError(-124)
    return Element(Kind.NUMBER, str(int(found[0], base))), found.end()


def _block(data: Buffer, position: int, stop: int) -> tuple[Element, int]:
    try:
        header = parse_header(data, position, stop)
    except ValueError as problem:
        raise ScpiError(-161, str(problem)) from None
    if header is None or (header.stop or 0) > stop:
        raise ScpiError(-161, "the message ends before the block does")
    end = stop if header.stop is None else header.stop
    return Element(Kind.BLOCK, "", "", memoryview(data)[header.start : end].toreadonly()), end
