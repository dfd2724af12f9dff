from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labctl.links.units import parse_error, split_units

plain = st.text(st.characters(codec="latin-1", exclude_characters=";\"'\r\n")).map(str.strip)
quoted = st.builds(
    lambda text, quote: quote + text.replace(quote, 2 * quote) + quote,
    st.text(st.characters(codec="latin-1", exclude_characters="\r\n")),
    st.sampled_from("\"'"),
)
unit = plain | quoted | st.builds("{},{}".format, quoted, quoted) | st.builds("{}, {}".format, plain, quoted)


@given(st.lists(unit, min_size=1))
def test_units_joined_by_semicolons_come_apart_again(units: list[str]) -> None:
    assert split_units(";".join(units) + "\r\n") == [each.strip() for each in units]


def test_an_apostrophe_within_a_word_begins_no_string() -> None:
    assert split_units("O'Neill,M1;0") == ["O'Neill,M1", "0"]


def test_a_quote_that_never_closes_hides_nothing() -> None:
    assert split_units('"open;5') == ['"open', "5"]


@given(st.integers(-999, 999), st.text(st.characters(codec="latin-1", exclude_characters="\r\n")))
def test_an_error_as_the_standard_writes_it_is_read_back(number: int, text: str) -> None:
    assert parse_error(f'{number},"' + text.replace('"', '""') + '"') == (number, text)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ('+0,"No error"', (0, "No error")),
        ("0,No error", (0, "No error")),
        (' -113 , "Undefined header;""X""" ', (-113, 'Undefined header;"X"')),
    ],
)
def test_error_answers_of_real_instruments_are_understood(answer: str, error: tuple[int, str]) -> None:
    assert parse_error(answer) == error


@pytest.mark.parametrize("answer", ["", "5", "1.5", "512,512", "0,0,0", "hello", '"0"', "1,2"])
def test_what_is_no_number_and_text_is_no_error(answer: str) -> None:
    assert parse_error(answer) is None
