"""The last checkpoint of a run is whole at every moment, in whatever state its file is."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from labctl.errors import RecordingError
from labctl.recording import Outcome, RunWriter, layout, read_summary, recover
from labctl.recording.checkpoint import decode, encode, read_checkpoint
from labctl.recording.layout import Commit
from labctl.recording.pack import pack
from labctl.recording.past import Past
from labctl.recording.reader import opened
from labctl.recording.verify import Verdict, verify
from labctl.steps import Step

StartRun = Callable[..., RunWriter]
START = 1_700_000_000.0


def take(writer: RunWriter, number: int, **arrays: Any) -> None:
    step = Step("form", {"active": number}, checkpoint=arrays)
    writer.step(step, time=START + number, generator=np.random.default_rng(number))


def begun(start_run: StartRun, **checkpoint: Any) -> RunWriter:
    writer = start_run(checkpoints=True)
    take(writer, 1, **checkpoint)
    return writer


def test_arrays_of_any_shape_and_type_come_back(start_run: StartRun) -> None:
    kept = {
        "epoch": np.array(7),
        "loss": 0.5,
        "weights": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
        "transposed": np.arange(6.0).reshape(2, 3).T,
        "mask": np.eye(3, dtype=bool),
        "moments": np.zeros((0, 5)),
        "file": np.array([1 + 2j]),
    }
    with begun(start_run, **kept) as writer:
        writer.close(Outcome.FINISHED)
    found = read_checkpoint(writer.path)
    assert found.keys() == kept.keys()
    for name, values in kept.items():
        np.testing.assert_array_equal(found[name], values, strict=name != "loss")
        assert found[name].flags.writeable


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=20)
NUMBERS = st.one_of(arrays_of.boolean_dtypes(), arrays_of.integer_dtypes(), arrays_of.floating_dtypes())


@given(st.dictionaries(NAMES, arrays_of.arrays(NUMBERS, arrays_of.array_shapes(min_dims=0)), max_size=4))
def test_every_name_and_every_array_of_numbers_comes_back(kept: dict[str, np.ndarray]) -> None:
    content = encode(kept, np.random.default_rng(1))
    with h5py.File(io.BytesIO(), "w") as file:
        file["checkpoint/slot_0"] = content
        found = decode(file, Commit(checkpoints=1, checkpoint_bytes=len(content), checkpoint_steps=1))
    assert found.arrays.keys() == kept.keys()
    for name, values in kept.items():
        np.testing.assert_array_equal(found.arrays[name], values, strict=True)


def test_the_last_one_counts_whatever_their_sizes(start_run: StartRun) -> None:
    with start_run(checkpoints=True) as writer:
        for number, size in enumerate((10, 300_000, 20, 900_000, 30, 40)):
            take(writer, number, weights=np.full(size, number, np.float32))
            np.testing.assert_array_equal(read_checkpoint(writer.path)["weights"], np.full(size, number))
        writer.step(Step("form"), time=START + 10)
        writer.close(Outcome.FINISHED)
    np.testing.assert_array_equal(read_checkpoint(writer.path)["weights"], np.full(40, 5))
    assert verify(writer.path).verdict is Verdict.WHOLE
    with opened(writer.path) as (file, commit):
        assert commit.checkpoint_steps == 6
        assert {name: file["checkpoint"][name].shape for name in layout.SLOTS} == {
            "slot_0": (0,),
            "slot_1": (commit.checkpoint_bytes,),
        }


def test_other_programs_read_it(start_run: StartRun) -> None:
    with begun(start_run, weights=np.arange(5.0)) as writer:
        writer.close(Outcome.FINISHED)
    with h5py.File(writer.path) as file:
        content = file["checkpoint/slot_0"][:].tobytes()
    with np.load(io.BytesIO(content)) as archive:
        assert set(archive.files) == {"weights", "generator.json"}
        np.testing.assert_array_equal(archive["weights"], np.arange(5.0))
        assert json.loads(archive["generator.json"])["state"]["bit_generator"] == "PCG64"


def test_the_generator_goes_on_where_it_stood(start_run: StartRun) -> None:
    generator = np.random.default_rng(11)
    generator.random(7, np.float32)
    generator.spawn(2)
    with start_run(checkpoints=True) as writer:
        writer.step(Step("form", checkpoint={"a": np.zeros(1)}), time=START, generator=generator)
    with opened(writer.path) as (file, commit):
        again = decode(file, commit).generator(11)
    expected, spawned = generator.random(9, np.float32), generator.spawn(1)[0].random(3)
    np.testing.assert_array_equal(again.random(9, np.float32), expected)
    np.testing.assert_array_equal(again.spawn(1)[0].random(3), spawned)


def test_it_outlives_recovery_and_packing(start_run: StartRun, tmp_path: Path) -> None:
    with begun(start_run, weights=np.arange(100_000.0)) as writer:
        take(writer, 2, weights=np.zeros(50_000))
        writer.close(Outcome.FINISHED)
    recover(writer.path, tmp_path / "recovered.h5")
    packed = pack(writer.path)
    assert packed.ratio < 0.5
    for path in (writer.path, tmp_path / "recovered.h5"):
        np.testing.assert_array_equal(read_checkpoint(path)["weights"], np.zeros(50_000))
        assert verify(path).verdict is Verdict.WHOLE


@pytest.mark.parametrize(
    ("checkpoint", "said"),
    [
        ({"names": np.array(["a", None], object)}, "'names', which is no array of numbers"),
        ({"": np.zeros(2)}, "'', which is no array"),
    ],
)
def test_what_is_no_array_of_numbers_is_refused(start_run: StartRun, checkpoint: dict[str, Any], said: str) -> None:
    with start_run(checkpoints=True) as writer, pytest.raises(RecordingError, match=said):
        take(writer, 1, **checkpoint)


def test_a_protocol_that_declares_none_is_refused_one(start_run: StartRun) -> None:
    with start_run() as writer, pytest.raises(RecordingError, match="did not declare that its steps have checkpoints"):
        take(writer, 1, weights=np.zeros(3))


def test_a_run_without_one_says_so(start_run: StartRun) -> None:
    for writer in (start_run("none_yet.h5", checkpoints=True), start_run("none.h5")):
        with writer, pytest.raises(RecordingError, match="has no checkpoint"):
            read_checkpoint(writer.path)


def test_one_that_rotted_is_noticed(start_run: StartRun) -> None:
    with begun(start_run, weights=np.arange(5000.0)) as writer:
        writer.close(Outcome.FINISHED)
    with h5py.File(writer.path, "r+") as file:
        file["checkpoint/slot_0"][20_000] ^= 1
    assert any("its checkpoint cannot be read" in finding.text for finding in verify(writer.path).findings)
    with pytest.raises(RecordingError, match="its checkpoint cannot be read"):
        read_checkpoint(writer.path)


def test_one_that_is_not_there_is_noticed(start_run: StartRun) -> None:
    with begun(start_run, weights=np.arange(5000.0)) as writer:
        writer.close(Outcome.FINISHED)
    with h5py.File(writer.path, "r+") as file:
        file["checkpoint/slot_0"].resize((100,))
    assert "checkpoint/slot_0 has 100 rows, but" in str(verify(writer.path).findings)
    for part, said in (("checkpoint/slot_0", "checkpoint/slot_0 is missing"), ("checkpoint", "checkpoint is missing")):
        with h5py.File(writer.path, "r+") as file:
            del file[part]
        assert said in str(verify(writer.path).findings)
        with pytest.raises(RecordingError, match="its checkpoint cannot be read"):
            read_checkpoint(writer.path)


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from labctl.array import Geometry, Scale
from labctl.recording import RunWriter
from labctl.recording.live import LiveFile
from labctl.steps import Step

writer = RunWriter.create(
    Path(sys.argv[1]), protocol="p", title="Killed", phases=("only",), variables=(),
    geometry=Geometry(8, 16, "1T1R RRAM"), dac=Scale(1e-3, 0.0, 12, "V"), adc=Scale(1e-7, 0.0, 12, "S"), started=1.7e9,
    provenance={"chip_serial": "C7"}, checkpoints=True,
)
size = int(sys.argv[2])
for number in range(200):
    if number == int(sys.argv[3]):  # all of it is written but the commit
        LiveFile.commit = lambda *_: os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
    checkpoint = {"number": np.array(number), "weights": np.full(size + 100 * number, number, np.float32)}
    writer.step(Step("only", checkpoint=checkpoint), time=1.7e9 + number, generator=np.random.default_rng(0))
"""


