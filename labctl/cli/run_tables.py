"""Runs as a person reads them: lists, one run in full, what differs between two, what is wrong with one."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from labctl.cli.console import print_json, print_table
from labctl.recording.catalogue import Catalogue, Entry, Tags, read_tags
from labctl.recording.nested import flat, read_nested
from labctl.recording.reader import opened, summarise, whole
from labctl.recording.results import described
from labctl.recording.text import iso_time

if TYPE_CHECKING:
    from labctl.recording.differences import Differences
    from labctl.recording.verify import Verified

_MANY = 500  # files that take long enough to read for a person to wonder
_WIDEST = 48  # characters of a value in a comparison
_LONG = 600  # characters of a table within a summary
_MOST_ROWS = 40  # of one table in a comparison
_OTHER_NAMES = {"pulses": "all pulses", "unknown_dose": "of unknown dose"}


def say_that_it_reads(done: int, total: int) -> None:
    """The first look at a large folder takes a while."""
    if done == 1 and total >= _MANY:
        click.echo(f"labctl: reading {total:,} run files that are new here; the next time is quick", err=True)


def print_entries(entries: Sequence[Entry], catalogue: Catalogue | None, *, as_json: bool) -> None:
    """Runs as a table or as JSON on stdout; on stderr how many files could not be read."""
    if as_json:
        print_json([_values(entry) for entry in entries])
    elif entries and catalogue:
        has_tags = any(entry.tags for entry in entries)
        header: tuple[str, ...] = ("run", "protocol", "chip", "outcome", "in window", "all pulses", "started")
        rows = [_row(entry, catalogue.folder) for entry in entries]
        if has_tags:
            header, rows = (*header, "tags"), [(*row, " ".join(e.tags)) for row, e in zip(rows, entries, strict=True)]
        print_table(rows, header)
    if catalogue and catalogue.damaged:
        count = len(catalogue.damaged)
        files = "1 file that cannot be read" if count == 1 else f"{count:,} files that cannot be read"
        click.echo(f"labctl: passed over {files}: labctl runs verify {catalogue.folder} says why", err=True)


def print_run(path: Path, *, as_json: bool) -> None:
    """One run in full, read from its file. Raises RecordingError for what is none."""
    with opened(path) as (file, commit), whole(path):
        run, nested, results = summarise(path, file, commit), read_nested(file), described(file)
    tags = read_tags(path)
    settings, resumptions = nested.get("settings", {}), nested.get("resumptions", [])
    if as_json:
        beside = {"tags": list(tags.tags), "note": tags.note, "resumptions": resumptions, "settings": settings}
        print_json({**asdict(run), **beside, "results": results})
        return
    found = asdict(run)
    attributes, summary = found.pop("attributes"), found.pop("summary")
    own = {_OTHER_NAMES.get(name, name): value for name, value in found.items()}
    told = {"pulses, by the protocol" if name == "pulses" else name: _brief(value) for name, value in summary.items()}
    rows = [(name.replace("_", " "), value) for name, value in {**own, **attributes, **told}.items()]
    rows += [*shown_tags(tags), *(("resumed", _resumption(each)) for each in resumptions)]
    rows += [(f"result {name}", _result(each)) for name, each in results.items()]
    rows += [(f"setting {name}", _short(value)) for name, value in flat(settings).items()]
    print_table([(name, value) for name, value in rows if value not in ("", None)])


def _brief(value: Any) -> Any:
    """A table or list within a summary, where that is no reading any more, by how much of it there is."""
    if isinstance(value, dict | list) and len(str(value)) > _LONG:
        return f"{len(value)} entries (--json)"
    return value


def shown_tags(tags: Tags) -> list[tuple[str, str]]:
    """Rows of a table; none for what nobody said."""
    return [(name, said) for name, said in (("tags", " ".join(tags.tags)), ("note", tags.note)) if said]


def print_differences(found: Differences, paths: tuple[Path, Path]) -> None:
    """What differs, side by side."""
    if not found:
        click.echo("nothing differs but the names of the files", err=True)
        return
    rows: list[Sequence[str]] = []
    for section, differing in found.items():
        counts = Counter(path.partition(".")[0] for path in differing)
        large = {table: count for table, count in counts.items() if count > _MOST_ROWS}
        rows += [
            (f"{section} {path}", *(_short(value, path) for value in pair))
            for path, pair in differing.items()
            if path.partition(".")[0] not in large
        ]
        rows += [(f"{section} {table}", f"{count} values differ (--json)", "") for table, count in large.items()]
    print_table(rows, ("", *(path.name for path in paths)))


def print_verified(verified: Verified) -> None:
    """One line for a run, and one for each thing that is wrong with it."""
    said = f", {verified.outcome}" if verified.outcome else ""
    click.echo(f"{verified.verdict:<10}  {verified.path}{said}")
    for finding in verified.findings:
        click.echo(f"{'':<10}  {finding.severity}: {finding.text}")


def verified_values(verified: Verified) -> dict[str, Any]:
    """As JSON has it."""
    return {
        "run": str(verified.path),
        "verdict": verified.verdict,
        "outcome": verified.outcome,
        "findings": [asdict(finding) for finding in verified.findings],
    }


def _row(entry: Entry, folder: Path) -> tuple[str, ...]:
    share = entry.summary.get("fraction_in_window")
    return (
        str(entry.path.relative_to(folder)),
        entry.protocol,
        entry.chip_serial,
        f"{entry.outcome}, replayed" if entry.attributes.get("replay_of") else entry.outcome,
        f"{share:.2%}" if isinstance(share, int | float) else "",
        f"{entry.pulses:,}",
        _wall_clock(entry.started),
    )


def _values(entry: Entry) -> dict[str, Any]:
    return {**msgspec.structs.asdict(entry), "path": str(entry.path), "started": iso_time(entry.started)}


def _wall_clock(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _resumption(said: dict[str, Any]) -> str:
    """When, after how much, and how far back it went."""
    operations, steps = said.get("first_operation"), said.get("superseded_steps")
    after = f", after {operations:,} operations" if isinstance(operations, int) else ""
    back = f", {steps:,} steps back to its checkpoint" if isinstance(steps, int) else ""
    return f"{said.get('wall_time_start', '')}{after}{back}"


def _result(said: dict[str, Any]) -> str:
    """What it is, of what size."""
    sizes = " x ".join(f"{size:,} {name}" for name, size in zip(said["dims"], said["shape"], strict=True))
    return f"{said['long_name']}, {sizes}"


def _short(value: Any, path: str = "") -> str:
    """A value in a table: its beginning, where it is long."""
    text = "" if value is None else str(value)
    widest = 12 if path.endswith("sha256") else _WIDEST
    return text if len(text) <= widest else f"{text[: widest - 3]}..."
