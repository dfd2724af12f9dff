"""Every way in which a run file can be wrong is found, and a file that is right or merely incomplete is not blamed."""

from __future__ import annotations

import hashlib
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from labctl.array import Operation, PulseBatch, Readout
from labctl.errors import NoRunError, RecordingError
from labctl.recording import Outcome, RunWriter, State, read_summary, recover
from labctl.recording.findings import Severity
from labctl.recording.lookup3 import lookup3
from labctl.recording.verify import Verdict, verify
from labctl.steps import Step

Exchange = Callable[..., tuple[PulseBatch, Readout]]
StartRun = Callable[..., RunWriter]
Damage = Callable[[h5py.File], None]

PROVENANCE: dict[str, Any] = {
    "chip_serial": "C7",
    "settings": {"tolerance": 1e-6},
    "packages": {"numpy": "2"},
    "snapshot_before": {"board": "A,B,C,D"},
}


@pytest.fixture
def good_run(start_run: StartRun, exchange: Exchange) -> Path:
    """Two batches with verify reads, a read of three passes, and two steps."""
    batch, readout = exchange()
    with start_run("good.h5", provenance=PROVENANCE) as writer:
        writer.intend([batch, batch], time=1.7e9)
        writer.complete([readout, readout])
        writer.step(Step("form", {"active": 3}, {"target": np.ones((8, 16))}), time=1.7e9 + 1)
        writer.record_read(Readout(batch.cells, np.repeat(readout.codes, 3, axis=0), readout.scale, 1.7e9 + 2, 1e-6))
        writer.step(Step("program", {"active": 3}), time=1.7e9 + 3)
        writer.close(Outcome.FINISHED, time=1.7e9 + 4, summary={"fraction": 0.75}, snapshot_after={"board": "A,B,C,D"})
    return writer.path


def errors(path: Path) -> list[str]:
    return [finding.text for finding in verify(path).findings if finding.severity is Severity.ERROR]


def test_a_run_as_recorded_is_whole(good_run: Path) -> None:
    found = verify(good_run)
    assert (found.verdict, found.outcome, found.findings) == (Verdict.WHOLE, Outcome.FINISHED, ())


def setting(path: str, row: Any, value: Any) -> Damage:
    def damage(file: h5py.File) -> None:
        file[path][row] = value

    return damage


def without(path: str) -> Damage:
    def damage(file: h5py.File) -> None:
        del file[path]

    return damage


def without_attribute(path: str, name: str) -> Damage:
    def damage(file: h5py.File) -> None:
        del file[path].attrs[name]

    return damage


def with_attribute(path: str, name: str, value: Any) -> Damage:
    def damage(file: h5py.File) -> None:
        file[path].attrs[name] = value

    return damage


def resized(path: str, rows: int) -> Damage:
    def damage(file: h5py.File) -> None:
        file[path].resize((rows,))

    return damage


def detached(file: h5py.File) -> None:
    file["events/cell"].dims[0].detach_scale(file["events/event"])


def added(file: h5py.File) -> None:
    file["events/extra"] = np.zeros(25)


