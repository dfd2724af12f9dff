"""The page of one chip: what all its runs together say of its cells."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from labctl.analysis import estimators
from labctl.analysis.figures.array_map import DEFECT_COLOURS
from labctl.analysis.figures.panels import BLUE, GREEN, GREY, MICRO, RED, show_map
from labctl.analysis.report.charts.parts import histogram, survival
from labctl.analysis.report.content import Axis, Block, Card, Chart, Layer, Maps, Page, Picture, Section, Table, Terms
from labctl.analysis.report.pictures import picture
from labctl.analysis.report.words import count, number, percent, quantity, spoken
from labctl.chips import ChipRecord, Defect

_COLOURS = dict(zip(("none", "never_formed", "stuck_low", "stuck_high", "worn"), DEFECT_COLOURS, strict=False))
_MOST = 40


def chip_page(record: ChipRecord) -> Page:
    """Of the chip that `record` is of."""
    return Page(
        title=f"Chip {record.serial}",
        subtitle=_subtitle(record),
        state="",
        sentence=_sentence(record),
        doubts=[*record.warnings, *_not_counted(record)],
        cards=_cards(record),
        sections=[
            Section("maps", "Maps", [_maps(record), _still(record)]),
            Section("charts", "Pulses, dose and last readings", _charts(record)),
            Section("defects", "Defects", _defects(record)),
            Section("excluded", "Cells that protocols leave alone", _exclusions(record)),
            Section("runs", "Runs", [_runs(record)]),
        ],
        source=f"{count(len(record.runs), 'run file')} in {record.folder.name or record.folder}",
    )


def _subtitle(record: ChipRecord) -> str:
    kind = f" of {record.cell}" if record.cell else ""
    return f"{record.rows} × {record.cols} cells{kind} · {count(len(record.runs), 'run')}"


def _not_counted(record: ChipRecord) -> list[str]:
    told = set(record.warnings)
    left_out = [each for each in record.runs if each.not_counted]
    left_out = [each for each in left_out if f"{each.path.name}: {each.not_counted}" not in told]
    reasons = ", ".join(dict.fromkeys(each.not_counted for each in left_out))
    return [f"{len(left_out):,} of {count(len(record.runs), 'run')} not counted: {reasons}."] if left_out else []


def _sentence(record: ChipRecord) -> str:
    tried, excluded = record.forming_yield.tried, int(record.excluded.sum())
    formed = (
        f"{percent(record.forming_yield.fraction)} of {count(tried, 'cell')} tried formed"
        if tried
        else "no cell was tried to form"
    )
    pulses = (
        f"{count(int(record.pulses.sum()), 'pulse')} in all, at most {int(record.pulses.max(initial=0)):,} on one cell"
    )
    left = f"{count(excluded, 'cell is', 'cells are')} left alone ({percent(excluded / record.cells)})"
    sentence = f"{formed}; {pulses}; {left}."
    return sentence[0].upper() + sentence[1:]


def _cards(record: ChipRecord) -> list[Card]:
    share = estimators.fraction(record.forming_yield.formed, record.forming_yield.tried)
    known = record.conductance[np.isfinite(record.conductance) & record.formed].astype(np.float64)
    found = [Card("runs", f"{len(record.runs):,}")]
    if share.n:
        found.insert(
            0,
            Card(
                "forming yield",
                percent(share.value),
                f"{percent(share.low)} to {percent(share.high)}",
                f"{share.n:,} cells tried",
            ),
        )
    if known.size:
        middle = estimators.median(known)
        interval = f"{quantity(middle.low, 'S')} to {quantity(middle.high, 'S')}"
        found.append(
            Card("last reading, median of formed", quantity(middle.value, "S"), interval, f"{middle.n:,} cells")
        )
    pulsed = record.pulses[record.pulses > 0].astype(np.float64)
    if pulsed.size:
        found.append(
            Card(
                "pulses a cell, median of pulsed", number(float(np.median(pulsed))), note=f"most: {int(pulsed.max()):,}"
            )
        )
    dead = len(record.dead_rows) + len(record.dead_cols)
    found.append(
        Card(
            "dead lines",
            f"{dead:,}",
            note=f"{count(len(record.dead_rows), 'row')}, {count(len(record.dead_cols), 'column')}",
        )
    )
    return found


def _maps(record: ChipRecord) -> Maps:
    shape = (record.rows, record.cols)
    flags = {
        int(each): (spoken(each.name.lower()), _COLOURS.get(each.name.lower(), GREY))
        for each in Defect
        if each is not Defect.GOOD
    }
    excluded = {0: ("used", DEFECT_COLOURS[0]), 1: ("left alone", RED)}
    layers = [
        Layer("conductance", "last reading", record.conductance.reshape(shape), "S"),
        Layer("defects", "defects", record.defects.reshape(shape), flags=flags),
        Layer("pulses", "pulses", record.pulses.reshape(shape), "1"),
        Layer("dose", "dose", record.dose.reshape(shape), "V s"),
        Layer("forming_voltage", "forming voltage", record.forming_voltage.reshape(shape), "V"),
        Layer("excluded", "left alone", record.excluded.astype(np.uint8).reshape(shape), flags=excluded),
        Layer("read_at", "age of the last reading", _age(record).reshape(shape), "h"),
        Layer("unknown_dose", "pulses of unknown dose", record.unknown_dose.reshape(shape), "1"),
    ]
    return Maps([each for each in layers if each.flags or _has_any(each)])


def _has_any(layer: Layer) -> bool:
    values = np.asarray(layer.values, np.float64)
    return bool(np.any(np.isfinite(values) & (values != 0)))


def _age(record: ChipRecord) -> NDArray[np.float64]:
    """(cells,) hours that each cell's last reading is older than the newest of all."""
    if not np.isfinite(record.read_at).any():
        return np.full(record.cells, np.nan)
    return (np.nanmax(record.read_at) - record.read_at) / 3600


