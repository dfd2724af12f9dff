"""Run files of associative arrays: damage is found, and every reader takes them for what they are."""

from __future__ import annotations

import io
import itertools
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from benches import labctl as command
from rich.console import Console

import labctl
from labctl.analysis.measurements.recording import Recording
from labctl.analysis.report import run_page
from labctl.analysis.report.content import Card, Terms
from labctl.array import Geometry, Scale
from labctl.associative import (
    AssociativeGeometry,
    Configure,
    Counters,
    Execution,
    Load,
    Pass,
    Program,
    Run,
    Search,
    Table,
    instructions,
)
from labctl.chips.record import chip_record, pulses_of
from labctl.cli.watching import Picture, as_line, as_values
from labctl.errors import RecordingError, UsageError
from labctl.exchange.tables.exporting import export_tables
from labctl.recording import Outcome, State, read_summary
from labctl.recording.action_writer import ActionWriter
from labctl.recording.actions import action_row
from labctl.recording.catalogue import Catalogue, Query
from labctl.recording.follow import Follower
from labctl.recording.history import cell_events
from labctl.recording.pack import pack
from labctl.recording.past import Past
from labctl.recording.verify import Verdict, verify
from labctl.steps import Step, Variable

LARGE = AssociativeGeometry(65_536, 128, 64, 2)
"""Of half a thousand million cells, so that whatever thinks of each of them is found out."""
BIT = Scale(1.0, 0.0, 1, "1")
START = 1_700_000_000.0
TABLE = Table("invert", "a", (Pass("1", "-"), Pass("0", "1")))
PROGRAM = Program((TABLE, TABLE), instructions([(0, 2, (0,), (1,)), (1, 1, (5,), (0,))]))
PASSES = 6
ACTIONS = (
    Configure(sense_threshold=0.4),
    Load(np.arange(3, dtype=np.uint32), np.zeros((3, LARGE.row_bytes), np.uint8)),
    Run(PROGRAM, trace=True),
    Search(np.array([7], np.uint32), np.ones(1, np.uint8)),
)


def start(path: Path) -> ActionWriter:
    return ActionWriter.create(
        path,
        protocol="large",
        title="On a large array",
        phases=("work",),
        variables=(Variable("searches", "searches", dtype="i8", fill=-1),),
        geometry=Geometry(LARGE.rows, LARGE.columns, "racetrack"),
        dac=BIT,
        adc=BIT,
        started=START,
        provenance={
            "chip_serial": "AP-1",
            "settings": {},
            "packages": {"numpy": "2"},
            "snapshot_before": {"ap": "golden"},
            "seed": 3,
            "measurement": "",
        },
        associative=LARGE,
        checkpoints=True,
    )


def work(writer: ActionWriter, step: int) -> None:
    writer.intend_actions([action_row(each) for each in ACTIONS], time=START + step)
    trace = np.arange(PASSES, dtype=np.uint32) * 10_000
    results = (None, None, Execution(Counters(matches=150_000), 1e-3, trace), 77)
    writer.complete_actions(ACTIONS, results)
    generator = np.random.default_rng(0)
    done = Step("work", {"searches": step}, checkpoint={"step": np.array(step)})
    writer.step(done, time=START + step + 0.5, generator=generator)


def finished(path: Path) -> Path:
    with start(path) as writer:
        work(writer, 0)
        work(writer, 1)
        writer.close(Outcome.FINISHED, time=START + 2, summary={"steps": 2}, snapshot_after={"ap": "golden"})
    return path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return finished(tmp_path / "run.h5")


def errors(path: Path) -> list[str]:
    return [finding.text for finding in verify(path).findings]


def test_a_run_as_recorded_is_whole_and_small(run: Path) -> None:
    assert (verify(run).verdict, verify(run).findings) == (Verdict.WHOLE, ())
    assert run.stat().st_size < 500_000


def setting(path: str, row: Any, value: Any) -> Callable[[h5py.File], None]:
    def damage(file: h5py.File) -> None:
        file[path][row] = value

    return damage


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (setting("events/pass", 1, 0), "events are not in the order of their program (row 1)"),
        (setting("events/bit", 3, 0), "events are not in the order of their program (row 3)"),
        (setting("events/instruction", 6, 1), "events do not begin with a first pass (row 6)"),
        (setting("events/matches", 4, 65_537), "events/matches is more than the array has rows (row 4)"),
        (setting("operations/repeats", 2, 3), "operations/events are not all passes of the program (row 2)"),
        (setting("operations/kind", 6, 8), "operations/events of what is no program (row 6)"),
        (setting("operations/state", 1, 7), "operations/state holds a flag that is not declared (row 1)"),
        (setting("operations/first_event", 3, 5), "operations/first_event does not follow the events before (row 3)"),
    ],
)
def test_damage_is_found(run: Path, damage: Callable[[h5py.File], None], said: str) -> None:
    with h5py.File(run, "r+") as file:
        damage(file)
    assert said in errors(run)


def test_a_missing_column_is_found(run: Path) -> None:
    with h5py.File(run, "r+") as file:
        del file["events/matches"]
    assert "events/matches is missing" in errors(run)


def test_the_largest_number_of_rows_is_not_taken_for_unknown(run: Path) -> None:
    with labctl.open_run(run) as tree:
        matches = tree["events/matches"].values
    np.testing.assert_array_equal(matches, np.tile(np.arange(PASSES) * 10_000, 2))


