"""What differs between two runs: settings, provenance, packages, the state of the instruments, results."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labctl.recording.checksums import checksum
from labctl.recording.nested import flat, plain, read_nested
from labctl.recording.reader import opened, summarise, whole
from labctl.recording.results import described

Differences = dict[str, dict[str, tuple[Any, Any]]]
"""Section to path to what stands there in each of the two runs; None where nothing does."""


def differences(one: str | Path, other: str | Path) -> Differences:
    """Sections `run`, `settings`, `provenance`, `packages`, `bench`, `snapshot`, `summary` and `results`, less what is
    the same.

    Nested values under the paths that lead to them; arrays by shape, type and SHA-256. Raises RecordingError for what
    is not a run file.
    """
    sections = _sections(Path(one)), _sections(Path(other))
    return {name: found for name in sections[0] if (found := _differing(sections[0][name], sections[1][name]))}


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    names = [*one, *(name for name in other if name not in one)]
    return {name: (one.get(name), other.get(name)) for name in names if one.get(name) != other.get(name)}


def _sections(path: Path) -> dict[str, Mapping[str, Any]]:
    with opened(path) as (file, commit), whole(path):
        run = summarise(path, file, commit)
        nested, results = read_nested(file), described(file)
        for name, each in results.items():
            each["sha256"] = checksum(file["results"][name])
    own = {"protocol": run.protocol, "outcome": run.outcome.value, "message": run.message}
    counts = {"steps": run.steps, "operations": run.operations, "events": run.events, "pulses": run.pulses}
    doubt = {"unknown_dose": run.unknown_dose, "unsettled": run.unsettled}
    return {
        "run": {**own, "rows": run.rows, "cols": run.cols, **counts, **doubt},
        "settings": flat(nested.get("settings", {})),
        "provenance": {name: plain(item) for name, item in run.attributes.items()},
        "packages": flat(nested.get("packages", {})),
        "bench": flat(nested.get("bench", {})),
        "snapshot": flat(nested.get("snapshot_before", {})),
        "summary": flat(run.summary),
        "results": flat(results),
    }
