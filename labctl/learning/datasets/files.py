"""Where the files of a data set are, and whether they are the published ones."""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from labctl.errors import UsageError

VARIABLE = "LABCTL_DATA"


def data_folder(data: Path | None, source: str) -> Path:
    """`data`, or the folder that LABCTL_DATA names; raises UsageError, saying where the data are, where none is."""
    if data is None:
        named = os.environ.get(VARIABLE)
        if not named:
            raise UsageError(
                f"no folder of data sets is named: do so with --data DIR or in {VARIABLE}, and get {source}"
            )
        data = Path(named)
        if not data.is_dir():
            raise UsageError(f"{VARIABLE} names {named}, which is not a folder: get {source}")
    if not data.is_dir():
        raise UsageError(f"{data} is not a folder: get {source}")
    return data


def find_file(folders: Iterable[Path], names: Sequence[str], source: str) -> Path:
    """The first file of one of `names` in one of `folders`; raises UsageError where there is none."""
    folders = list(folders)
    for folder in folders:
        for name in names:
            if (folder / name).is_file():
                return folder / name
    where = ", ".join(str(folder) for folder in folders)
    raise UsageError(f"{' or '.join(names)} is missing (looked in {where}): get {source}")


def read_file(path: Path, source: str) -> bytes:
    """What is in `path`, decompressed where it ends in .gz; raises UsageError where it cannot be read whole."""
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as problem:
        what = "a whole .gz file" if path.suffix == ".gz" else "readable"
        raise UsageError(f"{path} is not {what} ({problem}): get {source}") from problem


def sha256(content: bytes) -> str:
    """The sha256 of `content`, in hex."""
    return hashlib.sha256(content).hexdigest()


def check_published(what: Path, found: str, expected: str, source: str) -> None:
    """Raise UsageError unless the sha256 `found` of `what` is the one that was published."""
    if found != expected:
        raise UsageError(
            f"{what} is not what was published (its sha256 is {found[:12]}..., not {expected[:12]}...): get {source}, "
            "or say that it is your own in the same format (--own-data, own=True)"
        )


def digest_of(parts: Iterable[str]) -> str:
    """One sha256 over texts, in their order."""
    return sha256("\n".join(parts).encode())
