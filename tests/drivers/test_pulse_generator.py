"""Single pulses of a waveform generator: their height, their width, and that each is one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from instruments import Leads, served

from labctl.drivers.pulse_generator import PulseGenerator, PulseSource
from labctl.drivers.pulses import NotPulsedError
from labctl.errors import BenchError
from labctl.links.wire_log import read_wire_log
from labctl.simulated_instruments.instruments import pulse_generator


@pytest.fixture
def generator(tmp_path: Path) -> Iterator[tuple[Any, Leads, Path]]:
    leads, log = Leads(), tmp_path / "log"
    options = {"wired_to": {"1": "load.one", "2": "load.two"}}
    with (
        served(pulse_generator.build, options, load=leads) as instrument,
        instrument.driver(PulseGenerator, wire_log=str(log)) as driver,
    ):
        yield driver, leads, log


def pulses(leads: Leads, name: str) -> list[tuple[float, float]]:
    """V and s of what a lead has been pulsed with."""
    return [each for _, each in leads.lead(name).told if isinstance(each, tuple)]


def test_a_pulse_has_the_height_and_the_width_it_should_and_is_one_crossing_with_another_for_its_shape(
    generator: tuple[Any, Leads, Path],
) -> None:
    driver, leads, log = generator
    output = driver.channel("1")
    assert isinstance(output, PulseSource)
    output.output(True)
    shapes = [(2.5, 1e-6), (2.5, 1e-6), (1.3, 100e-9), (3.9, 1e-3), (0.002, 20e-9)]
    shaped = [True, False, True, True, True]
    for (level, width), is_shaped in zip(shapes, shaped, strict=True):
        before = len(list(read_wire_log(log)))
        output.pulse(level, width)
        crossing = [">", "<"]
        assert [direction for _, direction, _ in read_wire_log(log)][before:] == crossing * (1 + is_shaped)
    given = pulses(leads, "one")
    assert [level for level, _ in given] == pytest.approx([level for level, _ in shapes], abs=1e-4)
    assert [width for _, width in given] == pytest.approx([width for _, width in shapes], rel=1e-3)
    assert pulses(leads, "two") == []


def test_each_output_has_its_own_pulses(generator: tuple[Any, Leads, Path]) -> None:
    driver, leads, _ = generator
    for name in ("1", "2"):
        driver.channel(name).output(True)
    driver.channel("2").pulse(1.5, 1e-6)
    assert (pulses(leads, "one"), len(pulses(leads, "two"))) == ([], 1)
    with pytest.raises(BenchError, match="no channel '3'; there are: 1, 2"):
        driver.channel("3")


def test_an_output_that_is_off_gives_no_pulse(generator: tuple[Any, Leads, Path]) -> None:
    driver, leads, _ = generator
    driver.channel("1").output(True)
    driver.safe_state()
    with pytest.raises(NotPulsedError, match="output 1 gives no pulse: it is off"):
        driver.channel("1").pulse(1.0, 1e-6)
    assert pulses(leads, "one") == []
    assert leads.lead("one").told[-1][1] is None


@pytest.mark.parametrize(("level", "width"), [(0.0, 1e-6), (-1.0, 1e-6), (11.0, 1e-6), (1.0, 1e-9), (1.0, 1e3)])
def test_what_it_cannot_give_is_refused_before_anything_is_sent(
    generator: tuple[Any, Leads, Path], level: float, width: float
) -> None:
    driver, leads, log = generator
    before = len(list(read_wire_log(log)))
    with pytest.raises(ValueError, match="cannot be given"):
        driver.channel("1").pulse(level, width)
    assert len(list(read_wire_log(log))) == before
    assert pulses(leads, "one") == []
