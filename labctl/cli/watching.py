"""What `labctl watch` says of a run going on: as a picture that fills a terminal, as a line, and as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.style import Style

from labctl.cli.drawing import (
    DIVERGING,
    VIRIDIS,
    Line,
    bar,
    colour_bar,
    curve_lines,
    map_lines,
    nice_above,
    shade_lines,
    shrink,
)
from labctl.recording.follow import Sight
from labctl.recording.layout import Outcome
from labctl.units import format_quantity

Map = Literal["error", "conductance", "pulses"]

_CURVES = (
    *("accuracy_software", "loss", "in_window", "rms_error", "switched", "failed", "conductance", "mean_conductance"),
    *("samples", "active", "unformed"),
)
"""Scalars worth a curve, the best first; others come after these, but for what the protocol itself counts or sets."""
_COUNTERS = ("amplitude", "gate", "cycle", "train", "pulse", "group", "epoch", "reads", "pulses", "forming_pulses")
_NAMES = {
    "in_window": "cells in window",
    "rms_error": "RMS error",
    "failed": "failed cells",
    "conductance": "median conductance",
    "samples": "samples of each cell",
    "active": "cells unfinished",
    "unformed": "cells not formed",
    "accuracy_software": "accuracy in software",
    "switched": "cells switched",
    "pulses": "pulses in step",
    "forming_pulses": "FORM pulses in step",
    "reads": "cells read in step",
}
_COUNTED = {"cycle": "cycles", "samples": "samples", "epoch": "epochs"}
"""Scalar to the setting that says how many there will be."""
_OUTCOMES = {
    Outcome.LIVE: "bold green",
    Outcome.FINISHED: "bold green",
    Outcome.INTERRUPTED: "bold yellow",
    Outcome.FAILED: "bold red",
    Outcome.KILLED: "bold red",
}
_CURVE_STYLES = ("cyan", "magenta", "yellow")
_LEAST_LINES, _LEAST_WIDTH = 6, 24  # of a map or a curve that is worth drawing
_MOST_CURVES = 3
_GAP = 3
_TINY = 1e-30  # in place of 0, which has no logarithm


def as_values(sight: Sight) -> dict[str, Any]:
    """`sight` as plain JSON values, SI units."""
    head, commit = sight.head, sight.commit
    return {
        "run": str(head.path),
        "protocol": head.protocol,
        "chip_serial": head.chip_serial,
        "bench_name": head.bench_name,
        "outcome": sight.outcome.value,
        "message": sight.message,
        "elapsed_s": sight.elapsed,
        "bench_s": sight.bench_elapsed,
        "steps": commit.steps,
        "operations": commit.operations,
        "events": commit.events,
        "events_not_looked_at": sight.behind,
        "pulses": commit.pulses,
        "pulses_per_s": sight.pulses_per_s,
        "unknown_dose": sight.unknown_dose,
        "not_applied": sight.not_applied,
        "cells_read": int(np.count_nonzero(np.isfinite(sight.reading))),
        "phase": sight.phase,
        "step": dict(sight.latest),
        "auxiliaries": dict(sight.surroundings),
    }


def as_line(sight: Sight) -> str:
    """`sight` in one line of plain text."""
    commit = sight.commit
    parts = [f"{_wall(sight.elapsed):>8}", f"{sight.outcome.value:<8}", sight.phase.replace("_", " ")]
    parts += [f"step {commit.steps:,}", *_counts(sight)]
    parts += [f"{_rate(sight)}"] if sight.pulses_per_s is not None else []
    parts += _latest(sight) + [text for text, _ in _warnings(sight)] + _surroundings(sight)
    parts += [sight.message] if sight.message else []
    return "  ".join(_printable(part) for part in parts if part)


class Picture:
    """`sight` drawn as large as the terminal: what the run is, how far it is, its curves, and a map of the array.

    of: what the map is of; by default the error where there is a target, else the conductance. spare: lines left free.
    """

    def __init__(self, sight: Sight, of: Map | None = None, spare: int = 0) -> None:
        self._sight = sight
        self._spare = spare
        self._of: Map = of or ("conductance" if sight.target is None else "error")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width, height = options.max_width, console.height - self._spare
        coloured = console.color_system is not None and not console.no_color
        top = _header(self._sight, width)
        foot = _footer(self._sight)
        room = height - len(top) - len(foot)
        body = self._body(room, width, coloured) if room >= _LEAST_LINES else []
        if foot:
            body += [[]] * (room - len(body))
        for line in (top + body + foot)[:height]:
            yield from Segment.adjust_line_length(line, width, pad=False)
            yield Segment.line()

    def _body(self, height: int, width: int, coloured: bool) -> list[Line]:
        """The map, and the curves beside it; in a narrow terminal the map alone, or the curves where it is empty."""
        names = _curves_of(self._sight)
        widest = width if not names or width < 2 * _LEAST_WIDTH + _GAP else width - _LEAST_WIDTH - _GAP
        has_map = not self._sight.head.associative
        left = self._map(height - 1, min(widest, 2 * height), coloured) if has_map else []
        wide = max((_width(line) for line in left), default=0)
        room = width - wide - (_GAP if has_map else 0)
        right = _curves(self._sight, names, height - 1, room, coloured) if room >= _LEAST_WIDTH else []
        lines = []
        for number in range(max(len(left), len(right))):
            line = list(left[number]) if number < len(left) else []
            if number < len(right):
                gap = [*Segment.adjust_line_length(line, wide), Segment(" " * _GAP)] if has_map else []
                line = [*gap, *right[number]]
            lines.append(line)
        return [[], *lines]

    def _map(self, height: int, width: int, coloured: bool) -> list[Line]:
        values, title, unit = _mapped(self._sight, self._of)
        is_signed = self._of == "error"
        if is_signed and not coloured:
            values, title = np.abs(values), "|last reading - target|"
        known = np.abs(values[np.isfinite(values)])
        if not known.size:
            return [_words((title, "bold")), _words((_why_empty(self._sight, self._of), "dim"))]
        shrunk = shrink(values, 2 * (height - 3), width)
        reach = nice_above(float(np.quantile(known, 0.95 if is_signed else 0.995)) or _TINY)
        low = -reach if is_signed and coloured else 0.0
        colours = DIVERGING if low < 0 else VIRIDIS
        shown = shrunk.values, low, reach
        pixels = map_lines(*shown, colours) if coloured else shade_lines(*shown)
        ends = _amount(low, unit), _amount(reach, unit)
        length = max(4, min(16, width - sum(map(len, ends)) - 2))
        scale = [Segment(f"{ends[0]} "), *colour_bar(length, colours, coloured=coloured), Segment(f" {ends[1]}")]
        size = f"{shrunk.rows} x {shrunk.cols} cells"
        note = f"a pixel: mean of {size}" if shrunk.rows * shrunk.cols > 1 else ""
        return [_words((title, "bold")), scale, *pixels, _words((note, "dim"))]


def _header(sight: Sight, width: int) -> list[Line]:
    head, commit = sight.head, sight.commit
    of = f" of bench {head.bench_name}" if head.bench_name else ""
    title = _words((head.protocol, "bold"), (f" on chip {head.chip_serial}, {head.rows} x {head.cols}{of}", ""))
    outcome = sight.outcome.value
    left = Segment.adjust_line_length(title, max(0, width - len(outcome) - 1))
    rate = [_rate(sight)] if sight.pulses_per_s is not None else []
    time = f"{_wall(sight.elapsed)} on the wall, {_seconds(sight.bench_elapsed)} on the bench's clock"
    counts = [*_counts(sight), f"{commit.steps:,} steps"]
    lines = [
        [*left, Segment(" "), *_words((outcome, _OUTCOMES[sight.outcome]))],
        _words((head.path.name, "dim")),
        _words((" · ".join([time, *rate]), "")),
        _words((" · ".join(counts), "")),
        _progress(sight, width),
    ]
    latest = _latest(sight)
    lines += [_words((" · ".join(latest), ""))] if latest else []
    around = _surroundings(sight)
    lines += [_words((" · ".join(around), ""))] if around else []
    warnings = _warnings(sight)
    lines += [_joined(warnings)] if warnings else []
    lines += [_words((sight.message, _OUTCOMES[sight.outcome]))] if sight.message else []
    return lines


def _counts(sight: Sight) -> list[str]:
    """What was done so far."""
    commit = sight.commit
    if sight.head.associative:
        return [f"{commit.operations:,} actions", f"{commit.events:,} passes recorded"]
    return [f"{commit.pulses:,} pulses", f"{commit.events:,} events"]


def _footer(sight: Sight) -> list[Line]:
    return [_words(("Ctrl-C leaves; the run goes on", "dim"))] if sight.outcome is Outcome.LIVE else []


def _progress(sight: Sight, width: int) -> Line:
    """The phase, and how much is done of what can be counted."""
    phase = sight.phase.replace("_", " ") or "starting"
    found = _share(sight)
    if found is None:
        return _words((phase, "bold"))
    share, counted = found
    told = f" {counted}"
    room = min(40, width - len(phase) - len(told) - 1)
    middle = bar(share, room, "green") if room >= 8 else []
    return [*_words((f"{phase} ", "bold")), *middle, *_words((told, ""))]


def _share(sight: Sight) -> tuple[float, str] | None:
    """How much of the phase is done, and of what: cells, or what the settings ask for a number of."""
    for name, what in (("active", "finished"), ("unformed", "formed")):
        if name in sight.latest:
            _, values = sight.curves[name].points()
            most, left = float(values.max()), sight.latest[name]
            return (1 - left / most, f"{most - left:,.0f} of {most:,.0f} cells {what}") if most else None
    for name, setting in _COUNTED.items():
        of = sight.head.settings.get(setting)
        if name in sight.latest and isinstance(of, int) and of > 0:
            return sight.latest[name] / of, f"{sight.latest[name]:,.0f} of {of:,} {setting}"
    return None


def _curves_of(sight: Sight) -> list[str]:
    """The scalars to draw, the best first."""
    drawn = [name for name in sight.curves if len(sight.curves[name].points()[0]) > 1]
    others = [name for name in drawn if name not in (*_CURVES, *_COUNTERS)]
    return [*(name for name in _CURVES if name in drawn), *others][:_MOST_CURVES]


def _curves(sight: Sight, names: list[str], height: int, width: int, coloured: bool) -> list[Line]:
    """As many as fit, one above the other, over the steps."""
    count = min(len(names), max(1, height // _LEAST_LINES))
    lines: list[Line] = []
    for number, name in enumerate(names[:count]):
        lines += _curve(sight, name, height // count, width, _CURVE_STYLES[number] if coloured else "")
    return lines


def _curve(sight: Sight, name: str, height: int, width: int, style: str) -> list[Line]:
    """Title, the curve with the ends of its scale, and the steps it spans."""
    steps, values = sight.curves[name].points()
    unit = _unit(sight, name)
    is_from_zero = name == "rms_error" or unit == "1"
    low, high = (min(0.0, float(values.min())) if is_from_zero else float(values.min())), float(values.max())
    ends = _amount(low, unit), _amount(high, unit)
    margin = max(map(len, ends)) + 1
    plot = curve_lines(steps, values, max(1, height - 2), max(1, width - margin), low, high, style or "none")
    labels = [""] * len(plot)
    labels[-1], labels[0] = ends if len(plot) > 1 else ("", ends[1])
    title = _words((_name(name), "bold"), (f"  {_amount(float(values[-1]), unit)}", style))
    span = f"step {steps[0] + 1:,} to {steps[-1] + 1:,}"
    drawn = [[Segment(f"{label:>{margin - 1}} "), *line] for label, line in zip(labels, plot, strict=True)]
    return [title, *drawn, _words((" " * margin + span, "dim"))]


def _mapped(sight: Sight, of: Map) -> tuple[NDArray[np.floating], str, str]:
    """(rows, cols) values, what they are, and their unit."""
    shape = (sight.head.rows, sight.head.cols)
    if of == "pulses":
        return sight.pulses.reshape(shape).astype(np.float32), "pulses a cell", "1"
    reading = sight.reading.reshape(shape)
    if of == "conductance":
        return reading, "last reading", "S"
    target = np.full(shape, np.nan, np.float32) if sight.target is None else sight.target.reshape(shape)
    return reading - target, "last reading - target", "S"


def _why_empty(sight: Sight, of: Map) -> str:
    return "no target recorded" if of == "error" and sight.target is None else "nothing read yet"


def _latest(sight: Sight) -> list[str]:
    """What the last step said, the best first."""
    others = [name for name in sight.latest if name not in (*_CURVES, *_COUNTERS)]
    names = [name for name in (*_CURVES, *others, *_COUNTERS) if name in sight.latest]
    return [f"{_name(name)} {_amount(sight.latest[name], _unit(sight, name))}" for name in names]


def _surroundings(sight: Sight) -> list[str]:
    units = {each.name: each.unit for each in sight.head.auxiliaries}
    return [f"{name.replace('_', ' ')} {_amount(value, units[name])}" for name, value in sight.surroundings.items()]


def _warnings(sight: Sight) -> list[tuple[str, str]]:
    """What a person should know, and how loudly."""
    found = []
    what = ("actions that may have been done", "actions not done")
    lost, refused = what if sight.head.associative else ("pulses of unknown dose", "pulses not applied")
    if sight.unknown_dose:
        found.append((f"{sight.unknown_dose:,} {lost}", "bold red"))
    if sight.not_applied:
        found.append((f"{sight.not_applied:,} {refused}", "yellow"))
    if sight.behind:
        done = 1 - sight.behind / sight.commit.events
        found.append((f"catching up: {done:.0%} of the events looked at", "yellow"))
    return found


def _unit(sight: Sight, name: str) -> str:
    return next((each.unit for each in sight.head.scalars if each.name == name), "")


def _name(name: str) -> str:
    return _NAMES.get(name, name.replace("_", " "))


def _amount(value: float, unit: str) -> str:
    """A number with its unit as people write it."""
    if not np.isfinite(value):
        return "no reading"
    if unit in ("", "1"):
        return f"{value:,.0f}" if value == round(value) else f"{value:.4g}"
    if unit in ("S", "V", "A", "s", "Hz", "W", "Ohm"):
        return format_quantity(value, unit, 3)
    return f"{value:.4g} {unit}"


def _rate(sight: Sight) -> str:
    rate = sight.pulses_per_s or 0.0
    return f"{rate:,.0f} pulses/s" if rate >= 10 or rate == 0 else f"{rate:.2g} pulses/s"


def _wall(seconds: float) -> str:
    """The wall's time is known to the second."""
    return f"{seconds:.0f} s" if seconds < 60 else _seconds(seconds)


def _seconds(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def _joined(parts: Iterable[tuple[str, str]]) -> Line:
    line: Line = []
    for part in parts:
        line += [Segment(" · ")] if line else []
        line += _words(part)
    return line


def _words(*parts: tuple[str, str]) -> Line:
    """Text with its style; names in a file may hold anything, a terminal must not be told to do things by them."""
    return [Segment(_printable(text), Style.parse(style) if style else None) for text, style in parts]


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else "?" for each in text)


def _width(line: Line) -> int:
    return sum(segment.cell_length for segment in line)
