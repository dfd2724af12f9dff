"""The error queue: first in, first out, bounded, in the standard's words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labctl.simulated_instruments.scpi.errors import NO_ERROR, STANDARD, ErrorQueue, ScpiError
from labctl.simulated_instruments.scpi.status import StandardEvent, event_of


def test_entries_are_number_and_quoted_text() -> None:
    assert str(ScpiError(-113)) == '-113,"Undefined header"'
    assert str(ScpiError(-222, "5 is above 1 V")) == '-222,"Data out of range;5 is above 1 V"'
    assert str(ScpiError(42, "Cell stuck")) == '42,"Cell stuck"'
    assert str(ScpiError(7)) == '7,"Device-specific error"'


@given(st.sampled_from(sorted(STANDARD)), st.text(max_size=400))
def test_no_detail_can_break_the_line_it_is_read_in(number: int, detail: str) -> None:
    line = str(ScpiError(number, detail))
    head, _, text = line.partition(",")
    assert int(head) == number
    assert line.isascii()
    assert line.isprintable()
    assert text[0] == text[-1] == '"'
    assert '"' not in text[1:-1].replace('""', "")
    assert len(text[1:-1].replace('""', '"')) <= 255


@pytest.mark.parametrize("number", [0, -1, -99, -599])
def test_numbers_the_standard_has_not_are_refused(number: int) -> None:
    with pytest.raises(ValueError, match="standard error number"):
        ScpiError(number)


@given(st.lists(st.sampled_from(sorted(STANDARD)), max_size=12))
def test_the_queue_keeps_the_oldest_and_says_that_it_overflowed(numbers: list[int]) -> None:
    queue = ErrorQueue(5)
    stored = [queue.push(ScpiError(number)) for number in numbers]
    assert stored == [index < 5 for index in range(len(numbers))]
    expected = numbers if len(numbers) <= 5 else [*numbers[:4], -350]
    assert len(queue) == len(expected)
    assert [int(queue.pop().split(",")[0]) for _ in expected] == expected
    assert queue.pop() == NO_ERROR


def test_a_queue_has_room_for_two() -> None:
    with pytest.raises(ValueError, match="two"):
        ErrorQueue(1)


@pytest.mark.parametrize(
    ("number", "event"),
    [
        (-100, StandardEvent.COMMAND_ERROR),
        (-178, StandardEvent.COMMAND_ERROR),
        (-200, StandardEvent.EXECUTION_ERROR),
        (-241, StandardEvent.EXECUTION_ERROR),
        (-310, StandardEvent.DEVICE_ERROR),
        (-363, StandardEvent.DEVICE_ERROR),
        (42, StandardEvent.DEVICE_ERROR),
        (-400, StandardEvent.QUERY_ERROR),
        (-440, StandardEvent.QUERY_ERROR),
    ],
)
def test_each_class_of_errors_sets_its_event(number: int, event: StandardEvent) -> None:
    assert event_of(ScpiError(number, "x")) is event
