"""A plan of faults is read with errors that name the path; what was done is itself a plan."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from labctl.simulated_instruments.faults import FaultPlan, PlanError, read_plan
from labctl.simulated_instruments.faults.kinds import AnyFault, Close, Corrupt, Drop, Fault, Hang, Latency
from labctl.simulated_instruments.faults.record import Injected, as_plan
from labctl.simulated_instruments.faults.schedule import Schedule

DOCUMENT = Path(__file__).parents[3] / "docs" / "faults.md"


def plan_file(folder: Path, text: str) -> Path:
    path = folder / "faults.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_plan_of_the_document_is_one(tmp_path: Path) -> None:
    (example,) = re.findall(r"^```toml\n(.*?)^```", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    plan = read_plan(plan_file(tmp_path, example))
    assert [fault.name for fault in plan.faults] == ["drop", "close", "hang", "stuck_columns"]
    assert plan.faults[1] == Close(direction="to", at=17, messages=(12, 40))
    assert plan.faults[2] == Hang(seconds=2.0, times=(10.0,), instruments=("board",))
    assert (plan.seed, plan.log) == (7, tmp_path / "injected.toml")


def test_every_kind_and_key_stands_in_the_document() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for kind in AnyFault.__args__:
        row = next(line for line in text.splitlines() if line.startswith(f"| `{kind.__struct_config__.tag}` |"))
        own = set(kind.__struct_fields__) - set(Fault.__struct_fields__) - {"direction"}
        assert own == own & set(re.findall(r"`(\w+)`", row)), kind


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[[faults]]\nprobability = 0.1", r"\$\.faults\[0\]\.kind: expected one of latency, drop,"),
        ('[[faults]]\nkind = "dorp"\nprobability = 0.1', r"\.kind: expected one of .*, not 'dorp'"),
        ('[[faults]]\nkind = "drop"', r"\$\.faults\[0\]: say when it strikes"),
        ('[[faults]]\nkind = "drop"\nprobability = 0.1\nmessages = [1]', "say when it strikes"),
        ('[[faults]]\nkind = "drop"\nprobability = "often"', r"\$\.faults\[0\]\.probability: expected"),
        ('[[faults]]\nkind = "drop"\nprobability = 1.5', "probability must be 0 to 1, not 1.5"),
        ('[[faults]]\nkind = "drop"\nmessages = [0]', "counted from 1"),
        ('[[faults]]\nkind = "drop"\ntimes = [-1.0]', "times are s from 0 on"),
        ('[[faults]]\nkind = "drop"\nmost = 0\nmessages = [1]', "most must be 1 or more"),
        ('[[faults]]\nkind = "drop"\nmessages = [1]\nat = 3', r"unknown field `at`; there are: probability"),
        ('[[faults]]\nkind = "latency"\nmessages = [1]', r"\$\.faults\[0\]: .*missing required field `seconds`"),
        ('[[faults]]\nkind = "latency"\nmessages = [1]\nseconds = -1.0', "seconds and jitter must be 0 to 3600"),
        (
            '[[faults]]\nkind = "drop"\nmessages = [1]\ndirection = "up"',
            r"\.direction: invalid enum value 'up'; there are: to, from$",
        ),
        ('[[faults]]\nkind = "truncate"\nmessages = [1]\nat = -1', "at is the number of a byte"),
        ('[[faults]]\nkind = "corrupt"\nmessages = [1]\nat = [3]\nflips = [0]', "flips are numbers from 1 to 255"),
        ('[[faults]]\nkind = "corrupt"\nmessages = [1]\nbytes = 0', "bytes must be 1 or more"),
        ('[[faults]]\nkind = "hang"\nmessages = [1]\nseconds = 0.0', "leave them out for a board that is gone"),
        ('[[faults]]\nkind = "trickle"\nmessages = [1]\nrate = 0.0', "rate must be more than 0"),
        ('[[faults]]\nkind = "reboot"\nmessages = [1]\nseconds = -1.0', "seconds must be 0 to 3600"),
        ('[[faults]]\nkind = "adc_saturation"\nmessages = [1]\nexchanges = 0', "exchanges must be 1 or more"),
        ('[[faults]]\nkind = "stuck_columns"\nmessages = [1]\ncolumns = []', "columns must be one or more numbers"),
        ('[[faults]]\nkind = "stuck_columns"\nmessages = [1]\ncolumns = [1]\ncode = 20000', "0 to 16383, not 20000"),
        (
            '[[faults]]\nkind = "drop"\ntimes = ["10 mV"]',
            r"\$\.faults\[0\]\.times: expected a number in s, as in '10 ms', not",
        ),
        ('[[faults]]\nkind = "hang"\nmessages = [1]\nseconds = "soon"', r"\.seconds: expected a number with a unit"),
        ('[[faults]]\nkind = "hang"\nmessages = [1]\nseconds = true', r"\.seconds: expected `float"),
        ("", r"^faults\.toml: \$\.faults: nothing is to go wrong"),
        ("faults = 3", r"\$\.faults: expected `array`"),
        ("sed = 3", r"unknown field `sed`; there are: faults, seed, log"),
        ("seed = ", "faults.toml: "),
    ],
)
def test_what_is_mistyped_is_said_with_its_path(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(PlanError, match=sentence):
        read_plan(plan_file(tmp_path, text))


@pytest.mark.parametrize("written", ['["10 ms", 2, "1.5s"]', "[0.01, 2.0, 1.5]"])
def test_times_are_numbers_or_text_with_a_unit(tmp_path: Path, written: str) -> None:
    text = f'[[faults]]\nkind = "latency"\nseconds = "250 ms"\njitter = "10us"\ntimes = {written}'
    (fault,) = read_plan(plan_file(tmp_path, text)).faults
    assert fault == Latency(seconds=0.25, jitter=1e-5, times=(0.01, 2.0, 1.5))


def test_an_instrument_that_is_not_there_is_said_with_those_that_are(tmp_path: Path) -> None:
    drop = '[[faults]]\nkind = "drop"\nmessages = [1]\n'
    text = f'{drop}{drop}instruments = ["a", "bord"]'
    where = r"faults\.toml: \$\.faults\[1\]\.instruments\[1\]"
    sentence = rf"^{where}: there is no 'bord' with this plan; there are: a, board$"
    with pytest.raises(PlanError, match=sentence):
        read_plan(plan_file(tmp_path, text), ["a", "board"])


@pytest.mark.parametrize(
    ("log", "sentence"),
    [
        ("nowhere/log.toml", r"^faults\.toml: \$\.log: .*log\.toml cannot be written: No such file or directory$"),
        ("faults.toml", r"^faults\.toml: \$\.log: must be another file"),
    ],
)
def test_a_log_that_cannot_be_is_said_so_and_the_plan_is_unharmed(tmp_path: Path, log: str, sentence: str) -> None:
    text = f'log = "{log}"\nfaults = [{{kind = "drop", messages = [1]}}]'
    with pytest.raises(PlanError, match=sentence):
        read_plan(plan_file(tmp_path, text))
    assert (tmp_path / "faults.toml").read_text(encoding="utf-8") == text


def test_a_plan_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"nowhere\.toml: cannot be read as a plan of faults: No such file"):
        read_plan(tmp_path / "nowhere.toml")


@pytest.mark.parametrize("kind", AnyFault.__args__)
def test_what_was_done_reads_back_as_a_plan_of_just_that(tmp_path: Path, kind: type[Fault]) -> None:
    needed = {"seconds": 0.3, "jitter": 0.1, "rate": 100.0, "columns": (1, 2), "kelvin": -4.5}
    values = {name: value for name, value in needed.items() if name in kind.__struct_fields__}
    settled = kind(probability=0.5, most=3, **values).settled(b":READ:REGion? 0,0,8,8\n", random.Random(2))
    assert settled is not None
    done = Injected(1e9, "board", 7, "to it", settled.at_message(7, "board"))
    (fault,) = read_plan(plan_file(tmp_path, as_plan([done]))).faults
    assert fault == done.fault
    assert fault.messages == (7,)
    assert fault.settled(b":READ:REGion? 0,0,8,8\n", random.Random(99)) == fault


def test_damage_to_a_header_spares_what_a_message_carries() -> None:
    fault, chance = Corrupt(messages=(1,), span="header", bytes=30), random.Random(1)
    for message, reach in ((b":PULS:APPL:IND 7,SET,1e-7", 15), (b"#18abcdefgh;1.5\n", 1), (b"LC\x01" + bytes(40), 16)):
        settled = fault.settled(message, chance)
        assert settled is not None
        assert settled.at == tuple(range(reach))
    assert fault.settled(b'0,"No error"\n', chance) is None


def test_latency_is_between_what_it_is_and_its_jitter() -> None:
    chance = random.Random(3)
    drawn = [Latency(messages=(1,), seconds=0.1, jitter=0.2).settled(b"x", chance).seconds for _ in range(200)]
    assert 0.1 <= min(drawn) < 0.12
    assert 0.28 < max(drawn) <= 0.3


def struck(faults: list[Fault], *, seed: int = 1, times: range = range(50)) -> list[list[int]]:
    """For each fault the messages it strikes; the clock goes on 1 s a message, the chip has 10 pulses a message."""
    now, given = iter(times), iter(range(0, 10_000, 10))
    schedule = Schedule(FaultPlan(tuple(faults), seed), "board", lambda: float(next(now)), lambda: next(given))
    found: list[list[int]] = [[] for _ in faults]
    for _ in range(len(times) - 1):
        number, strikes = schedule.next_message()
        for strike in strikes:
            found[faults.index(strike.fault)].append(number)
    return found


def test_faults_strike_by_number_by_the_clock_and_by_pulses() -> None:
    by_number, by_clock, by_pulses, other = struck(
        [
            Drop(messages=(3, 9)),
            Drop(times=(4.5, 20.0), direction="to"),
            Drop(pulses=(95,)),
            Drop(messages=(3,), instruments=("someone else",)),
        ]
    )
    assert (by_number, by_clock, by_pulses, other) == ([3, 9], [5, 20], [10], [])


def test_chance_goes_by_seed_and_message_alone() -> None:
    often, once = Drop(probability=0.3), Drop(probability=0.3, most=1, direction="to")
    first = struck([often, once], times=range(400))
    assert struck([often, once], times=range(400)) == first
    assert struck([often, once], seed=2, times=range(400)) != first
    assert 80 < len(first[0]) < 160  # 120 expected, 4 standard deviations of 9.2 either way
    assert len(first[1]) == 1


def test_a_corrupt_message_that_ends_before_some_of_its_places_suffers_at_the_others() -> None:
    fault = Corrupt(messages=(1,), at=(1, 9), flips=(2, 4))
    settled = fault.settled(b"abc", random.Random(1))
    assert settled is not None
    assert (settled.at, settled.flips) == ((1,), (2,))
    assert fault.settled(b"a", random.Random(1)) is None
