"""Checks a run file: its structure, that its rows agree, its checksums, and whether the run is complete."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import msgspec

from labctl.errors import NoRunError, RecordingError
from labctl.recording import layout
from labctl.recording.checkpoint import decode
from labctl.recording.checksums import checksum, checksums
from labctl.recording.consistency import check_rows
from labctl.recording.findings import Finding, Severity, error, warning
from labctl.recording.layout import Commit, Outcome
from labctl.recording.nested import flat
from labctl.recording.reader import opened, text, whole
from labctl.recording.structure import check_structure
from labctl.recording.text import iso_time

_NEEDED = {
    "settings": "what the protocol's settings were",
    "packages": "which versions of packages it was made with",
    "snapshot_before": "what state its instruments were in",
}
"""What `provenance` should have been given at the start."""

_DIGEST = ".sha256"


class Verdict(enum.StrEnum):
    """WHOLE: everything is there and right. INCOMPLETE: what is there is right, but the run was never ended, or is not
    yet. DAMAGED: not to be relied on.
    """

    WHOLE = "whole"
    INCOMPLETE = "incomplete"
    DAMAGED = "damaged"


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found of the file at `path`. outcome: None where it could not be read."""

    path: Path
    outcome: Outcome | None
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        if any(finding.severity is Severity.ERROR for finding in self.findings):
            return Verdict.DAMAGED
        return Verdict.INCOMPLETE if self.outcome in (Outcome.LIVE, Outcome.KILLED) else Verdict.WHOLE


def verify(path: str | Path) -> Verified:
    """Read all of the run at `path`, and say what is wrong with it or missing.

    A file that cannot be read is an error among the findings. Raises NoRunError where there is no file.
    """
    path = Path(path)
    outcome: Outcome | None = None
    findings: list[Finding] = []
    try:
        with opened(path) as (file, commit), whole(path):
            outcome = commit.outcome
            for check in (check_structure, check_rows, _check_checkpoint, _check_checksums, _check_completeness):
                findings += check(file, commit)
    except RecordingError as problem:
        if isinstance(problem, NoRunError) and not path.exists():
            raise
        findings.append(error(str(problem)))
    return Verified(path, outcome, tuple(findings))


def _check_checksums(file: h5py.File, commit: Commit) -> Iterator[Finding]:
    """The values of every dataset, against what they were when the file was closed."""
    group = file["provenance"]
    said = group["checksums"][:].tobytes() if "checksums" in group else b""
    if commit.outcome in (Outcome.LIVE, Outcome.KILLED):
        return
    if not said:
        yield warning("it has no checksums, as an older labctl wrote it: values that changed since would go unnoticed")
        return
    expected, found = msgspec.json.decode(said, type=dict[str, str]), checksums(file)
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            yield error(f"{name} is missing, though it was there when the run ended")
        elif name not in expected:
            yield error(f"{name} was added after the run ended")
        elif found[name] != expected[name]:
            yield error(f"{name} does not hold what was recorded: its checksum is another")


def _check_checkpoint(file: h5py.File, commit: Commit) -> Iterator[Finding]:
    """That a run could go on from it; in a live file it may be overwritten just now."""
    if commit.checkpoints and commit.outcome is not Outcome.LIVE and "checkpoint" in file:
        try:
            decode(file, commit)
        except ValueError as problem:
            yield error(str(problem))


def _check_completeness(file: h5py.File, commit: Commit) -> Iterator[Finding]:
    """That the run was ended, and that everything it says of itself is there and can be read."""
    provenance = file["provenance"]
    if commit.outcome is Outcome.KILLED:
        yield warning(f"the run was killed{_lost(file, commit)}")
    elif commit.outcome is Outcome.LIVE:
        yield warning("the run is going on")
    else:
        yield from _ended(file, commit)
    for name, what in _NEEDED.items():
        if name not in provenance.attrs:
            yield warning(f"it does not say {what}")
    if not text(file.attrs.get("chip_serial", "")):
        yield warning("it does not say which chip it is of")
    for name, content in provenance.attrs.items():
        if name != "NX_class" and not _is_json(text(content)):
            yield error(f"provenance/{name} is not JSON")
    yield from _arrays(file)


def _lost(file: h5py.File, commit: Commit) -> str:
    """What was under way then, as the end of a sentence."""
    if layout.is_associative(file.attrs):
        lost = commit.unsettled
        return f": nobody can say whether what was under way was done ({lost:,} of its actions)" if lost else ""
    lost = commit.events_intended - commit.events
    return f": nobody can say whether its last {lost:,} pulses were applied" if lost else ""


def _ended(file: h5py.File, commit: Commit) -> Iterator[Finding]:
    """What closing writes."""
    if commit.unsettled:
        yield error(f"the run ended with {commit.unsettled:,} operations of which it does not say what became of them")
    for name, said, committed in (
        ("outcome", text(file.attrs["outcome"]), commit.outcome.value),
        ("ended", text(file.attrs["ended"]), iso_time(commit.ended)),
    ):
        if said != committed:
            yield error(f"the attribute `{name}` says {said}, but {committed} was committed")
    if text(file.attrs["started"]) > iso_time(commit.ended):
        yield error("the run ended before it started")
    for name in ("summary", "snapshot_after"):
        content = file["provenance"][name][:].tobytes()
        if not _is_json(content):
            yield error(f"provenance/{name} is not JSON")
        elif commit.outcome is Outcome.FINISHED and msgspec.json.decode(content) == {}:
            yield warning(f"provenance/{name} is empty")


def _arrays(file: h5py.File) -> Iterator[Finding]:
    """The settings that are arrays, of which the others give shape, type and checksum."""
    settings = flat(msgspec.json.decode(file["provenance"].attrs.get("settings", "{}")))
    for name in (path.removesuffix(_DIGEST) for path in settings if path.endswith(_DIGEST)):
        if "settings" not in file or name not in file["settings"]:
            yield warning(
                f"the setting {name} is known by its checksum alone, so the run cannot be resumed or repeated"
            )
        elif checksum(file["settings"][name]) != settings[name + _DIGEST]:
            yield error(f"settings/{name} is not what the run was given: its checksum is another")


def _is_json(content: Any) -> bool:
    try:
        msgspec.json.decode(content)
    except (msgspec.MsgspecError, TypeError):
        return False
    return True
