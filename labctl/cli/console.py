"""What the commands share: faults in one sentence, tables, progress, and settings given as text."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import time
import tomllib
import traceback
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click
import msgspec

from labctl.errors import LabctlError, SettingsError
from labctl.steps import Procedure, Step
from labctl.units import format_quantity, parse_quantity


def report(problem: Exception) -> int:
    """Say on stderr what went wrong; the exit code it deserves."""
    if os.environ.get("LABCTL_TRACEBACK"):
        traceback.print_exception(problem)
    if isinstance(problem, LabctlError):
        run_path = getattr(problem, "run_path", None)
        further = [f"recorded in {run_path}"] if run_path else []
        notes = getattr(problem, "__notes__", [])
        further += [note for note in notes if "\n" not in note]
        told = f" ({'; '.join(further)})" if further else ""
        click.echo("\n".join([f"labctl: {problem}{told}", *(note for note in notes if "\n" in note)]), err=True)
        return problem.exit_code
    click.echo(
        f"labctl: a fault in labctl itself: {type(problem).__name__}: {problem} "
        "(set LABCTL_TRACEBACK=1 to see where, and please report it)",
        err=True,
    )
    return 1


def print_json(value: Mapping[str, Any] | Sequence[Any], *, one_line: bool = False) -> None:
    """`value` on stdout as JSON; what is not finite becomes null."""
    click.echo(json.dumps(_finite(value), indent=None if one_line else 2, default=str))


def print_table(rows: Iterable[Sequence[Any]], header: Sequence[str] = ()) -> None:
    """Left-aligned columns on stdout."""
    lines = [[str(cell) for cell in row] for row in ([header, *rows] if header else rows)]
    if not lines:
        return
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    texts = ["  ".join(line).rstrip() for line in padded]
    if header:
        click.secho(texts.pop(0), bold=not os.environ.get("NO_COLOR"))
    if texts:
        click.echo("\n".join(texts))


def settings_from(procedure: Procedure, pairs: Iterable[str]) -> dict[str, Any]:
    """`--set set.stop=2.5V` as settings: what is not named keeps its default."""
    settings: dict[str, Any] = {}
    for pair in pairs:
        path, equals, text = pair.partition("=")
        if not equals or not path:
            raise SettingsError(f"--set {pair}: write NAME=VALUE, like --set max_pulses=200")
        first, *rest = path.split(".")
        if not rest:
            settings[first] = _value(text)
            continue
        table = settings.setdefault(first, _default_table(procedure, first, pair))
        for name in rest[:-1]:
            table = table.setdefault(name, {})
            if not isinstance(table, dict):
                raise SettingsError(f"--set {pair}: {name} is one value, not a table")
        table[rest[-1]] = _value(text)
    return settings


def _default_table(procedure: Procedure, name: str, pair: str) -> dict[str, Any]:
    defaults = {field.name: field.default for field in msgspec.structs.fields(procedure.settings)}
    if not isinstance(defaults.get(name), msgspec.Struct):
        raise SettingsError(f"--set {pair}: {procedure.name} has no table of settings called {name!r}")
    table: dict[str, Any] = msgspec.to_builtins(defaults[name], enc_hook=float)
    return table


def _value(text: str) -> Any:
    """As TOML has it; what is none is text, and `[300uS, 2uS]` a list of texts."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        inner = text.strip()
    if inner.startswith("[") and inner.endswith("]") and not set("[]") & set(inner[1:-1]):
        return [_value(each.strip()) for each in inner[1:-1].split(",") if each.strip()]
    return text


if TYPE_CHECKING:
    _ParamType = click.ParamType[Any]
else:  # a plain class in older versions of click
    _ParamType = click.ParamType


class QuantityType(_ParamType):
    """A command-line quantity: `1uS` with `QuantityType("S")`."""

    name = "quantity"

    def __init__(self, unit: str, many: bool = False) -> None:
        self.unit = unit
        self.many = many

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            if self.many and isinstance(value, str):
                return [parse_quantity(part, self.unit) for part in value.split(",") if part.strip()]
            return parse_quantity(value, self.unit)
        except ValueError as problem:
            self.fail(str(problem), param, ctx)


