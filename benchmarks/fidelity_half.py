"""Fit on one half of what was measured, predict the other: with the commands a user has, and nothing else.

`labctl import` makes run files of both halves, `labctl calibrate` a chip file of the first, and `labctl compare`
measures its twin as the second was measured. Its statistics stand here against the limits of the whole table.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import fidelity_relaxation
from benches import labctl
from fidelity_chips import Study, Unavailable
from fidelity_rows import Bullet, Expected, Row

RETENTION = """
measurement = "retention"
chip = "half"
technology = "1T1R RRAM"
[file]
group = "relaxation/techC"
[cells]
address = { at = "addr" }
[conductance]
at = "conductance"
axes = ["cell", "time"]
[time]
at = "time"
axes = ["time"]
"""

TRAINS = """
measurement = "pulse-response"
chip = "half"
technology = "1T1R RRAM"
[file]
group = "pulse_trains/sandia"
[set]
at = "set"
axes = ["cell", "pulse"]
amplitude = "1 V"  # not told; any will do, as it is the one the twin is pulsed with
width = "100 ns"
[reset]
at = "reset"
axes = ["cell", "pulse"]
amplitude = "1 V"
width = "100 ns"
"""

ONE_TRAIN = """
measurement = "pulse-response"
chip = "train"
technology = "1T1R RRAM"
[file]
group = "pulse_trains/gong2018"
[set]
at = "up"
axes = ["pulse"]
unit = "1"
scale = 2e-5  # of a normalised weight: the conductances it stands for are not told
offset = 4e-5
amplitude = "1 V"
width = "100 ns"
[reset]
at = "down"
axes = ["pulse"]
unit = "1"
scale = 2e-5
offset = 4e-5
amplitude = "1 V"
width = "100 ns"
"""

SPREAD_LIMIT = fidelity_relaxation.WHOLE_SPREAD
COMPARED = {"mean", "sd", "robust_sd", "escape", "tail_beyond_3_sd", "correlation"}
"""Statistics of `labctl compare` that the table has limits for; its quantiles are left out."""


def retention(study: Study) -> Iterator[Row]:
    """Relaxation of the other half of the cells."""
    yield from _predicted("Half of the cells from the other: relaxation", study, RETENTION, "rram_40nm")


def analog(study: Study) -> Iterator[Row]:
    """Steps of the other half of the ramps."""
    yield from _predicted("Half of the ramps from the other: analog steps", study, TRAINS, "rram_analog")


def one_train(study: Study) -> Iterator[Row]:
    """A single cell's train up and down has no other half: its twin is compared with itself."""
    everything = ("0:1:1", "0:1:1")
    yield from _predicted("Twin of one noisy train, up and down", study, ONE_TRAIN, "rram_analog", everything)


def _predicted(
    title: str, study: Study, mapping: str, base: str, halves: tuple[str, str] = ("even", "odd")
) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "mapping.toml").write_text(mapping, encoding="utf-8")
        measured = Path(study.reference.filename).resolve()
        for part, half in zip(("fitted", "other"), halves, strict=True):
            _command(folder, "import", measured, "--mapping", "mapping.toml", "--select", half, "--out", part)
        (fitted,), (other,) = (sorted((folder / part).glob("*.h5")) for part in ("fitted", "other"))
        _command(folder, "calibrate", fitted, "--base", base, "--output", "chip.toml")
        told = _command(folder, "compare", other, "chip.toml", "--out", "twin", "--json", "--quiet")
        yield from _rows(title, json.loads(told))


def _rows(title: str, comparison: Mapping[str, Any]) -> Iterator[Row]:
    """first: the other half. second: the twin of the fitted one."""
    bullet = Bullet(title)
    spreads = {each["of"]: each["first"] for each in comparison["statistics"] if each["statistic"] == "sd"}
    for each in comparison["statistics"]:
        name, of = each["statistic"], each["of"]
        if name not in COMPARED:
            continue
        scale, unit = (1e6, "uS") if each["unit"] == "S" else (1.0, each["unit"])
        what, found = f"{name}, {of}", each["second"] * scale
        measured = Expected.one(each["first"] * scale)
        if name == "escape":
            yield bullet.difference(what, unit, measured, found, fidelity_relaxation.ESCAPE_LIMIT)
        elif name == "tail_beyond_3_sd":
            yield bullet.between(what, unit, measured, found, fidelity_relaxation.TAIL_LIMIT, math.inf)
        elif name == "correlation":
            yield bullet.difference(what, unit, measured, found, fidelity_relaxation.CORRELATION_LIMIT)
        elif name == "mean":
            share = fidelity_relaxation.DRIFT_SHARE
            yield bullet.difference(what, unit, measured, found, share * spreads[of] * scale, f"{share:g} sd")
        else:
            yield bullet.ratio(what, unit, measured, found, SPREAD_LIMIT)


def _command(folder: Path, *arguments: object) -> str:
    """What the command printed. Raises Unavailable with its last word where it failed."""
    done = labctl(*arguments, cwd=folder, OMP_NUM_THREADS="1")
    if done.returncode:
        raise Unavailable(f"labctl {arguments[0]}: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout
