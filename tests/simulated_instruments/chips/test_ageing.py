"""For how long a chip's cells count as staying as they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labctl.simulated_instruments.chips.ageing import Ageing

POWER_ON = 1.8e9  # s
CLOCK = 1e-6  # s: what a double that counts seconds since 1970 resolves, several times over


def pulsed(pace=1.0):
    ageing = Ageing(pace=pace)
    ageing.changed(ageing.moment(POWER_ON, 0.0))
    return ageing


@given(st.floats(0, 1e6), st.sampled_from([1.0, 30.0, 1e4]))
def test_a_look_is_not_much_older_than_it_says(elapsed, pace):
    ageing = pulsed(pace)
    seen = ageing.steady(POWER_ON + elapsed).time - POWER_ON
    lag = elapsed - seen
    assert lag > -CLOCK
    assert lag <= min(1.0, max(0.01 / pace, 0.3 * seen)) * (1 + 1e-9) + CLOCK


@given(st.lists(st.floats(0, 20), max_size=5), st.floats(0, 20))
def test_it_does_not_matter_who_looked_before(before, elapsed):
    looked, fresh = pulsed(), pulsed()
    for each in sorted(each for each in before if each <= elapsed):
        looked.steady(POWER_ON + each)
    one, two = looked.steady(POWER_ON + elapsed), fresh.steady(POWER_ON + elapsed)
    assert (one.time, one.age) == (two.time, two.age)


def test_within_a_stretch_the_moment_is_the_same_one():
    ageing = pulsed()
    assert ageing.steady(POWER_ON + 10.5) == ageing.steady(POWER_ON + 10.9)
    assert ageing.steady(POWER_ON + 10.5) != ageing.steady(POWER_ON + 12.0)


def test_age_runs_with_the_pace_up_to_the_moment():
    ageing = pulsed(pace=100.0)
    seen = ageing.steady(POWER_ON + 50.0)
    assert seen.age == pytest.approx(100.0 * (seen.time - POWER_ON), rel=1e-6)


def test_heat_is_a_change():
    ageing = pulsed()
    ageing.change(POWER_ON + 100.0, 50.0)
    seen = ageing.steady(POWER_ON + 100.0)
    assert (seen.time, seen.pace) == (POWER_ON + 100.0, 50.0)
    assert seen.age == pytest.approx(100.0)


def test_a_chip_that_nothing_happened_to_has_not_aged():
    seen = Ageing().steady(POWER_ON)
    assert (seen.time, seen.age) == (POWER_ON, 0.0)
