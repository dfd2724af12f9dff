"""The device that a chip file, or a built-in parameter set, describes."""

from __future__ import annotations

import difflib
import hashlib
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from labctl.analysis.calibration.chipfile import read_tables
from labctl.analysis.calibration.parameters import Base
from labctl.errors import ExportError
from labctl.exchange.devices import ByLevel, Device, Floats, Relaxation, Steps

_DRAWS = 4096
"""Cells drawn a level: standard deviations of normal values are then known to 1.1 %."""
_PCM_LEVELS = 8
_PCM_DECADES = 4
"""Of time over which the drift of phase-change memory is tabulated."""


def chip_device(path: Path, g_max: float | None) -> Device:
    """Of the chip file at `path`. g_max: S, instead of the highest level in it. Raises ExportError."""
    serial, values = _chip_values(path)
    name = serial or path.stem
    source = f"{path.name}: chip file, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
    try:
        found = _pcm(name, values, g_max) if "drift_exponent" in values else _rram(name, values, g_max)
        return replace(found, sources=(source,))
    except (LookupError, TypeError, ValueError, ArithmeticError) as problem:
        raise ExportError(
            f"{path.name}: its parameters do not fit each other or are not all there: {problem}"
        ) from None


def _rram(name: str, values: Mapping[str, Any], g_max: float | None) -> Device:
    relaxation = _drawn_relaxation(values)
    levels = np.asarray(values.get("set_step_levels") or [], np.float64)
    at = relaxation.levels if relaxation is not None else levels
    top = g_max or max((float(each[-1]) for each in (at, levels) if len(each)), default=math.nan)
    noise = ByLevel(at, np.zeros(len(at)), _rram_noise(values, at)) if len(at) else None
    notes = (
        "a chip file does not say how far from their targets cells were programmed: that is the protocol's window",
    )
    return Device(name, top, relaxation, None, noise, _drawn_steps(values), notes)


def _pcm(name: str, values: Mapping[str, Any], g_max: float | None) -> Device:
    """Cells drawn from G = G0 (t/t0)^-nu, nu normal between cells; programming error and read noise by their formulas.

    nu and its spread are lines in log(G/full scale), the programming spread is a polynomial in G/full scale, and read
    noise Q G sqrt(log(t/(2 t_r))), Q = q (G/full scale)^-p: as the parameters' own sources have them.
    """
    full, since = float(values["full_scale"]), float(values["drift_time"])
    place = np.arange(1, _PCM_LEVELS + 1) / _PCM_LEVELS
    levels = place * full

    def line(key: str) -> Floats:
        straight = float(values[key]) + float(values[f"{key}_slope"]) * np.log(place)
        return np.clip(straight, float(values[f"{key}_least"]), float(values[f"{key}_most"]))

    rng = np.random.default_rng(0)
    nu = line("drift_exponent")[:, None] + line("drift_device_spread")[:, None] * rng.standard_normal(
        (len(levels), _DRAWS)
    )
    decades = np.arange(_PCM_DECADES + 1.0)
    changes = tuple(level * (10.0 ** (-each[:, None] * decades) - 1) for level, each in zip(levels, nu, strict=True))
    spread = np.polynomial.polynomial.polyval(place, values["programming_spread"] or [0.0])
    relative = float(values["read_noise"]) * place ** -float(values["read_noise_exponent"])
    strength = (
        math.sqrt(math.log(since / (2 * float(values["read_noise_width"])))) if values["read_noise_width"] else 1.0
    )
    noise = np.minimum(relative, float(values["read_noise_most"])) * levels * strength + float(
        values["read_noise_floor"]
    )
    nothing = np.zeros(len(levels))
    known = bool(values["programming_spread"])
    notes = () if known else ("this chip file does not say how far from their targets cells are programmed",)
    return Device(
        name,
        g_max or full,
        Relaxation(levels, since * 10.0**decades, changes),
        ByLevel(levels, nothing, spread) if known else None,
        ByLevel(levels, nothing, noise),
        None,
        notes,
    )


