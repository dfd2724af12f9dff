"""Switch matrices over their wires: which crosspoints close, what that connects, and how long it takes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from labctl.simulated_instruments.instruments.bare_array import ProbeCard
from labctl.simulated_instruments.instruments.bare_array import build as build_card
from labctl.simulated_instruments.instruments.switch_matrix import SwitchMatrix, build
from labctl.simulated_instruments.network import Bias
from labctl.simulated_instruments.wire import Site


class Rig:
    """A matrix on a chip of 4 x 3 cells: bit lines on outputs 1 to 4, source lines 5 to 7, word lines 8 to 11."""

    def __init__(self, model: str, **options: object) -> None:
        self.card: ProbeCard = build_card({"rows": 4, "cols": 3, "chip": "T-2"}, Site(Path()))
        self.matrix: SwitchMatrix = build({"model": model, "device": "die", **options}, Site(Path(), self._find))
        assert self.matrix.wire is not None
        self.conversation = self.matrix.wire.connect()

    def _find(self, name: str) -> ProbeCard:
        assert name == "die"
        return self.card

    def ask(self, *messages: str) -> str:
        for message in messages:
            self.conversation.write(message.encode() + b"\n")
        return bytes(self.conversation.read(10_000)[0]).decode().rstrip("\n") if self.conversation.pending else ""

    def volts(self, line: str) -> float:
        """On a line that a further probe finds."""
        return self.card.lead(line).sense(1e-3).volts

    def hold(self, number: int, level: float, limit: float = 1e-3) -> None:
        self.matrix.lead(str(number)).hold(Bias("voltage", level, limit))


@pytest.fixture
def keithley() -> Iterator[Rig]:
    rig = Rig("707B", ground=8)
    yield rig
    rig.matrix.close()
    rig.card.close()


@pytest.fixture
def keysight() -> Iterator[Rig]:
    rig = Rig("B2201A")
    yield rig
    rig.matrix.close()
    rig.card.close()


def test_a_closed_crosspoint_puts_an_input_on_a_line(keithley: Rig) -> None:
    keithley.hold(1, 0.7)
    assert keithley.volts("BL1") == pytest.approx(0.0)
    keithley.ask('channel.close("1A02,1A05")')
    assert keithley.volts("BL1") == pytest.approx(0.7)
    assert keithley.volts("SL0") == pytest.approx(0.7)
    assert keithley.ask('print(channel.getclose("allslots"))') == "1A02;1A05"
    keithley.ask('channel.open("1A02")')
    assert keithley.volts("BL1") == pytest.approx(0.0)
    assert keithley.ask("reset()", 'print(channel.getclose("allslots"))') == "nil"


def test_channel_lists_have_ranges_slots_and_patterns(keithley: Rig) -> None:
    keithley.ask('channel.close("1B01:1B03, 2H12")', 'channel.pattern.snapshot("mine")', 'channel.open("allslots")')
    assert keithley.ask('channel.close("mine")', 'print(channel.getclose("slot1"))') == "1B01;1B02;1B03"
    assert keithley.ask('print(channel.getstate("1B01,1B04,2H12"))') == "1;0;1"
    assert keithley.ask('channel.exclusiveclose("1A01")', 'print(channel.getclose("allslots"))') == "1A01"
    assert keithley.ask('channel.close("6C07")', 'channel.exclusiveslotclose("1D04")',
                        'print(channel.getclose("allslots"))') == "1D04;6C07"  # fmt: skip
    assert keithley.ask('print(channel.getcount("1A01,1B01,1C01"))') == "1;2;0"


@pytest.mark.parametrize("wrong", ["1I01", "7A01", "1A13", "slot1", "nobody", "1A01:9Z99"])
def test_a_wrong_channel_list_switches_nothing(keithley: Rig, wrong: str) -> None:
    keithley.ask('channel.close("1A01")', f'channel.close("1B02,{wrong}")')
    assert keithley.ask("print(errorqueue.next())").startswith("-2.24000e+02\t")
    assert keithley.ask('print(channel.getclose("allslots"))') == "1A01"


def test_a_forbidden_channel_stays_open(keithley: Rig) -> None:
    keithley.ask('channel.setforbidden("1A03")', 'channel.exclusiveclose("1A02,1A03")')
    assert "1A03 is forbidden" in keithley.ask("print(errorqueue.next())")
    assert keithley.ask('print(channel.getclose("allslots"))') == "nil"
    assert keithley.ask('channel.clearforbidden("allslots")', 'channel.close("1A03")',
                        'print(channel.getclose("slot1"))') == "1A03"  # fmt: skip


@pytest.mark.parametrize(("rule", "settlings"), [("channel.BREAK_BEFORE_MAKE", 2), ("channel.OFF", 1)])
def test_relays_take_their_time_for_each_step(keithley: Rig, rule: str, settlings: int) -> None:
    keithley.ask(f"channel.connectrule = {rule}", 'channel.close("1A01")')
    before = keithley.card.clock.now()
    keithley.ask('channel.exclusiveclose("1A02")')
    assert keithley.card.clock.now() - before == pytest.approx(settlings * 3e-3, abs=1e-6)
    keithley.ask('channel.setdelay("1A03", 0.5)', 'channel.close("1A03")')
    assert keithley.card.clock.now() - before > 0.5


def test_two_inputs_on_one_output_are_connected_even_where_no_line_is(keithley: Rig) -> None:
    keithley.hold(1, 1.0, limit=1e-6)
    keithley.hold(2, 2.0, limit=1e-3)
    keithley.ask('channel.close("1A12,1B12")')  # no line is on output 12
    sensed = keithley.matrix.lead("1").sense(1e-3)
    assert sensed.volts == pytest.approx(2.0, abs=1e-6)
    assert sensed.limited
    assert sensed.amps == pytest.approx(-1e-6)


def test_an_input_can_be_ground(keithley: Rig) -> None:
    keithley.hold(1, 0.5, limit=1e-6)
    keithley.ask('channel.close("1A01,1H01")')
    assert keithley.matrix.lead("1").sense(1e-3).volts == pytest.approx(0.0, abs=1e-8)
    with pytest.raises(ValueError, match=r"^the matrix has no input '8'; there are: 1, 2, 3, 4, 5, 6, 7$"):
        keithley.matrix.lead("8")


def test_a_cell_is_formed_and_read_through_it(keithley: Rig) -> None:
    """Row 2, column 1: bit line on output 3, source line on 6, word line on 10; ground is input 8."""
    keithley.ask('channel.close("1A03,1B10,1H06")')
    keithley.hold(2, 1.2)
    keithley.matrix.lead("1").pulse(4.2, 1e-6)
    keithley.hold(2, 3.3)
    keithley.hold(1, 0.2)
    assert keithley.matrix.lead("1").sense(20e-3).amps > 1e-6
    assert keithley.card.array.chip.pulse_counts[2, 1] == 1
    keithley.ask('channel.open("1H06")')
    assert keithley.matrix.lead("1").sense(20e-3).amps == pytest.approx(0.0, abs=1e-12)


def test_a_3706a_names_rows_by_number() -> None:
    rig = Rig("3706A")
    assert rig.ask('channel.close("1102,2616")', 'print(channel.getclose("allslots"))') == "1102;2616"
    rig.hold(1, 0.3)
    assert rig.volts("BL1") == pytest.approx(0.3)


# -- Keysight ---------------------------------------------------------------------------------------------------


def test_free_routes_close_and_open(keysight: Rig) -> None:
    assert keysight.ask(":CONN:RULE 0,FREE;:CLOS (@00102,01402,00103);:CLOS:CARD? 0") == "(@00102,00103,01402)"
    keysight.hold(1, 0.4)
    assert keysight.volts("BL1") == pytest.approx(0.4)
    assert keysight.ask(":ROUTe:OPEN:LIST (@00102);:CLOS? (@00102,00103);:OPEN? (@00102)") == "0,1;1"
    assert keysight.ask(":OPEN:CARD ALL;:CLOS:CARD? 0;:SYST:ERR?") == '(@);0,"No error"'


def test_a_single_route_lets_go_of_what_it_had(keysight: Rig) -> None:
    assert keysight.ask("*RST;:CONN:RULE? 0;:CLOS (@00101);:CLOS (@00105);:CLOS:CARD? 0") == "SROU;(@00105)"
    assert keysight.ask(":CLOS (@00205);:CLOS:CARD? 0") == "(@00205)"


@pytest.mark.parametrize(
    ("message", "number"),
    [(":CLOS (@01501)", -222), (":CLOS (@00149)", -222), (":CLOS (@10101)", -222), (":CONN:RULE 1,FREE", -222),
     (":CONN:RULE 0,WILD", -224), (":COUP:PORT 0,'2'", -224), (":CLOS 1", -128)],
)  # fmt: skip
def test_what_is_not_there_is_refused(keysight: Rig, message: str, number: int) -> None:
    assert keysight.ask(message, ":SYST:ERR?").startswith(f"{number},")
    assert keysight.ask(":CLOS:CARD? 0") == "(@)"


def test_in_the_normal_configuration_cards_have_outputs_of_their_own(keysight: Rig) -> None:
    keysight.ask(":CLOS (@00101);:FUNC NCON;:CONN:RULE 1,FREE")
    assert keysight.ask(":FUNC?;:CLOS:CARD? 1") == "NCON;(@)"
    keysight.hold(3, 0.6)
    assert keysight.ask(":CLOS (@10302);:CLOS:CARD? 1;CARD? 2") == "(@10302);(@)"
    assert keysight.volts("BL1") == pytest.approx(0.6)


def test_unconnected_outputs_go_to_the_bias_port(keysight: Rig) -> None:
    keysight.hold(10, 0.25)
    keysight.hold(1, 0.5)
    keysight.ask(":CLOS (@00102);:BIAS:PORT 0,10;:BIAS 0,ON;:BIAS:CHAN:DIS (@00103)")
    assert [keysight.volts(line) for line in ("BL0", "BL1", "BL2", "BL3")] == pytest.approx([0.25, 0.5, 0.0, 0.25])
    keysight.ask(":BIAS 0,OFF")
    assert keysight.volts("BL0") == pytest.approx(0.0)


def test_unused_inputs_go_to_the_ground_port(keysight: Rig) -> None:
    keysight.hold(12, 0.0)
    keysight.hold(5, 1.0, limit=1e-6)
    assert keysight.matrix.lead("5").sense(1e-3).volts == pytest.approx(1.0)
    assert keysight.ask(":AGND:PORT 0,12;:AGND:UNUSED 0,'5, 6';:AGND 0,1;:AGND:UNUSED? 0") == "'5,6'"
    assert keysight.matrix.lead("5").sense(1e-3).volts == pytest.approx(0.0, abs=1e-5)


def test_coupled_inputs_close_in_pairs(keysight: Rig) -> None:
    keysight.ask(":CONN:RULE 0,FREE;:COUP:PORT 0,'1';:COUP 0,ON;:CLOS (@00103)")
    assert keysight.ask(":CLOS:CARD? 0") == "(@00103,00204)"
    assert keysight.ask(":OPEN (@00204);:CLOS:CARD? 0") == "(@)"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"model": "7001"}, "model must be one of 707B, 3706A, B2201A, not '7001'"),
        ({"model": "707B", "ground": 9}, "ground must be one of the inputs 1 to 8, not 9"),
    ],
)
def test_options_that_make_no_matrix_are_one_sentence(options: dict[str, object], sentence: str) -> None:
    card = build_card({"rows": 4, "cols": 3}, Site(Path()))
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        build({"device": "die", **options}, Site(Path(), lambda _: card))


def test_a_device_with_too_many_lines_or_none_is_refused() -> None:
    card = build_card({"rows": 20, "cols": 20}, Site(Path()))
    with pytest.raises(ValueError, match=r"^60 lines of the device are more than the 48 outputs$"):
        build({"device": "die", "model": "B2201A"}, Site(Path(), lambda _: card))
    with pytest.raises(ValueError, match=r"^\[simulated\.die\] has no lines to put outputs on$"):
        build({"device": "die"}, Site(Path(), lambda _: object()))