class Progress:
    """Shows steps on stderr: a live bar on a terminal, else lines. Silent when `quiet`.

    Lines: of every phase its last state when it ends, and in between one in two seconds. Phases that take turns (SET,
    RESET, SET, ...) count as going on until the run ends.
    """

    _EVERY_S = 2.0

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._bar: Any = None
        self._task: Any = None
        self._phase = ""
        self._started = time.monotonic()
        self._from = 0.0  # how far the phase was when it began
        self._shown: dict[str, float] = {}  # phase -> when a line of it was printed or, before that, when it began
        self._waiting: dict[str, str] = {}  # phase -> its last line, not printed yet
        self._ended: set[str] = set()
        self._pulses = 0

    def __enter__(self) -> Progress:
        if not self._quiet and sys.stderr is not None and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = (
                TextColumn("{task.description:<12}"),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[detail]}"),
                TimeRemainingColumn(),
            )
            self._bar = Bar(*columns, console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task("starting", total=None, detail="")
            self._bar.start()
        return self

    def __exit__(self, *unused: object) -> None:
        with contextlib.suppress(OSError, ValueError):
            if self._bar is not None:
                self._bar.stop()
            for phase in list(self._waiting):
                self._print(phase)

    def __call__(self, step: Step) -> None:
        """Showing must not be able to fail a run: where nobody looks any more, it goes quiet."""
        if self._quiet:
            return
        try:
            self._show(step)
        except (OSError, ValueError):
            self._quiet = True

    def _show(self, step: Step) -> None:
        self._pulses += int(step.values.get("pulses", 0)) + int(step.values.get("forming_pulses", 0))
        done, total = step.progress or (0, 0)
        if self._bar is not None:
            if step.phase != self._phase:
                self._bar.reset(self._task, description=step.phase.replace("_", " "))
            self._bar.update(self._task, completed=done, total=total or None, detail=self._detail(step))
        else:
            self._note(step, done, total)
        if step.phase != self._phase:
            self._started, self._from = time.monotonic(), done
        self._phase = step.phase

    def _note(self, step: Step, done: float, total: float) -> None:
        """A line to print: now, if it is time, or once the phase ends."""
        if step.phase != self._phase and self._phase in self._waiting and self._phase not in self._ended:
            self._ended.add(self._phase)
            self._print(self._phase)
        since = self._shown.setdefault(step.phase, time.monotonic())
        detail = self._detail(step) or (f"{done / total:.0%}" if total and done > 0 else "")
        if not detail:
            return
        self._waiting[step.phase] = f"{step.phase.replace('_', ' '):<12} {detail}"
        if time.monotonic() - since > self._EVERY_S:
            self._print(step.phase, self._left(done, total) if step.phase == self._phase else "")

    def _print(self, phase: str, left: str = "") -> None:
        click.echo(f"{self._waiting.pop(phase)}{left}", err=True)
        self._shown[phase] = time.monotonic()

    def _detail(self, step: Step) -> str:
        values, parts = step.values, []
        if "cycle" in values:
            parts.append(f"cycle {values['cycle']:,}")
        if "in_window" in values:
            parts.append(f"{values['in_window']:,} cells in window")
        if "unformed" in values:
            parts.append(f"{values['unformed']:,} cells not formed")
        if "amplitude" in values:
            parts.append(f"at {format_quantity(values['amplitude'], 'V')}")
        if "rms_error" in values:
            parts.append(f"RMS error {format_quantity(values['rms_error'], 'S')}")
        if "read_voltage" in values:
            parts.append(f"read at {format_quantity(values['read_voltage'], 'V')}")
        if "epoch" in values:
            parts.append(f"epoch {values['epoch']:,}")
        for name, where in (("accuracy_train", "while training"), ("accuracy_board", "on the board")):
            if math.isfinite(values.get(name, math.nan)):
                parts.append(f"{values[name]:.1%} {where}")
        if "samples" in values:
            parts.append(f"{values['samples']:,} samples")
        if {"pulses", "forming_pulses"} & set(values):
            parts.append(f"{self._pulses:,} pulses")
        return ", ".join(parts)

    def _left(self, done: float, total: float) -> str:
        if not self._from < done < total:
            return ""
        left = (time.monotonic() - self._started) * (total - done) / (done - self._from)
        return f", about {left:.0f} s left" if left >= 1 else ""


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