DAMAGES: list[tuple[Damage, str]] = [
    (without("events/amplitude"), "events/amplitude is missing"),
    (without("steps/time"), "steps/time is missing"),
    (without("commit"), "lacks `commit/record`"),
    (without("provenance/message"), "provenance/message is missing"),
    (without("maps/row"), "maps lack the dimension `row`"),
    (detached, "events/cell does not have the dimension `event` along axis 0"),
    (added, "events/extra was added after the run ended"),
    (without_attribute("operations/width", "units"), "operations/width says its unit is nothing, not s"),
    (with_attribute("operations/gate", "units", "mV"), "operations/gate says its unit is mV, not V"),
    (without_attribute("steps/error", "units"), "steps/error has neither units nor flags"),
    (without_attribute("maps/target", "long_name"), "maps/target does not say what it is"),
    (without_attribute("events/reading", "scale_factor"), "events/reading does not say what its codes mean"),
    (resized("events/reading", 24), "events/reading has 24 rows, but 25 were committed"),
    (resized("operations/state", 4), "operations/state has 4 rows, but 3 were committed"),
    (setting("commit/record", 3, 24), "the operations done have 25 events, but 24 were committed as done"),
    (setting("commit/record", 5, 9), "the operations gave 10 pulses, but 9 were committed"),
    (setting("commit/record", 0, 2), "the commit counts more that was done than was intended"),
    (setting("operations/first_event", 1, 6), "operations/first_event does not follow the events before (row 1)"),
    (setting("operations/events", 2, 16), "the operations have 26 events, but 25 were committed"),
    (setting("operations/repeats", 2, 2), "operations/events is no multiple of operations/repeats (row 2)"),
    (setting("operations/state", 0, 0), "operations/state says `intended` of what was done (row 0)"),
    (setting("operations/state", 0, 9), "operations/state holds a flag that is not declared (row 0)"),
    (setting("operations/step", 2, 0), "steps/first_operation is not the first operation of its step (row 1)"),
    (setting("operations/step", 1, 7), "operations/step names a step that is not there (row 1)"),
    (setting("operations/start", 2, 1.6e9), "operations/start goes back in time (row 2)"),
    (setting("steps/time", 1, 1.6e9), "steps/time goes back in time (row 1)"),
    (setting("steps/phase", 1, 7), "steps/phase holds a flag that is not declared (row 1)"),
    (setting("events/cell", 24, 128), "events/cell is not on the array (row 24)"),
    (
        setting("events/cell", slice(6, 8), 0),
        "events/cell does not increase within a batch of pulses (2 rows, the first 6)",
    ),
    (setting("events/amplitude", 2, 65535), "events/amplitude is missing for a pulse (row 2)"),
    (setting("events/amplitude", 12, 5), "events/amplitude is given for a read (row 12)"),
    (setting("events/reading", 12, 5000), "events/reading is beyond the converter's range (row 12)"),
    (setting("events/reading", 12, 17), "events/reading does not hold what was recorded: its checksum is another"),
    (setting("maps/target", (0, 0), 5.0), "maps/target does not hold what was recorded: its checksum is another"),
    (setting("provenance/summary", slice(None), b"x"), "provenance/summary is not JSON"),
    (with_attribute("/", "outcome", "failed"), "the attribute `outcome` says failed, but finished was committed"),
    (with_attribute("/", "started", "2030-01-01T00:00:00.000000Z"), "the run ended before it started"),
    (with_attribute("provenance", "settings", "{"), "provenance/settings is not JSON"),
]


@pytest.mark.parametrize(("damage", "sentence"), DAMAGES, ids=[sentence for _, sentence in DAMAGES])
def test_what_is_wrong_is_said_in_a_sentence(good_run: Path, damage: Damage, sentence: str) -> None:
    with h5py.File(good_run, "r+") as file:
        damage(file)
    found = errors(good_run)
    assert any(sentence in each for each in found), found
    assert verify(good_run).verdict is Verdict.DAMAGED


def test_a_killed_run_is_incomplete_and_so_is_its_recovered_copy(killed_run: Path, tmp_path: Path) -> None:
    recover(killed_run, tmp_path / "copy.h5")
    for path in (killed_run, tmp_path / "copy.h5"):
        found = verify(path)
        assert errors(path) == []
        assert (found.verdict, found.outcome) == (Verdict.INCOMPLETE, Outcome.KILLED)
    said = [finding.text for finding in verify(killed_run).findings]
    assert "the run was killed: nobody can say whether its last 10 pulses were applied" in said


