"""Runs become a chip: pooled by kind, scaled to their conductances, what they do not tell left to the base."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_up import TIMES, relaxing
from measured_runs import write_map, write_retention

from labctl.analysis.calibration import Base, calibrate, load, scaling
from labctl.analysis.calibration.runs import pooled
from labctl.errors import RecordingError, UsageError


def written(path: Path, seed: int = 1, cells: int = 400, scale: float = 1.0, **attributes: object) -> Path:
    data = relaxing(cells, np.random.default_rng(seed))
    conductance = np.maximum(data["conductance"].values, 0) * scale
    return write_retention(path, conductance, TIMES, data["target"].values * scale, **attributes)


def test_two_runs_of_a_kind_pool_their_cells(tmp_path: Path) -> None:
    one, two = written(tmp_path / "one.h5", 1), written(tmp_path / "two.h5", 2, 500)
    chip = calibrate([one, two])
    assert chip.parameters["relaxation_quantiles"].cells == pytest.approx(900, abs=10)
    assert chip.serial == "MADE-UP-1-twin"
    assert any(line.startswith("two.h5: retention, 500 cells, sha256") for line in chip.heading)
    assert any("not measured, so as in rram_40nm" in note for note in chip.notes)


def test_the_same_runs_give_the_same_file(tmp_path: Path) -> None:
    run = written(tmp_path / "one.h5")
    assert calibrate([run]).text() == calibrate([run]).text()


def test_another_schedule_is_not_mixed_in(tmp_path: Path) -> None:
    one = load(written(tmp_path / "one.h5", cells=300))
    other = load(written(tmp_path / "other.h5", cells=200))
    other.dataset["time"] = other.dataset["time"] * 3
    together, notes = pooled([one, other])
    assert together.sizes["cell"] == 300
    assert notes == ["retention: other.h5 not used: another schedule or other pulses than the rest"]


@pytest.mark.parametrize(("scale", "factor"), [(1.0, None), (6.0, 4.32), (0.01, 0.0072)])
def test_conductances_beyond_the_base_scale_it(scale: float, factor: float | None) -> None:
    """Levels up to 33 uS times `scale` against a reach of 44 uS; the factor to 10 %."""
    base = Base.load("rram_40nm")
    dataset = relaxing(500, np.random.default_rng(3))
    dataset["conductance"] = dataset["conductance"] * scale
    found = scaling.fit([dataset], base).parameters
    if factor is None:
        assert not found
        return
    for name in ("compliance_conductance", "compliance_limit", "access_transconductance"):
        assert float(found[name].value) / base.number(name) == pytest.approx(factor, rel=0.1)
        assert found[name].tag == "assumed"
    assert ("pristine_conductance" in found) == (factor < 1)
    lowest = scaling.lowest_level([dataset])
    assert float(found["floor_conductance"].value) < lowest


def test_what_cannot_be_calibrated_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--base mars: no such set of cell parameters; there are: .*rram_40nm"):
        calibrate([written(tmp_path / "run.h5")], base="mars")
    with pytest.raises(RecordingError, match=r"there is no file .*absent.h5"):
        calibrate([tmp_path / "absent.h5"])
    with pytest.raises(RecordingError, match=r"nothing could be fitted: .*nothing is fitted from this kind of run"):
        calibrate([write_map(tmp_path / "map.h5", np.full((1, 4, 4), 1e-5))])
    with pytest.raises(RecordingError, match=r"nothing could be fitted: not fitted: .*a fit needs at least 60"):
        calibrate([written(tmp_path / "few.h5", cells=30)])
