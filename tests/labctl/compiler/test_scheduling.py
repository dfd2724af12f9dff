"""Expressions, schedules and layouts: every sum is what it was, and no live word is ever overwritten."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labctl.associative import AssociativeGeometry
from labctl.compiler import Options, TernaryLayer
from labctl.compiler.allocation import Slots
from labctl.compiler.emission import Kind
from labctl.compiler.scheduling import INPUT, schedule
from labctl.compiler.subexpressions import eliminate
from labctl.compiler.tiling import CARRY, cut_layer, lay_out
from labctl.compiler.widths import bounds_of_sums, width, widths


@st.composite
def sign_matrices(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    shape = draw(st.integers(1, 24)), draw(st.integers(1, 12))
    return ((rng.random(shape) >= draw(st.sampled_from([0.0, 0.42, 0.8]))) * rng.choice([-1, 1], shape)).astype(np.int8)


@given(signs=sign_matrices(), share=st.booleans())
@settings(max_examples=100, deadline=None)
def test_expressions_are_the_sums_they_were_made_of(signs, share):
    made = eliminate(signs, share)
    variables = list(np.eye(signs.shape[1], dtype=int))
    for left, right, sign in made.definitions:
        variables.append(variables[left] + sign * variables[right])
    none = np.zeros(signs.shape[1], int)
    found = [sign * variables[which] if which >= 0 else none for which, sign in made.results]
    np.testing.assert_array_equal(found, signs)
    if not share:
        assert len(made.definitions) == np.maximum(np.count_nonzero(signs, axis=1) - 1, 0).sum()


def test_a_pair_that_sums_share_is_added_once_whatever_its_sign():
    made = eliminate(np.array([[1, -1, 1, 0], [-1, 1, 0, 1], [1, -1, 0, 0]], np.int8))
    assert made.definitions[0] == (0, 1, -1)
    assert len(made.definitions) == 3  # four without
    assert made.results[2] == (4, 1)


@given(signs=sign_matrices(), per_track=st.integers(1, 6), input_range=st.sampled_from([(0, 15), (-8, 7), (0, 1)]))
@settings(max_examples=100, deadline=None)
def test_no_step_reads_a_slot_that_something_else_was_written_to_since(signs, per_track, input_range):
    made = schedule(eliminate(signs), input_range, Slots(per_track))
    low, high = input_range
    inputs = np.vstack([np.eye(signs.shape[1]) * (high - low), np.full(signs.shape[1], high - low)]).astype(int)
    slots: dict[int, np.ndarray] = {}

    def held(place):
        found = inputs[:, place.number] if place.where == INPUT else slots[place.number]
        assert place.low <= found.min()
        assert found.max() <= place.high < 1 << place.bits
        return found

    sums = np.zeros((len(inputs), len(signs)), int)
    waiting = list(made.deliveries)
    for done in range(len(made.steps) + 1):
        while waiting and waiting[0].steps == done:
            each = waiting.pop(0)
            sums[:, each.row] += each.sign * (held(each.place) - each.place.offset)
        if done < len(made.steps):
            step = made.steps[done]
            a, b = held(step.a), held(step.b)
            if step.a.where == step.b.where != INPUT:
                assert step.a.number // per_track != step.b.number // per_track
            inverted = {Kind.ADD_NOT: (1 << step.a.bits) - 1 - 2 * a, Kind.ADD_NOT_OUT: (1 << step.b.bits) - 1 - 2 * b}
            slots[step.result.number] = a + b + inverted.get(step.kind, 0)
            assert (step.b[:2] == step.result[:2]) == (step.kind in (Kind.ADD, Kind.ADD_NOT))
    np.testing.assert_array_equal(sums, (inputs + low) @ signs.T)
    assert not waiting


@given(
    geometry=st.builds(
        AssociativeGeometry, st.just(8), st.integers(20, 140), st.sampled_from([24, 48, 64]), st.sampled_from([1, 2])
    ),
    outputs=st.integers(1, 40),
    channels=st.integers(1, 9),
    slots=st.integers(0, 60),
)
@settings(max_examples=60, deadline=None)
def test_no_two_words_of_a_layout_share_a_column_and_each_is_within_the_reach_of_a_port(
    geometry, outputs, channels, slots
):
    rng = np.random.default_rng(outputs)
    layer = TernaryLayer("any", rng.integers(-1, 2, (outputs, 9 * channels)).astype(np.int8), channel=9)
    cut = cut_layer(layer, geometry, Options(), tile=outputs, more_bits=1)
    layout = lay_out(layer, geometry, cut, slots)
    if layout is None:
        return
    taken = [CARRY]
    groups = min(layout.groups_at_once, channels)
    for area, firsts in [
        (layout.temporaries, layout.temporaries.track_by_track(np.arange(slots))),
        (layout.inputs, layout.inputs.across_tracks(np.arange(9 * groups))),
        (layout.sums, layout.sums.across_tracks(np.arange(outputs))),
    ]:
        for first in firsts.tolist():
            columns = first + np.arange(area.bits)
            assert np.ptp(columns // geometry.reach) == 0
            taken += columns.tolist()
    assert len(set(taken)) == len(taken)
    assert max(taken) < geometry.columns
    group = layout.inputs.across_tracks(np.arange(9)) // geometry.domains
    assert len(set(group.tolist())) == 9


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 0, (1, False)),
        (0, 15, (4, False)),
        (0, 16, (5, False)),
        (-8, 7, (4, True)),
        (-9, 7, (5, True)),
        (-1, 0, (1, True)),
    ],
)
def test_a_width_is_the_least_that_holds_both_bounds(low, high, expected):
    assert width(low, high) == expected
    assert tuple(each.tolist() for each in widths([low], [high])) == ([expected[0]], [expected[1]])


def test_bounds_of_sums_are_reached():
    weights = np.array([[1, -1, 0], [-1, -1, 0], [0, 0, 0]], np.int8)
    low, high = bounds_of_sums(weights, (-8, 7))
    assert (low.tolist(), high.tolist()) == ([-15, -14, 0], [15, 16, 0])
