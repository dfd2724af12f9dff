"""Tags and notes that people put on runs, in a small JSON file beside each: what was recorded is never touched."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
from filelock import FileLock, Timeout

from labctl.errors import NoRunError, RecordingError, UsageError

SUFFIX = ".tags.json"

_LOCK = ".labctl-tags.lock"  # of a whole folder: no litter beside every run
_PATIENCE_S = 10.0


class Tags(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What people said of a run. tags: sorted, each once."""

    tags: tuple[str, ...] = ()
    note: str = ""


def tags_path(run: Path) -> Path:
    """The file of the tags of the run at `run`."""
    return run.with_name(run.stem + SUFFIX)


def read_tags(run: Path) -> Tags:
    """The tags of the run at `run`, none where nobody gave it any. Raises RecordingError where they cannot be read."""
    path = tags_path(run)
    try:
        return decode_tags(path.read_bytes())
    except FileNotFoundError:
        return Tags()
    except (OSError, msgspec.MsgspecError) as error:
        raise RecordingError(f"{path} does not hold the tags of a run: {error}") from error


def decode_tags(content: bytes) -> Tags:
    """Raises msgspec.MsgspecError for what is none."""
    return msgspec.json.decode(content, type=Tags)


def tag_run(run: Path, *, add: Iterable[str] = (), remove: Iterable[str] = (), note: str | None = None) -> Tags:
    """Give the run at `run` some tags, take others away, and say a `note` of it (""; none); what it has then.

    Safe with several processes at once. Raises UsageError for a tag that cannot be one, NoRunError where there is no
    file, RecordingError where the tags cannot be written or somebody spoilt the file of those that are there.
    """
    added, removed = set(add), set(remove)
    for tag in added:
        if not tag or tag != "".join(tag.split()) or not tag.isprintable() or "," in tag:
            raise UsageError(f"{tag!r} cannot be a tag: write one word without spaces or commas, like good-chip")
    if not run.is_file():
        raise NoRunError(f"there is no file {run}")
    with _locked(run.parent):
        now = read_tags(run)
        then = Tags(tuple(sorted((set(now.tags) | added) - removed)), now.note if note is None else note.strip())
        if then != now:
            _replace(tags_path(run), then)
    return then


def _replace(path: Path, tags: Tags) -> None:
    """Whole or not at all."""
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(msgspec.json.format(msgspec.json.encode(tags)) + b"\n")
        os.replace(part, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise RecordingError(f"cannot write {path}: {error.strerror}") from error


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire(timeout=_PATIENCE_S)
    except Timeout:
        raise RecordingError(f"somebody else has been changing the tags in {folder} for {_PATIENCE_S:g} s") from None
    except OSError as error:
        raise RecordingError(f"cannot write into {folder}: {error.strerror}") from error
    try:
        yield
    finally:
        lock.release()
