"""The associative-processor board's driver: as the golden model where there are no faults, each action exactly once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from associative_boards import (
    ADDER,
    FAULTY,
    SHAPE,
    ServedAssociativeBoard,
    adding,
    session,
    shown,
    write_small_bench,
)
from benches import started
from boards import served_board
from wires import Cable

from labctl.array import Capability
from labctl.associative import (
    AssociativeArray,
    AssociativeGeometry,
    Check,
    Configure,
    Counters,
    Execution,
    Load,
    Pass,
    Program,
    Read,
    Realign,
    Run,
    Search,
    SetTags,
    Shift,
    Table,
    Write,
    instructions,
)
from labctl.bench.live import load_bench
from labctl.compiler.golden import GoldenArray
from labctl.drivers import associative_board, associative_works
from labctl.drivers.associative_programs import HeldPrograms
from labctl.errors import BenchError, InstrumentError, LinkError
from labctl.simulated_instruments.faults import FaultyWire
from labctl.simulated_instruments.faults.plan import parse_plan
from labctl.simulated_instruments.wire import Wire

U4 = np.uint32
PLANE = np.zeros((1, 13), np.uint8)


@pytest.fixture
def board(tmp_path: Path) -> Iterator[ServedAssociativeBoard]:
    with served_board(tmp_path, ServedAssociativeBoard) as served:
        yield served


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """What a session with a chip that makes mistakes shows over TCP."""
    folder = tmp_path_factory.mktemp("plain")
    with served_board(folder, ServedAssociativeBoard, **FAULTY) as served, served.driver() as driver:
        return session(driver)


# -- what it does ---------------------------------------------------------------------------------------------------


def test_without_faults_it_does_what_the_golden_model_does(board: ServedAssociativeBoard) -> None:
    with board.driver() as driver:
        assert isinstance(driver, AssociativeArray)
        assert Capability.ASSOCIATE in driver.capabilities
        golden = GoldenArray(driver.associative)
        planes = np.arange(48 * 13, dtype=np.uint8).reshape(48, 13) & 15
        twice = adding(times=2)
        for actions in (
            (Load(np.arange(48), planes),),
            (Search(np.array([0, 9]), np.array([1, 0])), Write(np.array([2]), np.array([1]))),
            (Read(np.arange(48)),),
            (Shift(4, -3), Check(np.array([4]))),
        ):
            assert shown(driver.perform(*actions)) == shown(golden.perform(*actions))
        for trace in (True, False):
            found, expected = driver.perform(Run(twice, trace))[0], golden.perform(Run(twice, trace))[0]
            assert (found.counters, shown(found.trace)) == (expected.counters, shown(expected.trace))
            assert found.seconds > 0
        assert shown(driver.perform(Read(np.arange(48)))) == shown(golden.perform(Read(np.arange(48))))
        assert driver.counters() == golden.counters()


def test_a_chip_that_makes_mistakes_is_the_same_however_it_is_reached(
    tmp_path: Path, faulty: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_small_bench(tmp_path, **FAULTY)
    with load_bench(path) as bench, bench.array() as array:
        assert session(array) == faulty  # type: ignore[arg-type]
    serving = started("sim", "serve", path, "--port", "0", cwd=tmp_path)
    try:
        assert serving.stdout is not None
        resource = re.search(r"TCPIP0?::\S+::SOCKET", serving.stdout.readline())
        assert resource
        other = write_small_bench(tmp_path, resource=resource[0], library="@py")
        with load_bench(other) as bench, bench.array() as array:
            assert session(array) == faulty  # type: ignore[arg-type]
    finally:
        serving.terminate()
        serving.communicate(timeout=10)


def test_how_actions_are_cut_into_messages_changes_nothing(
    tmp_path: Path, faulty: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(associative_works, "_MOST", 10)
    with served_board(tmp_path, ServedAssociativeBoard, **FAULTY) as served, served.driver() as driver:
        exchanges = count_exchanges(driver)
        found = session(driver)
    assert len(exchanges) > 20  # a piece of a program is a whole instruction at least
    for one, other in zip(found, faulty, strict=True):
        assert rounded(one) == rounded(other)


def rounded(result: object) -> object:
    """Times are sums of other parts then."""
    if isinstance(result, list):
        return [rounded(each) for each in result]
    if isinstance(result, Execution):
        return (result.counters, round(result.seconds, 12))
    if isinstance(result, tuple) and isinstance(result[0], Counters):
        return (result[0], round(result[1], 12), result[2])
    return result


def count_exchanges(driver: Any) -> list[object]:
    exchanges: list[object] = []
    exchange = driver.link.exchange

    def counted(*parts: Any, **options: Any) -> Any:
        exchanges.append(parts)
        return exchange(*parts, **options)

    driver.link.exchange = counted
    return exchanges


def test_small_actions_go_together_and_a_program_is_sent_once(board: ServedAssociativeBoard) -> None:
    with board.driver() as driver:
        exchanges = count_exchanges(driver)
        driver.perform(*[Search(np.array([each]), np.array([1])) for each in range(48)])
        assert len(exchanges) == 1
        for _ in range(3):
            driver.perform(Run(adding()))
        assert len(exchanges) == 4
        assert sum("DEFine" in str(parts) for parts in exchanges) == 1
        driver.perform(*[Search(np.array([0]), np.array([1]))] * 2000)
        assert len(exchanges) == 8
    with board.driver() as driver:
        assert driver.perform(Run(adding()))[0].counters.searches == 16 + 8


def test_a_message_holds_no_more_shifts_than_passes(board: ServedAssociativeBoard) -> None:
    """The time that a chip takes for them goes with their number, and a message must not take too long."""
    most = 1 << 12
    turns = [Shift(0, 3), Shift(0, -3)]
    there_and_back = [(0, 1, (0, 8, 16), (0,) * 3), (0, 1, (3, 11, 19), (0,) * 3)]  # 4 passes, 9 shifts each
    far = Program((ADDER,), instructions(there_and_back * 500))
    with board.driver() as driver:
        exchanges = count_exchanges(driver)
        driver.perform(*turns * (most // 3))
        assert len(exchanges) >= 2
        exchanges.clear()
        driver.perform(Realign(0, 3), *[Realign(0, -8)] * (most // 4))
        assert len(exchanges) >= 2
        exchanges.clear()
        counters = driver.perform(Run(far))[0].counters
        assert counters.shifts == 999 * 9
        assert len(exchanges) == 1 + -(-counters.shifts // most)  # and one that brings it


def test_no_message_of_a_program_is_longer_than_others(board: ServedAssociativeBoard) -> None:
    idle = Program((ADDER,), instructions([(0, 0, (0, 8, 16), (1, 1, 0))]).repeat(400_000))
    with board.driver() as driver:
        exchanges = count_exchanges(driver)
        assert driver.perform(Run(idle))[0].counters == Counters()
        sizes = [sum(part.nbytes for part in parts if isinstance(part, np.ndarray)) for parts in exchanges]
    assert sum(sizes) > idle.instructions.nbytes
    assert max(sizes) <= associative_works.MESSAGE


def test_nothing_to_do_is_done(board: ServedAssociativeBoard) -> None:
    none = np.zeros(0, U4)
    nothing = Program((ADDER,), instructions([]))
    with board.driver() as driver:
        assert driver.perform() == ()
        found = driver.perform(Load(none, PLANE[:0]), Read(none), Check(none), Configure(), Run(nothing, trace=True))
        assert found[0] is None
        assert (found[1].shape, found[2].shape, found[3]) == ((0, 13), (0, 100), None)
        assert found[4].counters == Counters()
        assert len(found[4].trace) == 0
        assert driver.counters() == Counters()


# -- programs that come and go ----------------------------------------------------------------------------------------


def test_programs_make_room_for_others_and_come_again(board: ServedAssociativeBoard) -> None:
    rng = np.random.default_rng(3)
    with board.driver() as driver:
        golden = GoldenArray(driver.associative)
        driver._programs = HeldPrograms(GEOMETRY, 3, 4000)
        for times in rng.integers(1, 40, 25).tolist():
            program = adding(times=times)
            assert driver.perform(Run(program))[0].counters == golden.perform(Run(program))[0].counters
            assert 0 < (64 << 20) - int(driver.link.query(":PROGram:FREE?")) <= 4000
        assert shown(driver.perform(Read(np.arange(48)))) == shown(golden.perform(Read(np.arange(48))))


def test_a_program_longer_than_a_slot_runs_in_parts(
    board: ServedAssociativeBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labctl.drivers.associative_programs._PART", 240)
    with board.driver() as driver:
        golden = GoldenArray(driver.associative)
        long = adding(times=23)
        found, expected = driver.perform(Run(long, trace=True))[0], golden.perform(Run(long, trace=True))[0]
        assert (found.counters, shown(found.trace)) == (expected.counters, shown(expected.trace))
        driver._programs = HeldPrograms(GEOMETRY, 2, 700)
        driver._programs.forget()
        assert driver.perform(Run(long))[0].counters == golden.perform(Run(long))[0].counters


# -- what is wrong ----------------------------------------------------------------------------------------------------

GEOMETRY = AssociativeGeometry(**SHAPE)
ONE = np.ones(1, np.uint8)


def program(columns: tuple[int, ...], steps: tuple[int, ...] = (1, 1, 1), bits: int = 2, table: int = 0) -> Run:
    return Run(Program((ADDER,), instructions([(table, bits, columns, steps)])))


WRONG: dict[str, tuple[Any, str]] = {
    "a column beyond the array": (Read(np.array([48])), "column 48 is not one of 48"),
    "a column below it": (Read(np.array([-1])), "column -1 is not one of 48"),
    "half a column": (Read(np.array([0.5])), "columns must be .* whole numbers, not float64"),
    "a column twice": (Load(np.array([1, 1]), PLANE.repeat(2, 0)), "a column is named twice"),
    "planes too few": (Load(np.array([1, 2]), PLANE), r"planes must be bytes, \(2, 13\), not uint8 of \(1, 13\)"),
    "planes too short": (Load(np.array([1]), PLANE[:, :12]), r"planes must be bytes, \(1, 13\)"),
    "planes of bits": (Load(np.array([1]), PLANE.astype(bool)), "planes must be bytes"),
    "a key too short": (Search(np.array([1, 9]), ONE), r"bits must be \(2,\) of 0 and 1"),
    "a bit of 2": (Write(np.array([1]), ONE * 2), r"bits must be \(1,\) of 0 and 1"),
    "two positions at once": (Search(np.array([1, 2]), np.array([1, 0])), "two columns of track 0 are never under"),
    "tags too long": (SetTags(np.zeros(14, np.uint8)), r"planes must be bytes, \(1, 13\)"),
    "a track beyond the array": (Shift(6, 1), "track 6 is not one of 6"),
    "a check beyond it": (Check(np.array([0, 6])), "track 6 is not one of 6"),
    "steps beyond the nanowire": (Realign(0, 9), "9 steps where a nanowire has 8 domains"),
    "half a step": (Shift(0, 1.5), "1.5 steps where a nanowire has 8 domains"),  # type: ignore[arg-type]
    "to verify after half a shift": (Configure(verify_every=0.5), "verify_every must be .* not 0.5"),  # type: ignore[arg-type]
    "a threshold that is none": (Configure(sense_threshold=float("nan")), "sense_threshold must be 0 to 64, not nan"),
    "to verify less than never": (Configure(verify_every=-1), "verify_every must be 0 to 1000000, not -1"),
    "no such table": (program((0, 8, 16), table=1), "there is no table 1, but 1"),
    "a role without column": (program((0, 8)), "instruction 0 has no column for role 2 of its table"),
    "a program beyond the array": (program((0, 8, 47)), "instruction 0 names column 48, which is not one of 48"),
    "a program below it": (program((0, 8, 0), (1, 1, -1)), "instruction 0 names column -1, which is not one of 48"),
    "a program at two positions": (program((0, 8, 13), (1, 1, -1), 3), "two columns of track 1 are never under"),
    "other instructions": (Run(Program((ADDER,), np.zeros(3, "u4"))), r"instructions must be \(n,\) of INSTRUCTION"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_right_is_told_before_anything_is_sent(board: ServedAssociativeBoard, case: str) -> None:
    action, sentence = WRONG[case]
    with board.driver() as driver:
        driver.perform(Run(adding()))
        exchanges = count_exchanges(driver)
        with pytest.raises(ValueError, match=sentence):
            driver.perform(SetTags(PLANE[0]), action)
        assert not exchanges
        assert driver.perform(Run(adding()))[0].counters.searches == 24


def test_only_roles_that_a_pass_names_together_have_to_be_at_one_position(board: ServedAssociativeBoard) -> None:
    next_to = instructions([(0, 1, (0, 1), (1, 1))])
    with board.driver() as driver:
        apart = Table("apart", "ab", (Pass("1-", "--"), Pass("-1", "--")))
        assert driver.perform(Run(Program((apart,), next_to)))[0].counters.shifts == 1
        together = Table("together", "ab", (Pass("11", "--"),))
        with pytest.raises(ValueError, match="two columns of track 0 are never under its ports"):
            driver.perform(Run(Program((together,), next_to)))


def test_what_the_board_refuses_says_how_many_actions_were_done(board: ServedAssociativeBoard) -> None:
    """The head of a track is the board's affair."""
    with board.driver() as driver:
        for before in (0, 2):
            done = driver.counters()
            with pytest.raises(InstrumentError, match="the head of track 1 cannot go to 5") as refusal:
                driver.perform(*[Load(np.array([0]), PLANE)] * before, Shift(1, 5), Load(np.array([1]), PLANE))
            assert refusal.value.given == before
            assert driver.counters() - done == Counters(loaded_columns=before)
        assert driver.perform(Run(adding()))[0].counters.searches == 24