@pytest.mark.parametrize("number", [1, 2, 5])
def test_a_kill_leaves_the_last_that_was_committed(tmp_path: Path, number: int) -> None:
    path = tmp_path / "killed.h5"
    subprocess.run([sys.executable, "-c", KILLED, str(path), "30000", str(number)], check=False)
    assert read_summary(path).outcome is Outcome.KILLED
    found = read_checkpoint(path)
    assert found["number"] == number - 1
    np.testing.assert_array_equal(found["weights"], np.full(30_000 + 100 * (number - 1), number - 1))
    assert verify(path).verdict is Verdict.INCOMPLETE
    recover(path, tmp_path / "recovered.h5")
    assert read_checkpoint(tmp_path / "recovered.h5")["number"] == number - 1


def test_it_is_read_whole_while_others_are_written(tmp_path: Path) -> None:
    path = tmp_path / "live.h5"
    command = [sys.executable, "-c", KILLED, str(path), "200000", "190"]
    seen: list[int] = []
    with subprocess.Popen(command) as child:
        while child.poll() is None:
            if not path.exists() or not (seen or read_summary(path).steps):
                continue
            found = read_checkpoint(path)
            seen.append(int(found["number"]))
            assert np.all(found["weights"] == seen[-1])
    assert seen == sorted(seen)
    assert len(set(seen)) > 3


