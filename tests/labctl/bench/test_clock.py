"""The clock of a replayed bench."""

from __future__ import annotations

from labctl.bench.clock import RecordedClock, WallClock, wall_clock


def test_a_recorded_clock_goes_with_the_recording_and_sleeps_without_waiting() -> None:
    recorded = [1000.0]
    clock = wall_clock(lambda: recorded[0])
    assert isinstance(clock, RecordedClock)
    assert clock.now() == 1000.0
    clock.sleep_until(1e12)  # the real clock would take 30,000 years
    assert clock.now() == 1e12
    clock.sleep_until(1000.0)
    assert clock.now() == 1e12
    recorded[0] = 2e12
    assert clock.now() == 2e12


def test_without_a_recording_it_is_the_wall_clock() -> None:
    assert isinstance(wall_clock(None), WallClock)