def _chip_values(path: Path) -> tuple[str, dict[str, Any]]:
    """Serial and parameter values, those of the base where the file gives none. Raises UsageError."""
    tables = read_tables(path)
    header = tables.pop("chip", {})
    if not isinstance(header, dict):
        raise ExportError(f"{path.name}: $.chip: expected a table of kind, base and serial")
    values = dict(Base.load(header["base"]).values) if header.get("base") else {}
    known = set(values)
    for name, table in tables.items():
        if known and name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ExportError(f"{path.name}: $.{name}: {header['base']} has no such parameter{hint}")
        if not isinstance(table, dict) or "value" not in table:
            raise ExportError(f"{path.name}: $.{name}: expected a table of value, unit and source, as in a chip file")
        values[name] = table["value"]
    return str(header.get("serial", "")), values


def _drawn_relaxation(values: Mapping[str, Any]) -> Relaxation | None:
    """Cells drawn from the autoregression R_k = memory_k R_(k-1) + I_k of a chip file, I_k by its quantiles.

    With the probability `relaxation_volatility` an innovation has the rank of the one before it, or the opposite one.
    """
    times = np.asarray(values.get("relaxation_times") or [], np.float64)
    if not len(times):
        return None
    levels = np.asarray(values["relaxation_levels"], np.float64)
    score = np.array([NormalDist().inv_cdf(each) for each in values["relaxation_probabilities"]])
    quantiles = np.asarray(values["relaxation_quantiles"], np.float64)
    volatility = float(values.get("relaxation_volatility", 0.0))
    rng = np.random.default_rng(0)
    changes = []
    for level in range(len(levels)):
        change, rank = np.zeros((_DRAWS, len(times))), rng.standard_normal(_DRAWS)
        for knot, memory in enumerate(values["relaxation_memory"]):
            if knot:
                same = rank * rng.choice([-1.0, 1.0], _DRAWS)
                rank = np.where(rng.random(_DRAWS) < volatility, same, rng.standard_normal(_DRAWS))
            innovation = _inverse(rank, score, quantiles[knot, level])
            change[:, knot] = innovation + (memory * change[:, knot - 1] if knot else 0.0)
        changes.append(np.maximum(change, -levels[level]))
    return Relaxation(levels, times, tuple(changes))


def _inverse(drawn: Floats, score: Floats, quantiles: Floats) -> Floats:
    """A quantile function, linear in the normal score and straight on beyond its ends, at `drawn` scores."""
    values: Floats = np.interp(drawn, score, quantiles)
    for end, inner, beyond in ((0, 1, drawn < score[0]), (-1, -2, drawn > score[-1])):
        slope = (quantiles[end] - quantiles[inner]) / (score[end] - score[inner])
        values[beyond] = quantiles[end] + slope * (drawn[beyond] - score[end])
    return values


def _rram_noise(values: Mapping[str, Any], levels: Floats) -> Floats:
    """(n,) S: white, 1/f (nine decades of time constants, as the cells have) and telegraph noise in one, root mean
    square over cells whose amplitudes are lognormal.
    """

    def square(amplitude: str, spread: str, share: float = 1.0) -> float:
        sigma = float(values.get(spread, 0.0))
        return share * float(values.get(amplitude, 0.0)) ** 2 * math.exp(2 * sigma**2)

    relative = (
        square("read_noise", "read_noise_device_spread")
        + square("flicker_noise", "flicker_device_spread", 9.0)
        + square("telegraph_noise", "telegraph_device_spread", float(values.get("telegraph_fraction", 0.0)))
    )
    spread: Floats = np.sqrt(relative * levels**2 + float(values.get("read_noise_floor", 0.0)) ** 2)
    return spread


def _drawn_steps(values: Mapping[str, Any]) -> Steps | None:
    """Steps drawn from the analog tables of a chip file, spread evenly over their levels."""
    rng = np.random.default_rng(1)
    parts: list[Floats] = []
    for name in ("set", "reset"):
        levels = np.asarray(values.get(f"{name}_step_levels") or [], np.float64)
        if not len(levels):
            return None
        before = np.repeat(np.linspace(levels[0], levels[-1], 101), 200)
        mean = np.interp(before, levels, values[f"{name}_step_mean"])
        spread = np.interp(before, levels, values[f"{name}_step_spread"])
        parts += [before, mean + spread * rng.standard_normal(len(before))]
    return Steps(*parts)
