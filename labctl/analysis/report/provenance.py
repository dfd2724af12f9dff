"""Where a run's numbers come from: versions, source, what instruments were set to before and after, resumptions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from labctl.analysis.figures.panels import BLUE
from labctl.analysis.report.content import Axis, Block, Chart, Series, Table, Terms
from labctl.analysis.report.material import Run
from labctl.analysis.report.words import count, number, quantity, spoken

_LEFT_OUT = {
    "labctl_version",
    "labctl_commit",
    "labctl_dirty",
    "operator",
    "chip_serial",
    "seed",
    "command",
    "host",
} | {
    "bench_name",
    "array",
    "measurement",
    "wall_time_start",
}
"""Attributes that stand elsewhere on the page, or among the first lines here."""
_NESTED = {"snapshot_before", "snapshot_after", "bench", "packages", "summary"}
"""Of a resumption, what is too long for a column."""
_MOST_POINTS = 500


def provenance(run: Run) -> list[Block]:
    dirty = str(run.summary.attributes.get("labctl_dirty", ""))
    size = run.path.stat().st_size
    attributes = [(spoken(name), str(value)) for name, value in run.summary.attributes.items() if name not in _LEFT_OUT]
    lines = (
        ("file", f"{run.path.name}, {size / 1e6:,.1f} MB" if size >= 1e5 else f"{run.path.name}, {size:,} bytes"),
        ("labctl", run.attribute("labctl_version")),
        ("commit", run.attribute("labctl_commit")),
        ("changes in no commit", {"True": "yes", "False": "none"}.get(dirty, dirty)),
        *((f"package {name}", str(version)) for name, version in run.packages.items()),
        ("checksums", _checksums(run)),
        *attributes,
    )
    found: list[Block] = [Terms("Software and file", lines)]
    changed = list(_differences(run.snapshot_before, run.snapshot_after)) if run.snapshot_after else []
    if run.snapshot_before:
        found.append(_snapshots(run, changed))
    if run.resumptions:
        found.append(_history(run))
    settings = [(path, _short(value)) for path, value in _flat(run.snapshot_before)]
    if settings:
        found.append(
            Table(
                f"Snapshot before the run: {count(len(settings), 'entry', 'entries')}",
                ("entry", "value"),
                settings,
                folded=True,
            )
        )
    return found


def around(run: Run) -> list[Block]:
    """What instruments beside the array read during the run."""
    if "auxiliaries" not in run.tree.children:
        return []
    samples = run.group("auxiliaries")
    if not samples.sizes["sample"]:
        return []
    time = (samples["time"].values - samples["time"].values[0]) / np.timedelta64(1, "s")
    rows, charts = [], []
    for name, each in samples.data_vars.items():
        if name == "time":
            continue
        values, unit = each.values.astype(np.float64), str(each.attrs.get("units", ""))
        known = values[np.isfinite(values)]
        ends = (
            [quantity(float(end), unit, 5) for end in (known.min(), known.mean(), known.max())]
            if known.size
            else ["–"] * 3
        )
        rows.append((spoken(str(name)), *ends, f"{known.size:,}", f"{len(values) - known.size:,}"))
        if known.size > 1:
            charts.append(_over_time(spoken(str(name)), unit, time, values))
    head = ("quantity", "lowest", "mean", "highest", "samples", "missed")
    return [Table("Auxiliaries", head, rows, (1, 2, 3, 4, 5)), *charts]


def _over_time(name: str, unit: str, time: np.ndarray, values: np.ndarray) -> Chart:
    shown = np.unique(np.linspace(0, len(values) - 1, min(_MOST_POINTS, len(values))).astype(int))
    line = Series("line", time[shown], values[shown], name, colour=BLUE)
    told = f"{name} over {time[-1]:.4g} s, {len(values)} samples."
    label = f"{name} ({unit})" if unit not in ("", "1") else name
    return Chart(name, Axis("time since the first sample (s)"), Axis(label), [line], told)


def _checksums(run: Run) -> str:
    """Of how many datasets the file keeps the SHA-256."""
    stored = run.group("provenance").get("checksums")
    if stored is None:
        return ""
    return "SHA-256 of every dataset, in the file" if stored.size else ""


def _snapshots(run: Run, changed: list[tuple[str, str, str]]) -> Block:
    if not run.snapshot_after:
        return Terms("Instruments before and after", (("after the run", "no snapshot was taken"),))
    if not changed:
        return Terms("Instruments before and after", (("difference", "none"),))
    title = f"Instruments before and after: {count(len(changed), 'difference')}"
    return Table(title, ("entry", "before", "after"), changed)


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    first, second = dict(_flat(before)), dict(_flat(after))
    for path in dict.fromkeys([*first, *second]):
        if first.get(path) != second.get(path):
            yield path, _short(first.get(path, "–")), _short(second.get(path, "–"))


def _history(run: Run) -> Table:
    """One column a resumption, of what each says of itself; what instruments were set to aside."""
    entries = [dict(_flat(_without_nested(each))) for each in run.resumptions]
    names = list(dict.fromkeys(name for each in entries for name in each))
    rows = [(spoken(name), *(_short(each.get(name, "–")) for each in entries)) for name in names]
    return Table("Resumed", ("", *(f"{number} of {len(entries)}" for number in range(1, len(entries) + 1))), rows)


def _without_nested(content: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _without_nested(value) if isinstance(value, Mapping) else value
        for name, value in content.items()
        if name not in _NESTED
    }


def _flat(content: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in content.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{within}{name} › ")
        else:
            yield f"{within}{name}", value


def _short(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        text = str(value)
        return text if len(text) <= 300 else f"{text[:300]}…"
    return number(float(value), 8)
