"""A pulse generator over its wire: what gets onto its leads, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from labctl.simulated_instruments.chips.crossbar import CrossbarMacro
from labctl.simulated_instruments.instruments.bare_array import build as build_card
from labctl.simulated_instruments.instruments.clocks import VirtualClock
from labctl.simulated_instruments.instruments.pulse_generator import PulseGenerator, PulseGeneratorOptions, build
from labctl.simulated_instruments.network import Bias, Lead, Sensed
from labctl.simulated_instruments.wire import Site


class Scope:
    """A lead that writes down what happens to it."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.seen: list[tuple[str, float | None, float]] = []

    def hold(self, bias: Bias | None) -> None:
        self.seen.append(("hold", bias and bias.level, self.clock.now()))

    def sense(self, seconds: float) -> Sensed:
        raise AssertionError(seconds)

    def pulse(self, volts: float, width: float) -> None:
        self.seen.append(("pulse", volts, width))
        self.clock.spend(width)


class Bench:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.scopes = [Scope(self.clock), Scope(self.clock)]
        leads: list[Lead] = [*self.scopes]
        self.generator = PulseGenerator(PulseGeneratorOptions(), leads)
        self.exchange = self.generator.wire.connect()

    def ask(self, message: str) -> str:
        self.exchange.write(message.encode() + b"\n")
        return bytes(self.exchange.read(10_000)[0]).decode().rstrip("\n") if self.exchange.pending else ""

    def ready(self, channel: int = 1, high: float = 2.0, width: str = "1US", cycles: int = 1) -> None:
        source = f":SOUR{channel}"
        self.ask(f":OUTP{channel}:LOAD INF;{source}:FUNC PULS;{source}:VOLT:HIGH {high};LOW 0"
                 f";{source}:FUNC:PULS:WIDT {width};PER 10US;{source}:BURS:NCYC {cycles};STAT ON"
                 f";:TRIG{channel}:SOUR BUS;:OUTP{channel} ON")  # fmt: skip
        assert self.ask("SYST:ERR?") == '0,"No error"'
        for scope in self.scopes:
            scope.seen.clear()

    def pulses(self, channel: int = 1) -> list[tuple[float | None, float]]:
        return [(volts, width) for kind, volts, width in self.scopes[channel - 1].seen if kind == "pulse"]


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.mark.parametrize("trigger", ["*TRG", ":TRIG1", ":TRIG"])
def test_a_trigger_gives_the_burst_and_takes_its_time(bench: Bench, trigger: str) -> None:
    bench.ready(cycles=3)
    before = bench.clock.now()
    bench.ask(trigger)
    assert bench.pulses() == [(2.0, 1e-6)] * 3
    assert bench.pulses(2) == []
    assert bench.clock.now() - before == pytest.approx(30e-6, abs=5e-7)


def test_levels_are_those_into_the_load_they_are_told_for(bench: Bench) -> None:
    bench.ready(high=2.0)
    bench.ask(":OUTP1:LOAD 50")
    assert bench.ask(":SOUR1:VOLT:HIGH?;LOW?;:SOUR1:VOLT?;VOLT:OFFS?") == "1.0;0.0;1.0;0.5"
    bench.ask(":SOUR1:VOLT 2;:SOUR1:VOLT:OFFS 1;:TRIG1")
    assert bench.pulses() == [(4.0, 1e-6)]
    assert bench.ask(":OUTP1:LOAD INF;LOAD?;:SOUR1:VOLT:HIGH?") == "9.9E+37;4.0"


def test_without_its_output_nothing_is_on_the_lead(bench: Bench) -> None:
    bench.ready()
    bench.ask(":OUTP1 OFF;:TRIG1")
    assert bench.pulses() == []
    assert bench.scopes[0].seen == [("hold", None, bench.scopes[0].seen[0][2])]


def test_between_pulses_is_the_low_level_or_the_high_one_inverted(bench: Bench) -> None:
    bench.ready()
    bench.ask(":SOUR1:VOLT:LOW -1;:OUTP1:POL INV;:TRIG1")
    assert [level for kind, level, _ in bench.scopes[0].seen if kind == "hold"][-1] == 2.0
    assert bench.pulses() == [(-1.0, 1e-6)]


def test_dc_is_held_and_a_wave_that_runs_on_at_its_mean(bench: Bench) -> None:
    bench.ask(":OUTP1:LOAD INF;:SOUR1:VOLT:OFFS 1.5;:OUTP1 ON")
    assert bench.scopes[0].seen[-1][1] == pytest.approx(1.5)
    bench.ask(":SOUR1:FUNC DC;:SOUR1:VOLT:OFFS 0.5")
    assert bench.scopes[0].seen[-1][1] == pytest.approx(0.5)


def test_one_trigger_for_both_puts_the_shorter_pulse_into_the_longer(bench: Bench) -> None:
    bench.ready(1, high=2.0, width="1US")
    bench.ready(2, high=1.2, width="3US")
    bench.ask("*TRG")
    assert bench.pulses(1) == [(2.0, 1e-6)]
    gate = bench.scopes[1].seen
    assert [(kind, level) for kind, level, _ in gate] == [("hold", 1.2), ("hold", 0.0)]
    assert gate[1][2] - gate[0][2] == pytest.approx(3e-6, abs=5e-7)