def test_runs_from_before_there_were_checkpoints_are_read_verified_and_gone_on_with(start_run: StartRun) -> None:
    """Their commit record is shorter, and their flags know of neither products nor what was superseded."""
    with start_run() as writer:
        writer.step(Step("form"), time=START)
        writer.close(Outcome.INTERRUPTED)
    path = writer.path
    with h5py.File(path, "r+") as file:
        record = file["commit/record"][:9]
        del file["commit/record"], file["commit/field"]
        scale = file["commit"].create_dataset("field", (9,), "f4", maxshape=(9,), chunks=(9,))
        scale.make_scale("This is a netCDF dimension but not a netCDF variable.         9")
        shorter = file["commit"].create_dataset("record", data=record, chunks=(9,), maxshape=(9,))
        shorter.dims[0].attach_scale(scale)
        for name in ("operations/kind", "operations/asked_by", "steps/asked_by"):
            flags = file[name].attrs
            flags["flag_values"] = flags["flag_values"][:-1]
            flags["flag_meanings"] = flags["flag_meanings"].rpartition(" ")[0]
        file["provenance"].attrs["settings"] = "{}"
    assert verify(path).verdict is Verdict.WHOLE
    assert read_summary(path).steps == 1
    with pytest.raises(RecordingError, match="has no checkpoint"):
        read_checkpoint(path)
    with Past(path) as past:
        again = RunWriter.reopen(
            past, phases=("form", "program"), variables=(), resumption={"first_step": 1, "first_operation": 0}
        )
    again.record_product(3, time=START + 1)
    again.step(Step("program"), time=START + 2)
    again.close(Outcome.FINISHED)
    found = verify(path)
    assert found.verdict is Verdict.WHOLE, found.findings
    with h5py.File(path) as file:
        assert file["operations/kind"][:].tolist() == [layout.MULTIPLY]
        assert file["operations/repeats"][:].tolist() == [3]
