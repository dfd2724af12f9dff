"""Runs become a chip: pooled by kind, scaled to their conductances, what they do not tell left to the base."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from made_up import TIMES, relaxing
from measured_runs import write_map, write_retention

from labctl.analysis.calibration import Base, MeasuredRun, _fit_scaled, _kind, calibrate, load, read_noise, scaling
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
    dataset = dataset.assign({name: dataset[name] * scale for name in ("conductance", "target")})
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


def test_cells_driven_beyond_their_targets_do_not_scale_the_base() -> None:
    """5 % of cells at 90 uS and more, whatever their target of 33 uS at most; the base reaches 46 uS."""
    dataset = relaxing(500, np.random.default_rng(3))
    values = dataset["conductance"].values.copy()
    values[:25] = 90e-6
    assert not scaling.fit([dataset.assign(conductance=(("cell", "time"), values))], Base.load("rram_40nm")).parameters


def test_a_run_that_nothing_is_fitted_from_does_not_scale_the_base(tmp_path: Path) -> None:
    """30 cells at six times the base's conductances are too few for a fit."""
    whole, few = written(tmp_path / "read.h5"), written(tmp_path / "few.h5", cells=30, scale=6.0)
    found, notes = _fit_scaled(
        {"read-noise": noisy(), "retention": load(few).dataset},
        Base.load("rram_40nm"),
        frozenset({"read-noise", "retention"}),
    )
    assert "read_noise" in found
    assert "compliance_conductance" not in found
    assert not any("scaled" in note for note in notes)
    assert "compliance_conductance" not in calibrate([whole]).parameters


def noisy(samples: int = 400, interval: float = 1e-3) -> xr.Dataset:
    """8 cells of 10 uS with noise of 1 %."""
    values = 1e-5 * (1 + 0.01 * np.random.default_rng(5).standard_normal((8, samples)))
    return xr.Dataset(
        {"conductance": (("cell", "sample"), values), "time": ("sample", interval * np.arange(samples))},
        {"cell": np.arange(8, dtype=np.uint32)},
        {"measurement": "read-noise"},
    )


def test_read_noise_runs_of_one_schedule_pool_and_others_are_named() -> None:
    runs = [
        MeasuredRun(Path(name), "read-noise", noisy(interval=interval), "", {})
        for name, interval in (("a.h5", 1e-3), ("b.h5", 1.01e-3), ("slow.h5", 5e-3))
    ]
    together, notes = pooled(runs)
    assert together["conductance"].sizes == {"cell": 16, "sample": 400}
    assert together["time"].dims == ("sample",)
    assert notes == ["read-noise: slow.h5 not used: another schedule or other pulses than the rest"]
    assert "read_noise" in read_noise.fit(together, Base.load("rram_40nm")).parameters


def test_cells_of_any_name_are_fitted_but_not_those_of_another_model() -> None:
    def of(cell: str) -> list[MeasuredRun]:
        return [MeasuredRun(Path("run.h5"), "read-noise", noisy().assign_attrs(cell=cell), "", {})]

    base = Base.load("rram_40nm")
    assert _kind(of("HfOx memristor"), base) == _kind(of("oxide-RRAM"), base) == "1T1R RRAM"
    with pytest.raises(UsageError, match=r"run.h5: its cells are 'PCM'; calibration fits RRAM cells"):
        _kind(of("PCM"), base)


def test_volatility_is_a_share(tmp_path: Path) -> None:
    found = calibrate([written(tmp_path / "run.h5")]).parameters["relaxation_volatility"]
    assert 0 <= float(found.low) <= float(found.value) <= float(found.high) <= 1


def test_what_cannot_be_calibrated_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--base mars: no such set of cell parameters; there are: .*rram_40nm"):
        calibrate([written(tmp_path / "run.h5")], base="mars")
    with pytest.raises(RecordingError, match=r"there is no file .*absent.h5"):
        calibrate([tmp_path / "absent.h5"])
    with pytest.raises(RecordingError, match=r"^nothing is fitted from runs of map; name one of read-noise, iv, "):
        calibrate([write_map(tmp_path / "map.h5", np.full((1, 4, 4), 1e-5))])
    with pytest.raises(RecordingError, match=r"nothing could be fitted: not fitted: .*a fit needs at least 60"):
        calibrate([written(tmp_path / "few.h5", cells=30)])