@pytest.mark.parametrize(("others", "given"), [("switch it off", None), ("use it", None), ("switch it off later", 1)])
def test_what_was_half_done_is_not_said_to_be_undone(
    board: ServedAssociativeBoard, monkeypatch: pytest.MonkeyPatch, others: str, given: int | None
) -> None:
    """A load of four messages; somebody else has the board before the second, or before the fifth."""
    monkeypatch.setattr(associative_board, "MESSAGE", 13)
    monkeypatch.setattr(associative_works, "MESSAGE", 13)
    with board.driver() as driver:
        exchanges = count_exchanges(driver)
        exchange = driver.link.exchange

        def struck(*parts: Any, **options: Any) -> Any:
            if others == "use it" and len(exchanges) == 1:
                board.board.firmware.safe()
            elif len(exchanges) == (4 if others.endswith("later") else 1):
                board.board.firmware.output = False
            return exchange(*parts, **options)

        driver.link.exchange = struck  # type: ignore[method-assign]
        with pytest.raises(InstrumentError) as refusal:
            driver.perform(Load(np.arange(4), PLANE.repeat(4, 0)), Load(np.array([9]), PLANE))
    assert refusal.value.given == given


def test_a_board_of_another_shape_is_refused(board: ServedAssociativeBoard) -> None:
    with pytest.raises(BenchError, match="the board has 6 tracks where the bench file says 7: set rows, tracks"):
        board.driver(tracks=7).connect()


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("rows", 0, "rows must be more than 0, not 0"),
        ("domains", 7, "domains must be a multiple of ports, not 7 of 2"),
        ("sense_threshold", -1.0, "sense_threshold must be 0 to 64, not -1"),
        ("verify_every", -1, "verify_every must be 0 to 1000000, not -1"),
    ],
)
def test_settings_that_are_none_are_told(board: ServedAssociativeBoard, key: str, value: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        board.driver(**{key: value})


# -- exactly once -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["before", "half", "after", "swallow"])
def test_with_faults_on_the_wire_everything_is_as_without(tmp_path: Path, fault: str, faulty: list[object]) -> None:
    with (
        served_board(tmp_path, ServedAssociativeBoard, **FAULTY) as served,
        Cable(served.port, trigger=b"") as cable,
        served.driver(cable.resource_name, timeout=0.25) as driver,
    ):
        found = session(driver, lambda: cable.faults.append(fault))
        assert not cable.faults
    assert found == faulty


NOW_AND_THEN = list(range(5, 300, 11))
PLANS = {
    "lost": [{"kind": "drop", "messages": NOW_AND_THEN}],
    "lost on its way there": [{"kind": "drop", "direction": "to", "messages": NOW_AND_THEN}],
    "twice": [{"kind": "duplicate", "messages": NOW_AND_THEN}],
    "twice on its way there": [{"kind": "duplicate", "direction": "to", "messages": NOW_AND_THEN}],
    "cut off": [{"kind": "truncate", "messages": NOW_AND_THEN}],
    "cut off on its way there": [{"kind": "close", "direction": "to", "messages": NOW_AND_THEN}],
}


@pytest.mark.parametrize("plan", PLANS)
def test_whatever_is_lost_or_comes_twice_by_plan_it_is_as_without(
    tmp_path: Path, plan: str, faulty: list[object]
) -> None:
    class Planned(ServedAssociativeBoard):
        def wrap(self, wire: Wire) -> Wire:  # noqa: ARG002
            self.wire = FaultyWire(self.board, parse_plan({"seed": 4, "faults": PLANS[plan]}, plan, tmp_path), "board")
            return self.wire

    with served_board(tmp_path, Planned, **FAULTY) as served:
        with served.driver(timeout=0.3) as driver:
            found = session(driver)
        struck = len(served.wire.record.injected)
        served.wire.close()
    assert struck >= 2
    assert found == faulty


def test_a_board_that_was_restarted_is_told_and_nothing_is_done(tmp_path: Path) -> None:
    with served_board(tmp_path, ServedAssociativeBoard, state="chip.h5") as served:
        driver = served.driver()
        driver.connect()
        driver.perform(Load(np.array([3]), PLANE | 1), Configure(0.6), Run(adding()))
        served.restart()
        for call in (
            lambda: driver.perform(Load(np.array([4]), PLANE | 1)),
            lambda: driver.perform(Run(adding())),
            driver.counters,
        ):
            with pytest.raises(LinkError, match="the board has been restarted, its settings are lost: connect anew"):
                call()
        driver.close()
        with driver:
            assert driver.counters() == Counters()
            assert driver.perform(Read(np.array([3, 4])))[0].tolist() == [PLANE[0].tolist(), PLANE[0].tolist()]
            assert driver.perform(Run(adding()))[0].counters.searches == 24


def test_safe_state_switches_off_and_the_next_action_on_again(board: ServedAssociativeBoard) -> None:
    with board.driver() as driver:
        assert not board.board.firmware.output
        driver.perform(Load(np.array([3]), PLANE))
        assert board.board.firmware.output
        done = driver.sequence
        driver.safe_state()
        assert not board.board.firmware.output
        assert driver.sequence == done + 1  # which a message that comes late does not know
        driver.perform(Read(np.array([3])))
        assert driver.sequence == done + 2
        assert driver.snapshot()["OUTPut:STATe"] == "1"
    assert not board.board.firmware.output


def test_a_recorded_session_replays_to_the_same(
    tmp_path: Path, faulty: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_small_bench(tmp_path, **FAULTY)
    with load_bench(path) as bench, bench.array() as array:
        recorded = session(array)  # type: ignore[arg-type]
        assert array.snapshot()["wire_log"] == "wire.log"
    assert recorded == faulty
    write_small_bench(tmp_path, library="@py")  # nothing answers there
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LABCTL_REPLAY", "wire.log")
    with load_bench(path) as bench, bench.array() as array:
        assert array.replayed == "wire.log"
        assert session(array) == recorded  # type: ignore[arg-type]
        array.snapshot()  # as it was then


def test_mistakes_show(board: ServedAssociativeBoard, faulty: list[object]) -> None:
    """Or the tests that compare sessions would see little."""
    with board.driver() as driver:
        right = session(driver)
    assert sum(one != other for one, other in zip(right, faulty, strict=True)) > 6


@pytest.mark.parametrize("when", ["before it is sent", "after it was"])
def test_after_an_interrupt_the_next_program_runs_as_ever(board: ServedAssociativeBoard, when: str) -> None:
    with board.driver() as driver:
        golden = GoldenArray(driver.associative)
        driver.perform(Run(adding()))
        golden.perform(Run(adding()))
        exchange = driver.link.exchange

        def struck(*parts: Any, **options: Any) -> Any:
            driver.link.exchange = exchange  # type: ignore[method-assign]
            if when == "after it was":
                exchange(*parts, **options)
                golden.perform(Run(adding(times=2)))
            raise KeyboardInterrupt

        driver.link.exchange = struck  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            driver.perform(Run(adding(times=2)))
        found, expected = driver.perform(Run(adding(times=2)))[0], golden.perform(Run(adding(times=2)))[0]
        assert found.counters == expected.counters
        assert driver.counters() == golden.counters()
        assert int(driver.link.query(":PROGram:FREE?")) > (64 << 20) - 200  # the first program is gone
