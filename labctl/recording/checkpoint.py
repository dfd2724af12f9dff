"""Checkpoints of a run: the arrays its protocol goes on from, as the bytes of an `.npz` file in the run file.

Of every program that reads `.npz`: a ZIP archive with a member `NAME.npy` an array. One member more, `generator.json`,
says how the random generator stood.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from labctl.errors import RecordingError
from labctl.recording import layout
from labctl.recording.layout import Commit, Outcome
from labctl.recording.reader import opened

_GENERATOR = "generator.json"
_ENDING = ".npy"
_LOOKS = 5
"""At a file that is being written, whose checkpoints may be overwritten while they are read."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """arrays: by the names the protocol gave them. steps: of the run, up to the one that it was recorded with."""

    arrays: dict[str, NDArray[Any]]
    steps: int
    _generator: dict[str, Any]

    def generator(self, seed: int) -> np.random.Generator:
        """That of a run with this `seed`, as it was then."""
        sequence = np.random.SeedSequence(seed, n_children_spawned=int(self._generator["spawned"]))
        generator = np.random.default_rng(sequence)
        generator.bit_generator.state = self._generator["state"]
        return generator


def read_checkpoint(path: str | Path) -> dict[str, NDArray[Any]]:
    """The arrays of the last checkpoint of the run at `path`, finished, going on or killed.

    Raises RecordingError where it has none, and for what is not a run file.
    """
    path = Path(path)
    for look in range(_LOOKS):
        with opened(path) as (file, commit):
            if not commit.checkpoints:
                raise RecordingError(f"{path} has no checkpoint")
            try:
                return decode(file, commit).arrays
            except ValueError:
                if commit.outcome is not Outcome.LIVE or look == _LOOKS - 1:
                    raise RecordingError(f"{path} is not a whole run file: its checkpoint cannot be read") from None
    raise AssertionError


def encode(arrays: Mapping[str, NDArray[Any]], generator: np.random.Generator) -> NDArray[np.uint8]:
    """The bytes of a checkpoint. Raises RecordingError where something in it is no array of numbers."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for name, values in arrays.items():
            array = np.asanyarray(values)
            if array.dtype.hasobject or not isinstance(name, str) or not name:
                raise RecordingError(f"the checkpoint holds {name!r}, which is no array of numbers with a name")
            with archive.open(name + _ENDING, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
        archive.writestr(_GENERATOR, json.dumps(_state(generator)))
    return np.frombuffer(content.getbuffer(), np.uint8)


def decode(file: h5py.File, commit: Commit) -> Checkpoint:
    """The last checkpoint of an open `file`, of which there is one. Raises ValueError where it is damaged."""
    slot = layout.SLOTS[(commit.checkpoints - 1) % len(layout.SLOTS)]
    try:
        stored = file["checkpoint"][slot][: commit.checkpoint_bytes]
        with zipfile.ZipFile(io.BytesIO(stored)) as archive:
            generator = json.loads(archive.read(_GENERATOR))
            names = [name for name in archive.namelist() if name.endswith(_ENDING)]
            arrays = {name.removesuffix(_ENDING): _array(archive, name) for name in names}
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError, OSError, NotImplementedError) as problem:
        raise ValueError(f"its checkpoint cannot be read: {problem}") from problem
    return Checkpoint(arrays, commit.checkpoint_steps, generator)


def _array(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    """A copy that may be written to. The archive checks each member's own checksum once it is read to its end."""
    with archive.open(name) as member:
        array: NDArray[Any] = np.lib.format.read_array(member, allow_pickle=False)
        if member.read(1):
            raise ValueError(f"{name} is longer than its array")
    return array


def _state(generator: np.random.Generator) -> dict[str, Any]:
    """How `generator` stands, and how many others were spawned from its seed."""
    spawned = getattr(generator.bit_generator.seed_seq, "n_children_spawned", 0)
    return {"state": generator.bit_generator.state, "spawned": spawned}