def test_a_live_run_is_incomplete(start_run: StartRun, exchange: Exchange) -> None:
    batch, readout = exchange()
    with start_run(provenance=PROVENANCE) as writer:
        writer.intend([batch])
        writer.complete([readout])
        found = verify(writer.path)
        assert (found.verdict, [finding.text for finding in found.findings]) == (
            Verdict.INCOMPLETE,
            ["the run is going on"],
        )
        writer.close(Outcome.FINISHED)


def test_pulses_the_board_did_not_apply_are_not_counted(start_run: StartRun, exchange: Exchange) -> None:
    batch, _ = exchange()
    with start_run(provenance=PROVENANCE) as writer:
        writer.intend([batch, batch], time=1.7e9)
        writer.fail([State.DONE, State.NOT_APPLIED])
        writer.close(Outcome.FAILED, message="the board said no")
    assert errors(writer.path) == []


def test_array_settings_are_compared_with_what_the_run_was_given(start_run: StartRun) -> None:
    target = np.arange(128, dtype="f4").reshape(8, 16)
    described = {"target": {"shape": [8, 16], "dtype": "float32", "sha256": hashlib.sha256(target.data).hexdigest()}}
    provenance = PROVENANCE | {"settings": described}
    with start_run(provenance=provenance, arrays={"target": target}) as writer:
        writer.close(Outcome.FAILED)
    assert errors(writer.path) == []
    with h5py.File(writer.path, "r+") as file:
        file["settings/target"][0, 0] = 7
    assert "settings/target is not what the run was given: its checksum is another" in errors(writer.path)
    with start_run("old.h5", provenance=provenance) as writer:
        writer.close(Outcome.FAILED)
    (finding,) = (each for each in verify(writer.path).findings if "target" in each.text)
    assert finding.severity is Severity.WARNING


def test_what_is_no_file_is_usage_and_what_is_no_run_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("not HDF5")
    assert verify(tmp_path / "text.h5").verdict is Verdict.DAMAGED
    with pytest.raises(NoRunError, match="there is no file"):
        verify(tmp_path / "none.h5")


def test_a_run_of_more_events_than_a_block_is_checked_across_its_edges(
    start_run: StartRun, exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labctl.recording.consistency._BLOCK", 7)
    cells = np.arange(20, dtype=np.uint32)
    batch = PulseBatch(Operation.SET, cells, np.full(20, 9, np.uint16), 1e-7, 1.2)
    _, readout = exchange(5)
    with start_run(provenance=PROVENANCE) as writer:
        writer.intend([batch], time=1.7e9)
        writer.complete()
        writer.record_read(readout)
        writer.intend([batch], time=1.7e9 + 1)
        writer.complete()
        writer.close(Outcome.FAILED)
    assert errors(writer.path) == []
    with h5py.File(writer.path, "r+") as file:
        file["events/cell"][[7, 32]] = 3
    assert "events/cell does not increase within a batch of pulses (2 rows, the first 7)" in errors(writer.path)


def test_a_killed_run_with_damaged_metadata_is_refused_at_once(killed_run: Path, tmp_path: Path) -> None:
    """HDF5 would take it for being written, and try for ever longer."""
    damaged, refused = tmp_path / "damaged.h5", 0
    for where in range(12, 4096, 292):
        content = bytearray(killed_run.read_bytes())
        content[where : where + 40] = bytes(each ^ 0x55 for each in content[where : where + 40])
        damaged.write_bytes(content)
        began = time.monotonic()
        try:
            read_summary(damaged)
        except RecordingError:
            refused += 1
            assert verify(damaged).verdict is Verdict.DAMAGED
        assert time.monotonic() - began < 5
    assert refused > 5


def test_the_superblock_ends_with_the_checksum_hdf5_gives_it(good_run: Path) -> None:
    head = good_run.read_bytes()[:48]
    assert struct.unpack("<I", head[44:]) == (lookup3(head[:44]),)
    assert lookup3(head[:44]) != lookup3(head[:40] + b"\0\0\0\1")
