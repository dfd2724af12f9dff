"""A resistor as sources see it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labctl.simulated_instruments.instruments.resistor import build
from labctl.simulated_instruments.network import Bias, Lead, Sensed
from labctl.simulated_instruments.wire import Site

BOLTZMANN = 1.380649e-23


def lead_of(**options: Any) -> Lead:
    return build(options, Site(Path())).lead("hi")


@pytest.mark.parametrize(
    ("bias", "sensed"),
    [
        (Bias("voltage", 2.0, 1.0), Sensed(2.0, 2e-3, False)),
        (Bias("voltage", 2.0, 1e-3), Sensed(1.0, 1e-3, True)),
        (Bias("voltage", -2.0, 1e-3), Sensed(-1.0, -1e-3, True)),
        (Bias("current", 2e-3, 5.0), Sensed(2.0, 2e-3, False)),
        (Bias("current", 2e-3, 1.0), Sensed(1.0, 1e-3, True)),
        (Bias("current", -2e-3, 1.0), Sensed(-1.0, -1e-3, True)),
        (None, Sensed(0.0, 0.0, False)),
    ],
)
def test_volts_and_amperes_obey_ohm_up_to_the_limit(bias: Bias | None, sensed: Sensed) -> None:
    lead = lead_of(resistance="1 kOhm")
    lead.hold(bias)
    assert lead.sense(0.1) == sensed


def test_measuring_and_pulsing_take_time() -> None:
    lead = lead_of()
    begun = lead.clock.now()
    lead.sense(0.25)
    lead.pulse(1.0, 0.5)
    assert lead.clock.now() - begun == pytest.approx(0.75, abs=1e-6)


def test_thermal_noise_is_johnsons() -> None:
    """The deviation of 2,000 readings is within 8 % of the truth in all but 1 of 2 million cases."""
    lead = lead_of(resistance=1e6, temperature=300.0)
    lead.hold(Bias("voltage", 0.0, 1.0))
    amps = [lead.sense(0.02).amps for _ in range(2000)]
    assert np.std(amps) == pytest.approx(np.sqrt(2 * BOLTZMANN * 300 / (1e6 * 0.02)), rel=0.08)


@pytest.mark.parametrize(
    "options",
    [
        {"resistance": "10 kV"},
        {"resistance": "much"},
        {"resistance": 0.0},
        {"resistance": float("inf")},
        {"temperature": -1.0},
        {"clock": "atomic"},
        {"ohms": 3},
    ],
)
def test_what_it_cannot_be_is_said(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"resistance|temperature|clock|ohms"):
        build(options, Site(Path()))


def test_it_has_one_lead() -> None:
    with pytest.raises(ValueError, match="there is: hi"):
        build({}, Site(Path())).lead("lo")