@pytest.mark.parametrize(
    ("message", "number"),
    [
        (":SOUR1:VOLT:HIGH 10.1", -222),
        (":OUTP1:LOAD 50;:SOUR1:VOLT:HIGH 5.1", -222),
        (":SOUR1:VOLT:HIGH -1", -221),
        (":SOUR1:FUNC:PULS:WIDT 9NS", -222),
        (":SOUR1:FUNC:PULS:WIDT 11US", -221),
        (":SOUR1:BURS:NCYC 1E6", -222),
        (":SOUR1:BURS:NCYC INF;:TRIG1", -221),
        (":SOUR1:BURS:STAT OFF;:TRIG1", -211),
        (":SOUR1:FUNC SIN;:TRIG1", -211),
        (":TRIG2", -211),
        (":SOUR3:VOLT 1", -114),
        (":OUTP1:LOAD 20000", -222),
    ],
)
def test_what_it_cannot_do_is_an_error_and_no_pulse(bench: Bench, message: str, number: int) -> None:
    bench.ready()
    bench.ask(message)
    assert bench.ask("SYST:ERR?").startswith(f"{number},")
    assert bench.pulses() == []


def test_a_period_too_short_for_the_pulse_makes_it_shorter_and_says_so(bench: Bench) -> None:
    bench.ready(width="5US")
    bench.ask(":SOUR1:FUNC:PULS:PER 2US")
    assert bench.ask("SYST:ERR?") == '-221,"Settings conflict;pulse width decreased due to period"'
    assert float(bench.ask(":SOUR1:FUNC:PULS:WIDT?")) == pytest.approx(2e-6 - 16e-9)


def test_reset_lets_go(bench: Bench) -> None:
    bench.ready()
    bench.ask("*RST")
    assert bench.ask(":OUTP1?;:SOUR1:FUNC?;:SOUR1:BURS:STAT?;:OUTP1:LOAD?;:TRIG1:SOUR?") == "0;SIN;0;50.0;IMM"
    assert bench.scopes[0].seen[-1][1] is None


def test_its_pulses_form_a_cell() -> None:
    card = build_card({"rows": 4, "cols": 4, "chip": "T-2"}, Site(Path()))
    wired = {"1": "die.BL1", "2": "die.WL1"}
    generator = build({"wired_to": wired}, Site(Path(), lambda _: card))
    card.lead("SL2").hold(Bias("voltage", 0.0, 1e-2))
    exchange = generator.wire.connect()
    for number, high, width in ((1, 4.2, "1US"), (2, 1.2, "2US")):
        exchange.write(f":OUTP{number}:LOAD INF;:SOUR{number}:FUNC PULS;:SOUR{number}:VOLT:HIGH {high};LOW 0"
                       f";:SOUR{number}:PULS:WIDT {width};PER 10US;:SOUR{number}:BURS:STAT ON"
                       f";:TRIG{number}:SOUR BUS;:OUTP{number} ON\n".encode())  # fmt: skip
    exchange.write(b"*TRG;:SYST:ERR?\n")
    assert bytes(exchange.read(100)[0]) == b'0,"No error"\n'
    counts = card.array.chip.pulse_counts
    assert counts[1, 2] == 1
    assert counts.sum() == 1
    card.lead("WL1").hold(Bias("voltage", 3.3, 1e-3))
    card.lead("BL1").hold(Bias("voltage", 0.2, 1e-3))
    assert card.lead("BL1").sense(20e-3).amps > 1e-6


@pytest.mark.parametrize(("first", "second"), [(100, 400), (400, 100), (200, 200)], ids=str)
def test_one_trigger_for_two_cells_pulses_each_once_and_for_its_own_width(
    monkeypatch: pytest.MonkeyPatch, first: int, second: int
) -> None:
    """Widths in ns."""
    card = build_card({"rows": 4, "cols": 4, "chip": "T-1"}, Site(Path()))
    generator = build({"wired_to": {"1": "die.BL1", "2": "die.BL2"}}, Site(Path(), lambda _: card))
    for line, volts in (("SL0", 0.0), ("WL1", 1.2), ("WL2", 1.2)):
        card.lead(line).hold(Bias("voltage", volts, 1.0))
    given: dict[int, list[float]] = {}
    pulse_lines = CrossbarMacro.pulse_lines

    def seen(chip: CrossbarMacro, operation: int, cells: Any, volts: Any, width: float, *rest: float) -> None:
        for cell in cells.tolist():
            given.setdefault(cell, []).append(width)
        pulse_lines(chip, operation, cells, volts, width, *rest)

    monkeypatch.setattr(CrossbarMacro, "pulse_lines", seen)
    exchange = generator.wire.connect()
    for number, width in ((1, first), (2, second)):
        exchange.write(f":OUTP{number}:LOAD INF;:SOUR{number}:FUNC PULS;:SOUR{number}:VOLT:HIGH 3;LOW 0"
                       f";:SOUR{number}:PULS:WIDT {width}NS;PER 10US;:SOUR{number}:BURS:STAT ON"
                       f";:TRIG{number}:SOUR BUS;:OUTP{number} ON\n".encode())  # fmt: skip
    given.clear()  # setting up, the outputs were at their mean
    exchange.write(b"*TRG;:SYST:ERR?\n")
    assert bytes(exchange.read(100)[0]) == b'0,"No error"\n'
    expected = {4: [pytest.approx(first * 1e-9, abs=1e-12)], 8: [pytest.approx(second * 1e-9, abs=1e-12)]}
    assert given == expected


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"model": "AWG"}, "model must be one of 33521B, 33522B, 33621A, 33622A, not 'AWG'"),
        ({"model": "33521B", "wired_to": {"2": "die.BL0"}}, "a 33521B has no channel '2'; there are: 1"),
    ],
)
def test_options_that_make_no_generator_are_one_sentence(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}"):
        build(options, Site(Path()))
