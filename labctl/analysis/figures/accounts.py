"""Panels of what a sample costs: by component, and beside other machines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from matplotlib.ticker import NullFormatter

from labctl.analysis.figures.panels import BLUE, GREY, RED
from labctl.units import format_quantity

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

_WIDEST = 34  # characters of a name


def components(axis: Axes, measured: xr.Dataset) -> None:
    """Energy of each, the largest first."""
    told = account_of(measured)
    parts = sorted((float(each["energy"]), str(each["component"])) for each in told["parts"])
    _points(axis, [(name, energy, "") for energy, name in parts if energy > 0], [BLUE] * len(parts))
    axis.set_title(f"energy of a sample: {joules(float(told['energy']))}")


def machines(axis: Axes, measured: xr.Dataset) -> None:
    """The array and other machines; how many times as much they take, and what was published beside."""
    told = account_of(measured)
    others = [(str(each["name"]), float(each["energy"]), times(each["ratio"])) for each in told["references"]]
    points = [*reversed(others), (str(told["name"]), float(told["energy"]), "")]
    _points(axis, points, [*([GREY] * len(others)), RED])
    published = [f"published: {times(each['ratio'])}, relative to: {each['relative_to']}" for each in told["published"]]
    axis.set_title("energy of a sample, beside other machines")
    axis.set_xlabel("\n".join(["energy (J)", *published]))


def account_of(measured: xr.Dataset) -> Mapping[str, Any]:
    """As `labctl.learning.accounts.Comparison.as_values` has it."""
    return msgspec.json.decode(measured.attrs["account"], type=dict[str, Any])


def times(ratio: float | None) -> str:
    """How many times as much; nothing where that is not known."""
    if ratio is None or not np.isfinite(ratio):
        return ""
    return f"{ratio:,.0f} ×" if ratio >= 100 else f"{ratio:.3g} ×"


def joules(value: float) -> str:
    return format_quantity(value, "J", digits=3).replace(" u", " µ")


def _points(axis: Axes, rows: list[tuple[str, float, str]], colours: list[str]) -> None:
    """On a logarithmic scale, each with its value: there, bars would have no beginning."""
    for place, ((_, energy, note), colour) in enumerate(zip(rows, colours, strict=False)):
        axis.plot(energy, place, "o", color=colour)
        text = f"{joules(energy)}{f', {note}' if note else ''}"
        axis.annotate(text, (energy, place), xytext=(7, 0), textcoords="offset points", va="center", fontsize=8)
    axis.set_yticks(range(len(rows)), [_short(name) for name, _, _ in rows], fontsize=8)
    axis.grid(visible=True, axis="y", color="#e3e7ec")
    axis.set_axisbelow(True)
    axis.set_xscale("log")
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set(xlabel="energy (J)", ylim=(-0.6, len(rows) - 0.4))
    energies = [energy for _, energy, _ in rows]
    if energies:
        low, high = min(energies), max(energies)
        axis.set_xlim(low / 2, high * max(high / low, 10) ** 0.75)  # values stand beside their points


def _short(name: str) -> str:
    return name if len(name) <= _WIDEST else f"{name[: _WIDEST - 1]}…"