@pytest.fixture
def frugally() -> Iterator[None]:
    """None of it takes memory for every cell."""
    tracemalloc.start()
    yield
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100e6, f"{peak:,} bytes"


@pytest.mark.usefixtures("frugally")
def test_a_look_at_one_going_on(tmp_path: Path) -> None:
    writer = start(tmp_path / "live.h5")
    follower = Follower(writer.path)
    assert follower.look().outcome is Outcome.LIVE
    work(writer, 0)
    writer.intend_actions([action_row(ACTIONS[2])], time=START + 1)
    sight = follower.look()
    assert (sight.commit.operations, sight.commit.events, sight.behind) == (4, PASSES, 0)
    assert (len(sight.reading), len(sight.pulses), sight.pulses_per_s) == (0, 0, None)
    assert "4 actions  6 passes recorded" in as_line(sight)
    writer.fail()
    writer.close(Outcome.FAILED, time=START + 2, message="the wire is gone")
    sight = follower.look()
    assert "1 actions that may have been done" in as_line(sight)
    assert as_values(sight)["unknown_dose"] == 1
    assert read_summary(writer.path).unknown_dose == 0  # of pulses, of which there are none


def test_its_picture_has_curves_and_no_map(run: Path) -> None:
    console = Console(width=90, height=30, force_terminal=True, color_system=None, file=io.StringIO())
    with console.capture() as captured:
        console.print(Picture(Follower(run).look()))
    shown = captured.get()
    assert "8 actions · 12 passes recorded · 2 steps" in shown
    assert "step 1 to 2" in shown
    assert "read" not in shown
    assert "pulses" not in shown


@pytest.mark.usefixtures("frugally")
def test_what_an_interrupted_run_left(tmp_path: Path) -> None:
    with start(tmp_path / "run.h5") as writer:
        work(writer, 0)
        writer.intend_actions([action_row(each) for each in ACTIONS[1:3]], time=START + 1)
        writer.close(Outcome.INTERRUPTED, time=START + 2)
    with Past(writer.path) as past:
        assert past.associative == LARGE
        assert past.geometry == Geometry(LARGE.rows, LARGE.columns, "racetrack")
        assert past.operations["state"].tolist() == [State.DONE] * 4 + [State.UNKNOWN_DOSE] * 2
        assert past.settle(7) is None  # whatever the board's numbers say
        assert list(past.pulses()) == []
        assert past.superseded == (slice(4, 6), slice(1, 1))


@pytest.mark.usefixtures("frugally")
def test_it_is_no_history_of_its_chips_cells(run: Path) -> None:
    assert pulses_of("AP-1", Catalogue(run.parent)) == 0
    with pytest.raises(UsageError, match="chip AP-1 is an associative array"):
        chip_record("AP-1", run.parent)
    with pytest.raises(UsageError, match="is of an associative array, whose events are passes"):
        cell_events(run, 3)


def test_none_of_its_cells_can_be_left_out(run: Path) -> None:
    told = command("chip", "exclude", "AP-1", "--rows", "3", "--because", "odd", "--folder", ".", cwd=run.parent)
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr == "labctl: chip AP-1 is an associative array, whose protocols leave no cells out\n"
    listed = command("chip", "list", "--folder", ".", cwd=run.parent).stdout.splitlines()
    assert listed[1].split() == ["AP-1", "65536", "x", "8192", "racetrack", "1", "0", "run.h5"]


def test_the_catalogue_finds_it(run: Path) -> None:
    (found,) = Catalogue(run.parent).find(Query(where=("array_kind=associative", "tracks>=100")))
    assert (found.path, found.pulses, found.operations, found.events) == (run, 0, 8, 2 * PASSES)
    assert Catalogue(run.parent).find(Query(where=("array_kind!=associative",))) == []


def test_packed_it_holds_the_same(run: Path) -> None:
    before = run.stat().st_size
    assert pack(run).bytes_after < before
    assert verify(run).findings == ()


def test_its_tables(run: Path) -> None:
    pytest.importorskip("pandas")
    export_tables([run], "csv", run.parent / "tables", joined=True)
    lines = (run.parent / "tables" / "events.csv").read_text().splitlines()
    assert lines[0].split(",")[:6] == ["instruction", "bit", "pass", "matches", "operation", "kind"]
    digest = int(PROGRAM.digest[:16], 16)
    assert lines[3].startswith(f"0,1,0,20000,2,program,{PASSES},{digest},done,protocol,0,")
    assert len(lines) == 1 + 2 * PASSES


def test_its_page_speaks_of_actions(run: Path) -> None:
    page = run_page(run)
    assert page.sentence == "8 actions in 2 steps."
    assert Card("actions", "8", note="12 passes recorded") in page.cards
    terms = [each for section in page.sections for each in section.blocks if isinstance(each, Terms)]
    said = list(itertools.chain.from_iterable(each.items for each in terms))
    assert ("tracks", "128 of 64 domains under 2 ports, in each row") in said
    assert ("recorded", "2 steps, 8 operations, 12 events") in said


def test_it_has_neither_readings_nor_pulses(run: Path) -> None:
    with labctl.open_run(run) as tree:
        recording = Recording(tree)
        assert recording.is_associative
        with pytest.raises(RecordingError, match="of an associative array, of which there are no readings"):
            recording.readings()
        assert [len(each) for each in recording.pulses("set")] == [0, 0]
