"""Copies the file of a killed run into an ordinary one that every HDF5 and netCDF tool opens."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py

from labctl.errors import RecordingError
from labctl.recording import layout, skeleton
from labctl.recording.checksums import checksums
from labctl.recording.full_disks import file_for_hdf5
from labctl.recording.layout import Commit, Outcome, State
from labctl.recording.reader import opened
from labctl.recording.text import iso_time, json_text

_BLOCK_BYTES = 1 << 24

_SCALE_ATTRIBUTES = frozenset(("CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST"))
"""What HDF5 writes itself when scales are made and attached."""


def recover(path: Path, to: Path, *, overwrite: bool = False) -> None:
    """Copy everything the run at `path` acknowledged into the new file `to`; `path` itself stays as it is.

    The outcome becomes `killed` where the run had none. Pulses with an intent and no outcome are kept as of
    unknown dose. `to` appears whole or not at all. Raises RecordingError where `to` exists and not
    `overwrite`, where `path` is no run file, or is being written.
    """
    if to.exists() and not overwrite:
        raise RecordingError(f"{to} exists already")
    part = to.with_name(to.name + ".part")
    try:
        with opened(path) as (source, commit):
            if commit.outcome is Outcome.LIVE:
                raise RecordingError(f"{path} is being written; it needs no recovery")
            with file_for_hdf5(part) as disk, h5py.File(disk, "w", libver=skeleton.LIBVER) as copy:
                copy_run(source, copy, commit, with_end=commit.outcome is not Outcome.KILLED)
                _settle(copy, commit)
                skeleton.write_text(copy["provenance"], "checksums", json_text(checksums(copy)))
        os.replace(part, to)
    except (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError) as error:
        raise RecordingError(f"cannot recover {path} to {to}: {error}") from error
    finally:
        part.unlink(missing_ok=True)


def copy_run(
    source: h5py.File, copy: h5py.File, commit: Commit, *, with_end: bool, filters: Mapping[str, Any] | None = None
) -> None:
    """Every group and dataset of a run file, columns cut to what was intended; what its end brought left out or not.

    filters: h5py's names of what compresses the datasets that are chunked; as in `source` where None.
    """
    lengths = {"event": commit.events_intended, "operation": commit.operations_intended}
    lengths |= {"step": commit.steps, "sample": commit.samples}
    lengths |= {f"{slot}_bytes": size for slot, size in commit.slot_bytes.items()}
    if not with_end:
        lengths |= {f"{name}_bytes": 0 for name in layout.TEXTS}
    _copy_attributes(source, copy)
    for group in source.values():
        if group.name == "/results" and not with_end:
            continue
        target = copy.create_group(group.name)
        _copy_attributes(group, target)
        for dataset in group.values():
            _copy_dataset(dataset, target, lengths, filters or {})
        for dataset in group.values():
            _attach_scales(dataset, target)


def _settle(copy: h5py.File, commit: Commit) -> None:
    """Nobody will ever say what became of the last intent: its pulses count, and are of unknown dose."""
    copy["operations/state"][commit.operations :] = State.UNKNOWN_DOSE
    lost = 0 if layout.is_associative(copy.attrs) else commit.events_intended - commit.events
    settled = commit._replace(
        operations=commit.operations_intended,
        events=commit.events_intended,
        pulses=commit.pulses + lost,
    )
    skeleton.write_commit(copy, settled)
    skeleton.set_text_attribute(copy, "outcome", commit.outcome.value)
    skeleton.set_text_attribute(copy, "ended", iso_time(commit.ended))


def _copy_attributes(source: h5py.HLObject, target: h5py.HLObject) -> None:
    for name in source.attrs.keys() - _SCALE_ATTRIBUTES:
        attribute = source.attrs.get_id(name)
        target.attrs.create(name, source.attrs[name], attribute.shape, attribute.dtype)


def _copy_dataset(
    dataset: h5py.Dataset, group: h5py.Group, lengths: Mapping[str, int], filters: Mapping[str, Any]
) -> None:
    """The rows that count, with the same type, chunks and fill."""
    scale = dataset if dataset.is_scale else dataset.dims[0][0]
    rows = lengths.get(_name(scale), len(dataset))
    kept = filters if dataset.chunks and not skeleton.is_dimension_only(dataset) else {}
    target = group.create_dataset_like(_name(dataset), dataset, shape=(rows, *dataset.shape[1:]), **kept)
    _copy_attributes(dataset, target)
    if dataset.is_scale:
        target.make_scale(dataset.attrs["NAME"])
    if not skeleton.is_dimension_only(dataset):
        row_bytes = dataset.dtype.itemsize * math.prod(dataset.shape[1:])
        height = max(1, _BLOCK_BYTES // row_bytes)
        for first in range(0, rows, height):
            block = slice(first, min(rows, first + height))
            target[block] = dataset[block]


def _attach_scales(dataset: h5py.Dataset, group: h5py.Group) -> None:
    target = group[_name(dataset)]
    for axis, dimension in enumerate(dataset.dims):
        for scale in dimension.values():
            target.dims[axis].attach_scale(group[_name(scale)])


def _name(item: h5py.HLObject) -> str:
    """The last part of its path."""
    return str(item.name).rpartition("/")[2]
