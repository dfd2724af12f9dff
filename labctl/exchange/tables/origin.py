"""What an exported file says of where it comes from: the run, what was known of it, and who exported it."""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from labctl import __version__
from labctl.exchange.tables.runs import OpenRun
from labctl.recording.layout import Outcome
from labctl.recording.reader import text
from labctl.recording.text import iso_time, json_text

_FILES_OWN = {"Conventions", "NX_class", "default", "format", "format_version"}
"""Attributes that are about the run file as a file."""
_TEXTS = ("message", "summary", "snapshot_after")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where exported values come from.

    flat: text and numbers by name, for search: the run's own attributes, `source_file`, its SHA-256 and size (of a live
    run neither, as it grows), `exported_by` and `exported`. nested: settings, bench, snapshots, packages and what the
    protocol returned, plain JSON values by name.
    """

    flat: dict[str, Any]
    nested: dict[str, Any]

    @property
    def history(self) -> str:
        """The line that CF asks for."""
        return f"{self.flat['exported']} {self.flat['exported_by']} export of {self.flat['source_file']}"

    def as_json(self) -> str:
        return json_text({**self.flat, "provenance": self.nested})

    def texts(self) -> dict[str, str]:
        """The nested part, each as JSON text."""
        return {name: json_text(value) for name, value in self.nested.items()}


def origin_of(run: OpenRun) -> Origin:
    """Reads the whole file once, for its digest."""
    attributes = {str(name): _plain(value) for name, value in run.tree.attrs.items() if name not in _FILES_OWN}
    flat = {
        **attributes,
        "source_file": run.path.name,
        **({} if run.commit.outcome is Outcome.LIVE else _digest(run.path)),
        "exported_by": f"labctl {__version__}",
        "exported": iso_time(dt.datetime.now(dt.UTC).timestamp()),
    }
    return Origin(flat, _nested(run))


def _nested(run: OpenRun) -> dict[str, Any]:
    group = run.file["provenance"]
    found = {name: _decoded(text(group.attrs[name])) for name in group.attrs if name != "NX_class"}
    if run.commit.outcome not in (Outcome.LIVE, Outcome.KILLED):
        for name in _TEXTS:
            content = group[name][:].tobytes().decode()
            found[name] = content if name == "message" else _decoded(content)
    return found


def _decoded(content: str) -> Any:
    return msgspec.json.decode(content) if content else {}


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else text(value)


def _digest(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"source_sha256": digest, "source_bytes": path.stat().st_size}
