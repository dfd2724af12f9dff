"""Compresses the file of a run that has ended, for the archive: the same layout and values in fewer bytes.

A run is written without compression, as appending to compressed chunks loses rows in a kill, and recorders are in a
hurry. Nobody is afterwards.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import h5py
import msgspec
import numpy as np

from labctl.errors import RecordingError
from labctl.recording import names, skeleton
from labctl.recording.checksums import UNCHECKED, checksums
from labctl.recording.full_disks import file_for_hdf5
from labctl.recording.layout import Commit, Outcome
from labctl.recording.reader import opened, text
from labctl.recording.recover import copy_run

_FILTERS = {"compression": "gzip", "compression_opts": 4, "shuffle": True}
"""What every HDF5 and netCDF library reads."""


@dataclass(frozen=True, slots=True)
class Packed:
    """The packed file at `path`, and what it took before and takes now. replaced: whether there is anything new at
    `path`: a file that packing would not make smaller stays as it is.
    """

    path: Path
    bytes_before: int
    bytes_after: int
    replaced: bool

    @property
    def ratio(self) -> float:
        return self.bytes_after / self.bytes_before


def pack(path: Path, to: Path | None = None, *, overwrite: bool = False) -> Packed:
    """Compress the run at `path` into the new file `to`, or in place.

    Every value and attribute is read back and compared before the file has its name. Raises RecordingError where the
    run goes on or was killed (recover it first), where its values are not those that were recorded, and where `to`
    exists and not `overwrite`.
    """
    target = to or path
    if to is not None and to.exists() and not overwrite:
        raise RecordingError(f"{to} exists already: choose another name, or say --force")
    try:
        with opened(path) as (source, commit):
            _refuse_unended(path, source, commit)
            lock = names.hold(path)
            try:
                return _pack(path, source, commit, target)
            finally:
                names.let_go(path, lock)
    except (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else error
        raise RecordingError(f"cannot pack {path} into {target}: {reason}") from error


def _pack(path: Path, source: h5py.File, commit: Commit, target: Path) -> Packed:
    part = target.with_name(target.name + ".part")
    try:
        with file_for_hdf5(part) as disk, h5py.File(disk, "w", libver=skeleton.LIBVER) as copy:
            copy_run(source, copy, commit, with_end=True, filters=_FILTERS)
        _compare(path, source, part)
        before, after = path.stat().st_size, part.stat().st_size
        if target == path and after >= before:
            return Packed(path, before, before, replaced=False)
        shutil.copymode(path, part)
        source.close()  # or Windows would not let it be replaced
        os.replace(part, target)
        return Packed(target, before, after, replaced=True)
    finally:
        part.unlink(missing_ok=True)


def _refuse_unended(path: Path, source: h5py.File, commit: Commit) -> None:
    """A recovered run is one that was killed, but has ended."""
    if commit.outcome is Outcome.LIVE:
        raise RecordingError(f"{path} is being written: pack it once it has ended")
    if text(source.attrs["outcome"]) == Outcome.RUNNING:
        raise RecordingError(f"{path} was killed: resume it, or make a whole file of it with `labctl runs recover`")


def _compare(path: Path, source: h5py.File, part: Path) -> None:
    """That the copy on the disk holds what the source does, and that this is what was recorded."""
    values = checksums(source)
    recorded = _recorded(source)
    if changed := sorted(name for name in recorded if values.get(name) != recorded[name]):
        raise RecordingError(f"{path} is damaged: {changed[0]} is not as recorded; `labctl runs verify` says more")
    with h5py.File(part, "r") as copy:
        same = checksums(copy) == values and all(_same_dataset(source, copy, name) for name in UNCHECKED)
        if not same or _attributes(source) != _attributes(copy):
            raise RecordingError(f"{path} was not packed: the copy on the disk does not hold the same")


def _recorded(source: h5py.File) -> dict[str, str]:
    """None in runs from before there were any."""
    if "provenance/checksums" not in source:
        return {}
    text = source["provenance/checksums"][:].tobytes()
    return msgspec.json.decode(text, type=dict[str, str]) if text else {}


def _same_dataset(source: h5py.File, copy: h5py.File, name: str) -> bool:
    if name not in source:
        return name not in copy
    return bool(np.array_equal(source[name][:], copy[name][:]))


def _attributes(file: h5py.File) -> dict[tuple[str, str], bytes]:
    """Every attribute but HDF5's own references, by object and name."""
    found: dict[tuple[str, str], bytes] = {}

    def note(name: str, item: h5py.HLObject) -> None:
        for each, value in item.attrs.items():
            if each not in ("DIMENSION_LIST", "REFERENCE_LIST"):
                plain = np.asarray(value)
                found[name, each] = repr(plain.tolist()).encode() if plain.dtype.kind == "O" else plain.tobytes()

    note("/", file)
    file.visititems(note)
    return found
