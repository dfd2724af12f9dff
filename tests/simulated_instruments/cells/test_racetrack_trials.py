"""Rare faults: as many as their probability says, anywhere, and the same in whatever portions trials are done."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from labctl.proportions import wilson_interval
from labctl.simulated_instruments.cells.arena import Arena
from labctl.simulated_instruments.cells.racetrack_trials import ARENA, RareFaults, Uniforms


def faults(probability, serial="T-1", line=3):
    return RareFaults(Uniforms(serial, "fault", Arena(ARENA)), line, probability)


def taken(stream, portions):
    found, begun = [], 0
    for trials in portions:
        where, choices = stream.take(trials)
        found += zip((where + begun).tolist(), choices.tolist(), strict=True)
        begun += trials
    return found


@pytest.mark.parametrize("probability", [1e-4, 1e-2, 0.3, 0.9])
def test_the_share_of_faults_is_their_probability(probability):
    where, choices = faults(probability).take(1_000_000)
    low, high = wilson_interval(len(where), 1_000_000, 0.9999)
    assert low <= probability <= high
    assert stats.kstest(choices, "uniform").pvalue > 1e-4


def test_faults_are_independent_of_each_other():
    where, _ = faults(0.01).take(2_000_000)
    counts = np.bincount(where // 100, minlength=20_000)  # binomial of 100
    expected = stats.binom.pmf(np.arange(5), 100, 0.01) * len(counts)
    seen = np.bincount(np.minimum(counts, 5), minlength=6)
    assert stats.chisquare(seen, [*expected, len(counts) - expected.sum()]).pvalue > 1e-4


def test_certain_and_impossible_faults():
    assert taken(faults(0.0), [10, 10**12]) == []
    assert [place for place, _ in taken(faults(1.0), [3, 4])] == list(range(7))


@given(
    portions=st.lists(st.integers(0, 3000), max_size=12),
    probability=st.sampled_from([1e-3, 0.05, 0.7]),
    kept=st.integers(0, 12),
)
def test_portions_and_a_restart_make_no_difference(portions, probability, kept):
    at_once = taken(faults(probability), [sum(portions)])
    stream = faults(probability)
    found = taken(stream, portions[:kept])
    again = faults(probability)
    again.restore(stream.state)
    begun = sum(portions[:kept])
    found += [(place + begun, choice) for place, choice in taken(again, portions[kept:])]
    assert found == at_once


def test_quiet_trials_may_be_skipped():
    stream, other = faults(1e-3), faults(1e-3)
    first = int(other.take(100_000)[0][0])
    assert stream.quiet(first)
    assert not stream.quiet(first + 1)
    stream.skip(first)
    assert stream.take(1)[0].tolist() == [0]


def test_another_probability_holds_from_the_next_trial_on():
    counts = []
    for serial in range(60):
        stream = faults(1e-5, f"T-{serial}")
        stream.take(1000)
        stream.change(0.02)
        counts.append(len(stream.take(1000)[0]))
        stream.change(0.0)
        assert stream.quiet(10**12)
    low, high = wilson_interval(sum(counts), 60_000, 0.9999)
    assert low <= 0.02 <= high


def test_lines_and_effects_differ():
    arena = Arena(ARENA)
    streams = [Uniforms("T-1", "fault", arena).of(line, 0, 1000) for line in (0, 1)]
    streams += [Uniforms("T-1", "other", arena).of(0, 0, 1000), Uniforms("T-1", "fault", arena).of(0, 2**31, 1000)]
    correlations = np.corrcoef(streams)[np.triu_indices(4, 1)]
    assert np.abs(correlations).max() < 4 / np.sqrt(1000)
    np.testing.assert_array_equal(
        Uniforms("T-1", "fault", arena).of_lines(5000)[[0, 1, 4999]],
        [Uniforms("T-1", "fault", arena).of(line, 0, 1)[0] for line in (0, 1, 4999)],
    )
