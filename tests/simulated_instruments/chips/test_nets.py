"""Voltages of nets: against circuits whose solution is known, and against Kirchhoff where it is not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labctl.simulated_instruments.chips.nets import Source, solve
from labctl.simulated_instruments.network import Bias

GROUND = Bias("voltage", 0.0, np.inf)


def volts(level: float, limit: float = 1.0) -> Bias:
    return Bias("voltage", level, limit)


def amps(level: float, limit: float = 10.0) -> Bias:
    return Bias("current", level, limit)


def circuit(biases: dict[int, Bias], *edges: tuple[int, int, float], nets: int = 4):
    ends = np.array([edge[:2] for edge in edges], np.intp).reshape(-1, 2)
    sources = [Source(net, bias) for net, bias in biases.items()]
    return solve(nets, sources, ends, np.array([edge[2] for edge in edges]))


def test_a_voltage_across_a_conductance_drives_its_current() -> None:
    found = circuit({0: volts(0.2), 1: GROUND}, (0, 1, 1e-5))
    assert found.volts[:2] == pytest.approx([0.2, 0.0], abs=1e-8)
    assert found.amps == pytest.approx([2e-6, -2e-6], rel=1e-6)
    assert not found.limited.any()


def test_two_conductances_divide_a_voltage_and_a_floating_net_lies_between() -> None:
    found = circuit({0: volts(3.0), 1: GROUND}, (0, 2, 1e-5), (2, 1, 2e-5))
    assert found.volts[2] == pytest.approx(1.0, rel=1e-6)


def test_at_its_limit_a_voltage_source_gives_that_current_and_says_so() -> None:
    found = circuit({0: volts(2.0, limit=1e-6), 1: GROUND}, (0, 1, 1e-5))
    assert found.amps[0] == 1e-6
    assert found.volts[0] == pytest.approx(0.1, rel=1e-6)
    assert list(found.limited) == [True, False]


def test_a_current_source_goes_as_far_as_its_limit_of_voltage() -> None:
    free = circuit({0: amps(1e-6), 1: GROUND}, (0, 1, 1e-5))
    assert free.volts[0] == pytest.approx(0.1, rel=1e-6)
    held = circuit({0: amps(-1e-6, limit=0.02), 1: GROUND}, (0, 1, 1e-5))
    assert held.volts[0] == pytest.approx(-0.02, rel=1e-6)
    assert held.amps[0] == pytest.approx(-2e-7, rel=1e-6)
    assert held.limited[0]


def test_into_nothing_a_current_source_stands_at_its_limit() -> None:
    found = circuit({0: amps(1e-6, limit=5.0)})
    assert found.volts[0] == pytest.approx(5.0)
    assert found.amps[0] == pytest.approx(0.0, abs=1e-12)
    assert found.limited[0]


@pytest.mark.parametrize("strong", [1e-2, 1e-1])
def test_of_two_sources_on_one_net_the_weaker_gives_way(strong: float) -> None:
    found = solve(
        1, [Source(0, volts(1.0, 1e-3)), Source(0, volts(2.0, strong))], np.empty((0, 2), np.intp), np.empty(0)
    )
    assert found.volts[0] == pytest.approx(2.0, abs=1e-5)
    assert found.amps == pytest.approx([-1e-3, 1e-3])
    assert list(found.limited) == [True, False]


def test_a_net_that_nothing_holds_comes_to_rest_at_ground() -> None:
    assert circuit({0: volts(1.0)}, (1, 2, 1e-5)).volts[1:] == pytest.approx([0.0, 0.0, 0.0])


conductances = st.floats(1e-8, 1e-3)
biases = st.one_of(
    st.builds(volts, st.floats(-3, 3), st.floats(1e-9, 1e-2)),
    st.builds(amps, st.floats(-1e-3, 1e-3), st.floats(1e-2, 10)),
)


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(st.integers(1, 5), biases, max_size=4),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), conductances), min_size=1, max_size=12),
)
def test_whatever_the_circuit_currents_balance_and_sources_stay_within_their_limits(
    driven: dict[int, Bias], edges: list[tuple[int, int, float]]
) -> None:
    """Rounding: of a milliohm's volt, 1e-16 V, that is 1e-13 A; leakage: 1e-14 S at 10 V."""
    found = circuit({0: GROUND, **driven}, *edges, nets=6)
    left = np.zeros(6)
    for first, second, siemens in edges:
        current = siemens * (found.volts[first] - found.volts[second])
        left[first] -= current
        left[second] += current
    for net, current in zip([0, *driven], found.amps, strict=True):
        left[net] += current
    assert np.abs(left).max() < 1e-11
    for (net, bias), current in zip(driven.items(), found.amps[1:], strict=True):
        if bias.kind == "voltage":
            assert abs(current) <= bias.limit * (1 + 1e-6) + 1e-11
        elif found.volts[net] * bias.level > 0:
            pushed = abs(current + bias.level) <= 1e-9 * abs(bias.level)  # by a stronger one, beyond its limit
            assert pushed or abs(found.volts[net]) <= bias.limit * (1 + 1e-6) + 1e-5
