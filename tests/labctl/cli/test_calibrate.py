"""A chip is measured, fitted, and its twin measured again, all by commands; mistakes are one sentence."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
from benches import write_bench
from made_up import TIMES, relaxing
from measured_runs import write_retention

import labctl
from labctl.cli import _run


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a forming run of a simulated 32 x 32 chip and a retention run of made-up cells."""
    folder = tmp_path_factory.mktemp("measured")
    with labctl.load_bench(write_bench(folder)) as bench, bench.array() as array:
        labctl.run("forming", array, out=folder).path.rename(folder / "forming.h5")
    data = relaxing(400, np.random.default_rng(1))
    conductance = np.maximum(data["conductance"].values, 0)
    write_retention(folder / "retention.h5", conductance, TIMES, data["target"].values)
    return folder


def answered(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = _run([str(each) for each in arguments])
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return code, out, err


def test_a_run_becomes_a_chip_and_its_twin_is_compared(
    measured: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The twin of a simulated chip forms as it does: of 19 statistics at 95 % 4 outside are 1 in 100, 6 in 10,000."""
    chip = tmp_path / "chip.toml"
    code, out, _ = answered(capsys, "calibrate", measured / "forming.h5", "-o", chip, "--json")
    assert code == 0
    found = json.loads(out)
    assert found["serial"] == "T-1-twin"
    voltage = found["parameters"]["breakdown_voltage"]
    assert voltage["value"] == pytest.approx(tomllib.loads(chip.read_text())["breakdown_voltage"]["value"], rel=1e-3)
    code, out, _ = answered(capsys, "compare", measured / "forming.h5", chip, "--out", tmp_path, "--json", "-q")
    assert code == 0
    compared = json.loads(out)
    assert Path(compared["second"]).parent == tmp_path
    assert compared["notes"] == []
    assert sum(not each["within_error"] for each in compared["statistics"]) <= 5
    with labctl.open_run(compared["second"]) as tree:
        assert tree.attrs["chip_serial"] == "T-1-twin"
        assert tree.attrs["measurement"] == "forming"


def test_a_twin_keeps_the_schedule_and_the_levels(
    measured: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """400 cells at the same levels and times; programming loses a few per cent of them."""
    chip = tmp_path / "chip.toml"
    assert answered(capsys, "calibrate", measured / "retention.h5", "-o", chip)[0] == 0
    code, out, err = answered(capsys, "compare", measured / "retention.h5", chip, "--out", tmp_path, "-q")
    assert code == 0
    assert "statistics within error" in out
    assert "retention: first retention.h5" in err
    (run,) = tmp_path.glob("*.h5")
    from labctl.analysis.calibration import load

    twin, first = load(run).dataset, load(measured / "retention.h5").dataset
    assert twin["time"].values == pytest.approx(first["time"].values)
    assert twin.sizes["cell"] > 0.9 * first.sizes["cell"]
    start, wanted = (each["conductance"].values[:, 0] for each in (twin, first))
    assert np.quantile(start, [0.2, 0.5, 0.8]) == pytest.approx(np.quantile(wanted, [0.2, 0.5, 0.8]), rel=0.15)


def test_a_twin_rests_before_it_is_read_where_the_run_did_not_form_its_cells(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with labctl.load_bench(write_bench(tmp_path)) as bench, bench.array() as array:
        labctl.run("forming", array, out=tmp_path)
        array.clock.sleep_until(array.clock.now() + 1e5)
        own = labctl.run("iv", array, cells=300, out=tmp_path / "own").path
    chip = tmp_path / "chip.toml"
    assert answered(capsys, "calibrate", own, "-o", chip)[0] == 0
    code, out, _ = answered(capsys, "compare", own, chip, "--out", tmp_path / "twin", "--json", "-q")
    assert code == 0
    found = json.loads(out)
    assert "rested for 100000 s" in found["notes"][0]
    with labctl.open_run(found["second"]) as tree:
        kind = tree["operations"]["kind"]
        forms = kind.attrs["flag_values"][kind.attrs["flag_meanings"].split().index("form")]
        assert np.count_nonzero(kind.values == forms) < 20


def test_two_runs_are_compared_without_a_twin(measured: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = answered(capsys, "compare", measured / "forming.h5", measured / "forming.h5", "--quantiles")
    assert code == 0
    assert "19 of 19 statistics within error; of these 14 of 14 quantiles" in out
    assert "p99" in out


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["calibrate", "forming.h5"], 2, "Missing option '-o'"),
        (["calibrate", "absent.h5", "-o", "new.toml"], 2, "there is no file absent.h5"),
        (["calibrate", "forming.h5", "-o", "new.txt"], 2, "-o new.txt: a chip file's name ends in .toml"),
        (["compare", "bench.toml", "forming.h5"], 2, "bench.toml is no run: a chip or bench file stands where"),
        (["compare", "forming.h5", "absent.h5"], 2, "there is no file absent.h5"),
        (["compare", "forming.h5", "text.h5"], 2, "text.h5 is not a run file"),
        (["compare", "forming.h5", "typo.toml"], 2, ": typo.toml: $.breakdwon_voltage: not a parameter of this cell"),
        (["compare", "forming.h5", "nobase.toml"], 2, "nobase.toml: $.chip.base: 'mars': no such set"),
        (["calibrate", "forming.h5", "-o", "bench.toml"], 2, "bench.toml exists already"),
        (["calibrate", "forming.h5", "-o", "new.toml", "--base", "mars"], 2, "--base mars: no such set"),
        (["compare", "forming.h5", "retention.h5"], 2, "cannot be compared"),
        (["compare", "forming.h5", "bench.toml"], 2, r"bench.toml: $.chip: expected a table"),
        (["compare", "forming.h5", "absent.toml"], 2, "absent.toml: cannot be read as a chip file"),
    ],
)
def test_a_mistake_is_one_sentence_with_the_right_exit_code(
    measured: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    sentence: str,
) -> None:
    monkeypatch.chdir(measured)
    (measured / "text.h5").write_text("conductances\n")
    head = '[chip]\nkind = "1T1R RRAM"\nserial = "X-1"\nbase = '
    (measured / "typo.toml").write_text(
        f'{head}"rram_40nm"\n[breakdwon_voltage]\nvalue = 3.4\nunit = "V"\nsource = "a guess"\n'
    )
    (measured / "nobase.toml").write_text(f'{head}"mars"\n')
    got, out, err = answered(capsys, *arguments)
    lines = [line for line in err.splitlines() if line and not line.startswith(("Usage:", "Try "))]
    assert (got, out, len(lines)) == (code, "", 1), err
    assert sentence in lines[0]
    assert not (measured / "new.toml").exists()