def _charts(record: ChipRecord) -> list[Block]:
    kinds = zip(record.by_operation.items(), (GREY, BLUE, RED), strict=False)
    series = [
        made
        for (operation, pulses), colour in kinds
        if pulses.any() and (made := survival(pulses[pulses > 0], operation.name, colour))
    ]
    found: list[Chart | None] = []
    if series:
        told = f"Pulses a cell by operation, most {int(record.pulses.max()):,} in all."
        found.append(
            Chart(
                "Pulses a cell so far, of cells that were pulsed",
                Axis("pulses", log=True),
                Axis("cells that had more (%)", log=True, high=100.0),
                series,
                told,
            )
        )
    known = record.conductance[np.isfinite(record.conductance)].astype(np.float64) * MICRO
    dose = record.dose[record.dose > 0] * MICRO
    volts = record.forming_voltage[np.isfinite(record.forming_voltage)]
    found += [
        histogram(known, "conductance (µS)", "Last readings", colour=GREEN),
        histogram(dose, "dose (µV s)", "Dose, of cells that were pulsed"),
        histogram(volts, "forming voltage (V)", "Where cells formed"),
    ]
    return [each for each in found if each]


def _defects(record: ChipRecord) -> list[Block]:
    rows = []
    for each in Defect:
        many = int(np.count_nonzero(record.defects == each))
        if each not in (Defect.NONE, Defect.GOOD):
            share = estimators.fraction(many, record.cells)
            rows.append(
                (
                    spoken(each.name.lower()),
                    f"{many:,}",
                    percent(share.value),
                    f"{percent(share.low)} to {percent(share.high)}",
                )
            )
    lines = Terms(
        "Dead lines",
        (("rows", _listed(record.dead_rows) or "none"), ("columns", _listed(record.dead_cols) or "none")),
    )
    return [Table("Cells by defect", ("defect", "cells", "of the array", "95 % interval"), rows, (1, 2, 3)), lines]


def _exclusions(record: ChipRecord) -> list[Block]:
    found: list[Block] = []
    if record.exclusions:
        rows = [(_places(each), each.because, each.by, each.at) for each in record.exclusions]
        found.append(Table("Excluded by people", ("what", "because", "by", "when"), rows))
    cells = np.flatnonzero(record.excluded)
    if not cells.size:
        return found
    cells = cells[np.argsort(record.defects[cells] == Defect.NONE, kind="stable")]  # those on excluded lines last
    listed = [
        (
            str(int(cell) // record.cols),
            str(int(cell) % record.cols),
            record.why(int(cell)),
            quantity(float(record.conductance[cell]), "S"),
            f"{int(record.pulses[cell]):,}",
        )
        for cell in cells[:_MOST]
    ]
    title = f"{count(cells.size, 'cell')} left alone" + (f": the first {_MOST}" if cells.size > _MOST else "")
    found.append(Table(title, ("row", "column", "why", "last reading", "pulses"), listed, (0, 1, 3, 4)))
    return found


def _places(exclusion: Any) -> str:
    cells = ", ".join(f"{row},{col}" for row, col in exclusion.cells[:8])
    more = f" and {len(exclusion.cells) - 8:,} more" if len(exclusion.cells) > 8 else ""
    parts = (
        f"cells {cells}{more}" if cells else "",
        f"rows {_listed(exclusion.rows)}" if exclusion.rows else "",
        f"columns {_listed(exclusion.cols)}" if exclusion.cols else "",
    )
    return "; ".join(each for each in parts if each)


def _listed(numbers: tuple[int, ...]) -> str:
    return ", ".join(str(each) for each in numbers)


def _runs(record: ChipRecord) -> Table:
    rows = [
        (
            each.path.name,
            each.title or each.protocol,
            _moment(each.started),
            each.outcome,
            f"{each.pulses:,}",
            f"{each.events:,}",
            f"{each.bad:,} of {each.tried:,}" if each.tried else "–",
            f"not counted: {each.not_counted}" if each.not_counted else "",
        )
        for each in record.runs
    ]
    head = ("run", "what", "started (UTC)", "outcome", "pulses", "events", "bad of tried", "")
    return Table(f"{count(len(rows), 'run')}, oldest first", head, rows, (4, 5, 6), folded=len(rows) > _MOST)


def _moment(seconds: float) -> str:
    if not math.isfinite(seconds) or seconds <= 0:
        return "–"
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%d %H:%M:%S")


def _still(record: ChipRecord) -> Picture:
    """Last readings, pulses and defects, for who cannot have the page draw its own."""
    figure = Figure(figsize=(16, 5), layout="constrained")
    axes = figure.subplots(1, 3)
    shape = (record.rows, record.cols)
    show_map(axes[0], record.conductance.reshape(shape) * MICRO, "last reading (µS)")
    show_map(axes[1], record.pulses.reshape(shape).astype(np.float64), "pulses")
    show_map(axes[2], record.defects.reshape(shape), "defects (codes)", vmin=0, vmax=max(int(each) for each in Defect))
    return picture(figure, f"Chip {record.serial}: last readings, pulses and defects of its cells")
