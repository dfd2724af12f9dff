"""What is written is what is there: columns, states and refusals."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labctl.array import Geometry, Operation, PulseBatch, Readout, Scale
from labctl.errors import RecordingError
from labctl.recording import Outcome, RunWriter, State, open_run
from labctl.recording.layout import MULTIPLY, AskedBy
from labctl.steps import Step, Variable

ADC = Scale(1e-7, 0.0, 12, "S")
START = 1.7e9
Exchange = Callable[..., tuple[PulseBatch, Readout]]
StartRun = Callable[..., RunWriter]

pulses = st.builds(
    lambda sizes, ending: ("pulses", sizes, ending),
    st.lists(st.integers(0, 40), min_size=1, max_size=3),
    st.sampled_from(["verified", "unverified", "unknown", "not applied"]),
)
reads = st.builds(lambda cells, repeats: ("read", cells, repeats), st.integers(1, 40), st.integers(1, 3))
steps = st.builds(lambda active: ("step", active), st.integers(0, 2**32 - 1))


@dataclass
class Model:
    """What the columns must hold."""

    events: list[tuple[int, int, int]] = field(default_factory=list)  # cell, amplitude, reading; 65535: none
    operations: list[tuple[int, int, int, int]] = field(default_factory=list)  # kind, first, events, state
    steps: list[tuple[int, int]] = field(default_factory=list)  # active, first operation
    first_operation: int = 0

    def do(self, writer: RunWriter, action: tuple[Any, ...], salt: int) -> None:
        """`action` on the writer, and here."""
        match action:
            case ("pulses", sizes, ending):
                self._pulses(writer, sizes, ending, salt)
            case ("read", cells, repeats):
                where = np.arange(cells, dtype=np.uint32)
                codes = (np.arange(repeats * cells).reshape(repeats, cells) + salt).astype(np.uint16)
                writer.record_read(Readout(where, codes, ADC, 1.7e9, 1e-6))
                self.operations.append((0, len(self.events), repeats * cells, State.DONE))
                self.events += [(int(c), 65535, int(code)) for row in codes for c, code in zip(where, row, strict=True)]
            case ("step", active):
                writer.step(Step("program", {"active": active}), time=1.7e9)
                self.steps.append((active, self.first_operation))
                self.first_operation = len(self.operations)

    def _pulses(self, writer: RunWriter, sizes: list[int], ending: str, salt: int) -> None:
        batches, readouts = [], []
        state = {"unknown": State.UNKNOWN_DOSE, "not applied": State.NOT_APPLIED}.get(ending, State.DONE)
        for size in sizes:
            where = np.arange(size, dtype=np.uint32)
            codes = (where + salt).astype(np.uint16)
            batches.append(PulseBatch(Operation.RESET, where, codes, 1e-7, 1.2))
            readouts.append(Readout(where, codes[None] + np.uint16(1), ADC, 1.7e9, 1e-6))
            self.operations.append((Operation.RESET, len(self.events), size, state))
            self.events += [(int(c), c + salt, c + salt + 1 if ending == "verified" else 65535) for c in where]
        writer.intend(batches)
        if ending == "verified":
            writer.complete(readouts)
        elif ending == "unverified":
            writer.complete()
        elif ending == "unknown":
            writer.fail()
        else:
            writer.fail([State.NOT_APPLIED] * len(sizes))


@settings(max_examples=40, deadline=None)
@given(actions=st.lists(pulses | reads | steps, max_size=25))
def test_any_sequence_of_operations_comes_back_as_it_was(actions: list[tuple[Any, ...]]) -> None:
    model = Model()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.h5"
        with RunWriter.create(
            path,
            protocol="any",
            title="Any",
            phases=("form", "program"),
            variables=(Variable("active", "cells still active", dtype="u4"),),
            geometry=Geometry(5, 8, "1T1R RRAM"),
            dac=Scale(1e-3, 0.0, 12, "V"),
            adc=ADC,
            started=1.7e9,
            provenance={},
        ) as writer:
            for salt, action in enumerate(actions):
                model.do(writer, action, salt)
            writer.close(Outcome.FINISHED)
        with h5py.File(path) as file:
            assert rows(file["events"], "cell", "amplitude", "reading") == model.events
            assert rows(file["operations"], "kind", "first_event", "events", "state") == model.operations
            assert rows(file["steps"], "active", "first_operation") == model.steps


def rows(group: h5py.Group, *names: str) -> list[tuple[int, ...]]:
    return [tuple(int(number) for number in row) for row in zip(*(group[name][:] for name in names), strict=True)]


def test_events_have_volts_siemens_and_times(start_run: StartRun, exchange: Exchange) -> None:
    batch, readout = exchange(5, time=1_700_000_001.0)
    with start_run() as writer:
        writer.intend([batch], time=1_700_000_000.5, sequences=[17])
        writer.complete([readout])
        writer.close(Outcome.FINISHED)
    with open_run(writer.path) as tree:
        events, operations = tree["events"], tree["operations"]
        np.testing.assert_allclose(events["amplitude"], [1.0, 1.001, 1.002, 1.003, 1.004])
        np.testing.assert_allclose(events["reading"], readout.conductance[0], rtol=1e-6)
        seconds = (events["time"].values - np.datetime64("2023-11-14T22:13:21")) / np.timedelta64(1, "s")
        np.testing.assert_allclose(seconds, np.arange(5) * 1e-6, atol=1e-9)
        assert operations["sequence"].item() == 17
        assert operations["width"].item() == 1e-7


def test_what_comes_at_the_end_is_text_of_any_length(start_run: StartRun) -> None:
    with start_run() as writer:
        writer.close(
            Outcome.INTERRUPTED,
            time=1_700_000_009.0,
            message="stopped by Jürgen",
            summary={"fraction": np.float64(0.5), "cells": list(range(5000))},
            snapshot_after={"board": {"idn": "A"}},
        )
    with open_run(writer.path) as tree:
        assert tree.attrs["outcome"] == "interrupted"
        assert tree.attrs["ended"] == "2023-11-14T22:13:29.000000Z"
        assert tree["provenance/message"].item() == "stopped by Jürgen"
        assert json.loads(tree["provenance/summary"].item())["cells"][-1] == 4999
        assert json.loads(tree["provenance"].attrs["snapshot"]) == {"board": {"idn": "A,B,C,D"}}


def test_a_16_bit_converter_keeps_its_top_code(start_run: StartRun) -> None:
    adc = Scale(1e-9, 0.0, 16, "S")
    cells = np.arange(2, dtype=np.uint32)
    with start_run(adc=adc) as writer:
        writer.record_read(Readout(cells, np.array([[0, 65535]], np.uint16), adc, 1.7e9, 1e-6))
        writer.close(Outcome.FINISHED)
    with open_run(writer.path) as tree:
        np.testing.assert_allclose(tree["events/reading"], [0, 65535e-9])
        assert tree["events/status"].values.tolist() == [0, 1]


def test_an_exchange_left_open_is_of_unknown_dose(start_run: StartRun, exchange: Exchange) -> None:
    with pytest.raises(ZeroDivisionError), start_run() as writer:  # noqa: PT012 -- the run must fail inside
        writer.intend([exchange()[0]])
        raise ZeroDivisionError("the protocol's own")
    with open_run(writer.path) as tree:
        assert tree.attrs["outcome"] == "failed"
        assert tree["provenance/message"].item() == "the protocol's own"
        assert tree["operations/state"].values.tolist() == [State.UNKNOWN_DOSE]
        assert tree["events/status"].values.tolist() == [2 | 4] * 5


def test_maps_keep_their_last_value(start_run: StartRun) -> None:
    with start_run() as writer:
        for value in (1.0, 2.0):
            target = np.full((8, 16), value, np.float32)
            writer.step(Step("form", maps={"target": target}), time=1.7e9)
        writer.step(Step("form"), time=1.7e9)
        writer.close(Outcome.FINISHED)
    with open_run(writer.path) as tree:
        assert (tree["maps/target"] == 2).all()


def test_closing_twice_does_nothing_and_writing_after_is_refused(start_run: StartRun, exchange: Exchange) -> None:
    with start_run() as writer:
        writer.close(Outcome.FINISHED)
        writer.close(Outcome.FAILED)
        with pytest.raises(RecordingError, match="is closed"):
            writer.intend([exchange()[0]])
    with open_run(writer.path) as tree:
        assert tree.attrs["outcome"] == "finished"


def test_an_existing_file_is_never_overwritten(start_run: StartRun) -> None:
    with start_run() as writer:
        with pytest.raises(RecordingError, match="being written"):
            start_run()
        writer.close(Outcome.FINISHED)
    with pytest.raises(RecordingError, match="exists already"):
        start_run()
    assert [path.name for path in writer.path.parent.iterdir()] == ["run.h5"]


def test_a_second_intent_before_the_outcome_is_refused(start_run: StartRun, exchange: Exchange) -> None:
    batch, readout = exchange()
    with start_run() as writer:
        writer.intend([batch])
        with pytest.raises(RecordingError, match="exchange is open"):
            writer.intend([batch])
        with pytest.raises(RecordingError, match="exchange is open"):
            writer.record_read(readout)
        writer.complete([readout])


def test_readings_that_do_not_fit_the_intent_are_refused(start_run: StartRun, exchange: Exchange) -> None:
    batch, readout = exchange()
    other_cells = Readout(readout.cells + np.uint32(1), readout.codes, ADC, 1.7e9, 1e-6)
    other_scale = Readout(readout.cells, readout.codes, Scale(1e-8, 0.0, 12, "S"), 1.7e9, 1e-6)
    fewer = exchange(3)[1]
    with start_run() as writer:
        writer.intend([batch])
        for wrong in ([other_cells], [other_scale], [fewer], [readout, readout]):
            with pytest.raises(RecordingError):
                writer.complete(wrong)
        writer.complete([readout])
        writer.close(Outcome.FINISHED)
    with open_run(writer.path) as tree:
        assert tree["operations/state"].values.tolist() == [State.DONE]


def test_a_read_whose_scale_is_no_multiple_of_the_runs_is_refused(start_run: StartRun, exchange: Exchange) -> None:
    _, readout = exchange()
    other_bits, other_zero = Scale(2e-7, 0.0, 14, "S"), Scale(2e-7, -1e-6, 12, "S")
    with start_run() as writer:
        for scale in (other_bits, other_zero):
            with pytest.raises(RecordingError, match="but the run began with"):
                writer.record_read(replace(readout, scale=scale), 0.1)
        with pytest.raises(RecordingError, match="but the run began with"):
            writer.record_read(replace(readout, scale=replace(readout.scale, step=2e-7)))  # and no voltage said
        writer.close(Outcome.FINISHED)


@pytest.mark.parametrize(
    "step",
    [
        Step("program", {"actve": 1}),
        Step("program", maps={"targets": np.zeros((8, 16))}),
        Step("program", maps={"target": np.zeros((16, 8))}),
        Step("programme"),
    ],
)
def test_what_the_protocol_did_not_declare_is_refused(start_run: StartRun, step: Step) -> None:
    with start_run() as writer:
        with pytest.raises(RecordingError):
            writer.step(step, time=1.7e9)
        writer.close(Outcome.FINISHED)


def test_provenance_may_not_take_the_names_of_the_file(start_run: StartRun) -> None:
    with pytest.raises(RecordingError, match="`outcome`"):
        start_run(provenance={"outcome": "splendid"})


def test_a_protocol_may_not_take_the_names_of_columns(start_run: StartRun) -> None:
    with pytest.raises(RecordingError, match="`phase`, which steps have already"):
        start_run(variables=(Variable("phase", "moon"),))


def test_fsync_writes_the_same(start_run: StartRun, exchange: Exchange) -> None:
    batch, readout = exchange()
    with start_run(fsync=True) as writer:
        writer.intend([batch])
        writer.complete([readout])
        writer.close(Outcome.FINISHED)
    with open_run(writer.path) as tree:
        assert tree["events"].sizes["event"] == 5


def test_products_one_after_another_are_one_row_before_whatever_is_recorded_next(
    start_run: StartRun, exchange: Exchange
) -> None:
    batch, readout = exchange(5)
    writer = start_run()

    def products(*given: tuple[int, float | None]) -> None:
        for vectors, voltage in given:
            writer.record_product(vectors, time=START + len(given), voltage=voltage)

    products((2, 0.2), (3, 0.2), (1, 0.1))
    writer.intend([batch])
    with pytest.raises(RecordingError, match="is open"):
        products((1, 0.2))
    writer.complete([readout])
    products((4, None), (4, None))
    writer.record_read(readout)
    products((5, None))
    writer.record_clock(START + 5)
    products((6, None))
    with writer.asking(AskedBy.REREAD):
        products((7, None))
    writer.step(Step("program"), time=START + 6)
    products((8, None))
    writer.close(Outcome.FINISHED)
    with pytest.raises(RecordingError, match="is closed"):
        products((9, None))
    with h5py.File(writer.path) as file:
        found = {name: file["operations"][name][:] for name in ("kind", "repeats", "read_voltage", "start", "step")}
        asked_by, first = file["operations/asked_by"][:].tolist(), file["steps/first_operation"][:].tolist()
    of_products = found["kind"] == MULTIPLY
    assert of_products.tolist() == [True, True, False, True, False, True, False, True, True, True]
    assert found["repeats"][of_products].tolist() == [5, 1, 8, 5, 6, 7, 8]
    assert found["step"][of_products].tolist() == [0] * 6 + [1]
    assert found["start"][of_products].tolist() == [START + each for each in (3, 3, 2, 1, 1, 1, 1)]
    np.testing.assert_allclose(found["read_voltage"][of_products], [0.2, 0.1] + [np.nan] * 5, rtol=1e-6)
    assert [row for row, by in enumerate(asked_by) if by == AskedBy.REREAD] == [8]
    assert first == [0]


def test_an_interrupt_between_intent_and_pulse_leaves_a_whole_file(
    start_run: StartRun, exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = start_run()
    write = writer._write_intended

    def struck(*given: Any) -> None:
        write(*given)
        raise KeyboardInterrupt

    monkeypatch.setattr(writer, "_write_intended", struck)
    with pytest.raises(KeyboardInterrupt):
        writer.intend([exchange()[0]])
    writer.close(Outcome.INTERRUPTED)
    with h5py.File(writer.path) as file:
        assert file["operations/state"][:].tolist() == [State.UNKNOWN_DOSE]
