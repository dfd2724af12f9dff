"""The whole file of a run that has ended with results, beside the live one that it will replace.

A live file cannot be given datasets. Were it opened for plain writing to get them, a kill would leave it to be opened
by nobody; so it stays as it is until the other one is whole and on the disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import h5py

from labctl.recording import skeleton
from labctl.recording.checksums import checksums
from labctl.recording.full_disks import file_for_hdf5
from labctl.recording.layout import Commit
from labctl.recording.recover import copy_run
from labctl.recording.results import add_results
from labctl.recording.text import iso_time, json_text
from labctl.steps import Result


def write_ended(
    source: h5py.File, part: Path, texts: Mapping[str, str], commit: Commit, results: Mapping[str, Result]
) -> None:
    """Copy the open `source` to the new file `part`, with its `texts`, `results` and outcome. Raises OSError."""
    with file_for_hdf5(part) as disk, h5py.File(disk, "w", libver=skeleton.LIBVER) as copy:
        copy_run(source, copy, commit, with_end=False)
        add_results(copy, results)
        for name, content in texts.items():
            skeleton.write_text(copy["provenance"], name, content)
        skeleton.write_text(copy["provenance"], "checksums", json_text(checksums(copy)))
        skeleton.write_commit(copy, commit)
        skeleton.set_text_attribute(copy, "ended", iso_time(commit.ended))
        skeleton.set_text_attribute(copy, "outcome", commit.outcome.value)
