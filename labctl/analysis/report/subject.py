"""What was done, with which settings; on which chip, by which instruments, within which limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args

import msgspec

from labctl.analysis.report.content import Block, Table, Terms
from labctl.analysis.report.material import Run
from labctl.analysis.report.words import count, duration, moment, number, quantity, spoken
from labctl.errors import UsageError
from labctl.plugins import load_protocol
from labctl.recording.catalogue import read_tags
from labctl.units import Quantity

_MOST = 8  # entries of a list that are all named
_UNITS = {"voltage": "V", "gate": "V", "current": "A", "width": "s", "dose": "Vs", "energy": "J", "conductance": "S"}
"""Of a limit, by what its name ends in."""


def what_was_done(run: Run) -> list[Block]:
    summary = run.summary
    title = f"{summary.title} ({summary.protocol})" if summary.title != summary.protocol else summary.protocol
    took = summary.summary.get("elapsed_s")
    beside = read_tags(run.path)
    terms = Terms(
        "The run",
        (
            ("protocol", title),
            ("kind of measurement", run.kind),
            ("command", run.attribute("command")),
            ("started", moment(run.attribute("wall_time_start"))),
            ("time of the computer", duration(float(took)) if isinstance(took, int | float) else ""),
            ("board's clock", f"{moment(summary.started)} to {moment(summary.ended)}"),
            ("outcome", f"{summary.outcome.value}{f': {summary.message}' if summary.message else ''}"),
            (
                "recorded",
                ", ".join(
                    (
                        count(summary.steps, "step"),
                        count(summary.operations, "operation"),
                        count(summary.events, "event"),
                        *([] if run.recording.is_associative else [count(summary.pulses, "pulse")]),
                    )
                ),
            ),
            ("seed", run.attribute("seed")),
            ("tags", ", ".join(beside.tags)),
            ("note", beside.note),
        ),
    )
    rows = list(_settings(run))
    return [terms, Table("Settings", ("setting", "value"), rows)] if rows else [terms]


def on_what(run: Run) -> list[Block]:
    rows, cols = run.summary.rows, run.summary.cols
    terms = Terms(
        "Chip and bench",
        (
            ("chip", run.attribute("chip_serial")),
            ("array", f"{rows} × {cols} cells of {run.attribute('cell') or run.tree.attrs.get('cell', '?')}"),
            ("tracks", _tracks(run) if run.recording.is_associative else ""),
            ("bench", run.attribute("bench_name")),
            ("array of the bench", run.attribute("array")),
            ("operator", run.attribute("operator")),
            ("computer", run.attribute("host")),
        ),
    )
    found: list[Block] = [terms]
    instruments = list(_instruments(run))
    if instruments:
        head = ("instrument", "*IDN?", "driver", "resource", "is")
        found.append(Table("Instruments", head, instruments))
    limits = list(_limits(run))
    if limits:
        found.append(Table("Limits", ("limit", "value", "of"), limits, (1,)))
    return found


def _tracks(run: Run) -> str:
    """Of an associative array."""
    tracks, domains, ports = (int(run.attribute(name)) for name in ("tracks", "domains", "ports"))
    return f"{tracks:,} of {count(domains, 'domain')} under {count(ports, 'port')}, in each row"


def _settings(run: Run) -> Iterator[tuple[str, str]]:
    units = _units_of(run.summary.protocol)
    for path, value in _flat(run.settings):
        yield path, _setting(value, units.get(path, ""))


def _flat(content: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, Any]]:
    """Paths as `--set` takes them, but that an array's digest is one value."""
    for name, value in content.items():
        if isinstance(value, dict) and "sha256" not in value:
            yield from _flat(value, f"{within}{name}.")
        else:
            yield f"{within}{name}", value


def _setting(value: Any, unit: str) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return quantity(float(value), unit) if unit else number(float(value), 6)
    if isinstance(value, dict):
        shape = " × ".join(str(each) for each in value.get("shape", ()))
        return f"array of {shape} {value.get('dtype', '')}, SHA-256 {str(value.get('sha256', ''))[:12]}…"
    if isinstance(value, list):
        shown = [_setting(each, unit) for each in value]
        if len(shown) > _MOST:
            return f"{', '.join(shown[:3])} … {shown[-1]} ({len(shown)} values)"
        return "[" + ", ".join(shown) + "]" if value else "none"
    return str(value)


def _units_of(protocol: str) -> dict[str, str]:
    """Path to unit of the settings of `protocol`; nothing where no such protocol is installed."""
    try:
        settings = load_protocol(protocol).settings
    except UsageError:
        return {}
    return dict(_units_within(settings, ""))


def _units_within(settings: type[msgspec.Struct], within: str) -> Iterator[tuple[str, str]]:
    for each in msgspec.structs.fields(settings):
        inner = _struct_in(each.type)
        if inner is not None:
            yield from _units_within(inner, f"{within}{each.encode_name}.")
        elif unit := _unit_in(each.type):
            yield f"{within}{each.encode_name}", unit


def _struct_in(kind: Any) -> type[msgspec.Struct] | None:
    for each in (kind, *get_args(kind)):
        if isinstance(each, type) and issubclass(each, msgspec.Struct):
            return each
    return None


def _unit_in(kind: Any) -> str:
    """Of the quantity that a type is, or is made of."""
    if isinstance(kind, type) and issubclass(kind, Quantity):
        return kind.unit
    return next((unit for each in get_args(kind) if (unit := _unit_in(each))), "")


def _instruments(run: Run) -> Iterator[tuple[str, ...]]:
    described, simulated = _inner(run.bench, "instruments"), _inner(run.bench, "simulated")
    for name in dict.fromkeys([*described, *run.snapshot_before]):
        entry, seen = _inner(described, name), _inner(run.snapshot_before, name)
        idn = seen.get("idn", seen.get("*IDN?", ""))
        kind = "simulated" if name in simulated else ""
        yield name, str(idn), str(entry.get("driver", "")), str(entry.get("resource_name", "")), kind


def _limits(run: Run) -> Iterator[tuple[str, str, str]]:
    array = _inner(_inner(run.bench, "arrays"), run.attribute("array"))
    for table, of in (("limits", "every pulse"), ("cell_limits", "each cell")):
        for name, value in _inner(array, table).items():
            if isinstance(value, int | float):
                unit = next((unit for ending, unit in _UNITS.items() if name.endswith(ending)), "")
                yield spoken(name), quantity(float(value), unit), of


def _inner(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = content.get(name)
    return found if isinstance(found, Mapping) else {}
