"""The time of a bench, asked for and told to pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from labctl.simulated_instruments.instruments.bare_array import build as build_card
from labctl.simulated_instruments.instruments.bench_clock import build
from labctl.simulated_instruments.instruments.clocks import FIRST_POWER_ON
from labctl.simulated_instruments.wire import Site


def asked(clock: object, message: str) -> str:
    exchange = clock.wire.connect()  # type: ignore[attr-defined]
    exchange.write(message.encode() + b"\n")
    return bytes(exchange.read(1000)[0]).decode().strip()


def test_it_is_the_time_of_the_device_and_passes_on_request() -> None:
    card = build_card({"rows": 2, "cols": 2}, Site(Path()))
    clock = build({"of": "die"}, Site(Path(), lambda _: card))
    assert float(asked(clock, "SYST:TIME?")) == FIRST_POWER_ON
    card.lead("BL0").sense(2.0)
    assert asked(clock, "SYST:TIME:VIRT?;ADV 3600 S;:SYST:TIME?") == f"1;{FIRST_POWER_ON + 3602}"
    assert asked(clock, "SYST:TIME:ADV -1;:SYST:ERR?").startswith("-222,")


def test_real_time_is_not_told_to_pass() -> None:
    card = build_card({"rows": 2, "cols": 2, "clock": "real"}, Site(Path()))
    clock = build({"of": "die"}, Site(Path(), lambda _: card))
    assert asked(clock, "SYST:TIME:VIRT?;ADV 1;:SYST:ERR?").startswith("0;-221,")


def test_what_keeps_no_time_has_no_clock() -> None:
    with pytest.raises(ValueError, match=r"^\[simulated\.smu\] keeps no time of its own$"):
        build({"of": "smu"}, Site(Path(), lambda _: object()))
