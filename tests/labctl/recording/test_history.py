"""One cell's events, found in the file's bytes, against what the tree of the whole run says of it."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from measured_runs import ADC, DAC, START

import labctl
from labctl.array import Geometry, Operation, PulseBatch, Readout
from labctl.errors import RecordingError, UsageError
from labctl.recording import Outcome, RunWriter
from labctl.recording.history import cell_events
from labctl.recording.raw import RawFile

GEOMETRY = Geometry(8, 16, "1T1R RRAM")
Batches = list[tuple[str, set[int]]]


def write(path: Path, batches: Batches, *, close: bool = True) -> RunWriter:
    """Each batch: `read`, `verified` or `blind` pulses, `failed` ones, or an `intent` alone; and its cells."""
    writer = RunWriter.create(
        path,
        protocol="test",
        title="Test",
        phases=("only",),
        variables=(),
        geometry=GEOMETRY,
        dac=DAC,
        adc=ADC,
        started=START,
        provenance={"chip_serial": "C7"},
    )
    rng = np.random.default_rng(1)
    for number, (kind, chosen) in enumerate(batches):
        cells = np.array(sorted(chosen), np.uint32)
        codes = rng.integers(0, 32768, len(cells)).astype(np.uint16)
        readout = Readout(cells, codes[None], ADC, START + number, 1e-6)
        if kind == "read":
            writer.record_read(readout)
            continue
        writer.intend([PulseBatch(Operation.SET, cells, codes, 1e-7 * (1 + number), 1.5)], time=START + number)
        if kind == "intent":
            return writer
        if kind == "failed":
            writer.fail()
        else:
            writer.complete([readout] if kind == "verified" else None)
    if close:
        writer.close(Outcome.FINISHED)
    return writer


def assert_same_as_the_tree(path: Path, cell: int) -> int:
    found = cell_events(path, cell)
    with labctl.open_run(path) as tree:
        events, operations = tree["events"].to_dataset().load(), tree["operations"].to_dataset().load()
    rows = np.flatnonzero(events["cell"].values == cell)
    operation = events["operation"].values[rows]
    assert found.row.tolist() == rows.tolist()
    assert found.operation.tolist() == operation.tolist()
    for name in ("amplitude", "reading"):
        np.testing.assert_array_equal(getattr(found, name), events[name].values[rows])
    for name in ("kind", "state", "width", "gate"):
        np.testing.assert_array_equal(getattr(found, name), operations[name].values[operation])
    time = np.rint(found.start * 1e9).astype(np.int64) + np.rint(found.turn * 1e9).astype(np.int64)
    np.testing.assert_array_equal(time.astype("M8[ns]"), events["time"].values[rows])
    np.testing.assert_array_equal(found.saturated, events["status"].values[rows] & 1 != 0)
    return len(rows)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batches=st.lists(
        st.tuples(
            st.sampled_from(["read", "verified", "blind", "failed"]),
            st.sets(st.integers(0, GEOMETRY.cells - 1), min_size=1, max_size=40),
        ),
        max_size=8,
    ),
    cell=st.integers(0, GEOMETRY.cells - 1),
)
def test_a_cells_events_are_those_of_the_whole_run(
    tmp_path_factory: pytest.TempPathFactory, batches: Batches, cell: int
) -> None:
    path = tmp_path_factory.mktemp("runs") / "run.h5"
    write(path, batches)
    assert_same_as_the_tree(path, cell)


def test_chunks_that_do_not_end_with_the_run_are_found_through(tmp_path: Path) -> None:
    whole = set(range(GEOMETRY.cells))
    path = tmp_path / "run.h5"
    write(path, [("verified", whole)] * 70 + [("read", {3, 77})] * 5)  # 8,970 events in chunks of 4,096
    assert assert_same_as_the_tree(path, 77) == 75
    assert assert_same_as_the_tree(path, 78) == 70


def test_pulses_in_flight_count_as_the_run_stands(tmp_path: Path) -> None:
    live, killed = tmp_path / "live.h5", tmp_path / "killed.h5"
    writer = write(live, [("verified", {1, 5}), ("intent", {5})])
    assert assert_same_as_the_tree(live, 5) == 2
    killed.write_bytes(live.read_bytes())
    assert assert_same_as_the_tree(killed, 5) == 2
    writer.close(Outcome.FAILED)


def test_a_compressed_file_is_read_all_the_same(tmp_path: Path) -> None:
    plain, packed = tmp_path / "run.h5", tmp_path / "packed.h5"
    write(plain, [("verified", set(range(60)))] * 90)
    with h5py.File(plain) as old, h5py.File(packed, "w") as new:
        for name in old:
            old.copy(name, new)
        new.attrs.update(old.attrs)
        columns = {f"events/{name}": old["events"][name] for name in ("cell", "reading")}
        for name, column in columns.items():
            del new[name]
            made = new.create_dataset(name, data=column[:], chunks=(1024,), compression="gzip")
            made.attrs.update({key: column.attrs[key] for key in column.attrs if key != "DIMENSION_LIST"})
    found, usual = cell_events(packed, 59), cell_events(plain, 59)
    np.testing.assert_array_equal(found.row, usual.row)
    np.testing.assert_array_equal(found.reading, usual.reading)


def test_a_cell_may_be_named_by_row_and_column(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    write(path, [("read", {2 * 16 + 3, 4})])
    assert cell_events(path, (2, 3)).row.tolist() == cell_events(path, 35).row.tolist() == [1]
    for cell in (128, -1, (8, 0), (0, 16)):
        with pytest.raises(UsageError, match="8 rows and 16 columns"):
            cell_events(path, cell)


def test_a_file_that_ends_within_a_column_is_no_whole_run(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    write(path, [("read", {1})])
    with h5py.File(path) as file, RawFile(path, file) as raw, pytest.raises(EOFError):
        raw.read(path.stat().st_size - 2, np.empty(4, np.uint8))


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.h5").write_bytes(b"nothing of the kind")
    with pytest.raises(RecordingError, match="not a run file"):
        cell_events(tmp_path / "run.h5", 0)
