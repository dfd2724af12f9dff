"""Checksums are of the values as they lie in the file, whatever their chunks, and are read in little memory."""

from __future__ import annotations

import hashlib
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from labctl.array import PulseBatch, Readout
from labctl.recording import Outcome, RunWriter
from labctl.recording.checksums import checksums
from labctl.recording.nested import read_nested
from labctl.recording.reader import read_text

StartRun = Callable[..., RunWriter]
Exchange = Callable[..., tuple[PulseBatch, Readout]]


def test_a_checksum_is_of_the_bytes_of_all_rows(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    with h5py.File(tmp_path / "values.h5", "w") as file:
        stored = {
            "chunked": rng.integers(0, 4096, 300_001).astype("u2"),
            "whole": rng.random((70, 33)).astype(">f4"),
            "flags": rng.random((5, 4, 3)) > 0.5,
            "empty": np.zeros(0, "S1"),
            "single": np.float64(3.5),
        }
        group = file.create_group("group")
        for name, values in stored.items():
            chunks = {"chunks": (1000,), "maxshape": (None,)} if name == "chunked" else {}
            group.create_dataset(name, data=values, **chunks)
        found = checksums(file)
    assert found == {f"group/{name}": hashlib.sha256(values.tobytes()).hexdigest() for name, values in stored.items()}


def test_a_large_column_is_summed_in_little_memory(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "large.h5", "w") as file:
        file.create_dataset("column", shape=(40_000_000,), dtype="u2", chunks=(262_144,), fillvalue=7)
        tracemalloc.start()
        found = checksums(file)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert found == {"column": hashlib.sha256(np.full(40_000_000, 7, "u2").tobytes()).hexdigest()}
    assert most < 20_000_000


def test_a_run_carries_the_checksums_of_everything_but_its_lengths_and_its_commit(
    start_run: StartRun, exchange: Exchange
) -> None:
    batch, readout = exchange()
    with start_run() as writer:
        writer.intend([batch])
        writer.complete([readout])
        writer.close(Outcome.FINISHED, summary={"fraction": 1.0})
    with h5py.File(writer.path) as file:
        said, found = read_text(file, "checksums"), checksums(file)
        assert read_nested(file).keys() == {"snapshot"}
    assert {"events/cell", "operations/state", "maps/target", "maps/row", "provenance/summary"} <= found.keys()
    assert {"commit/record", "provenance/checksums", "events/event"}.isdisjoint(found)
    assert all(f'"{name}":"{digest}"' in said for name, digest in found.items())
