"""`labctl associate cost` as a command: what it counts and prints, and how it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labctl.associative import AssociativeGeometry
from labctl.cli import main
from labctl.cli.associate.cost import cleared_columns
from labctl.compiler import GoldenArray, TernaryLayer, compile_layer, reference, run_layer
from labctl.learning.accounts import Figures

CHANNELS, OUTPUTS = 4, 16


@pytest.fixture(scope="module")
def matrices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers: a convolution of 3 x 3 and a linear one."""
    path: Path = tmp_path_factory.mktemp("networks") / "two.npz"
    np.savez(path, first=_drawn(OUTPUTS, CHANNELS, 3, 3), second=_drawn(10, 24))
    return path


def _drawn(*shape: int) -> np.ndarray[Any, np.dtype[np.int8]]:
    return np.random.default_rng(3).choice(np.array([-1, 0, 1], np.int8), shape, p=[0.29, 0.42, 0.29])


def _weights(path: Path) -> list[np.ndarray[Any, np.dtype[np.int8]]]:
    with np.load(path) as stored:
        return list(stored.values())


def _said(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[Any, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["associate", "cost", *(str(each) for each in arguments)])
    told = capsys.readouterr()
    return ended.value.code, told.out, told.err


def _found(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    code, out, _ = _said(capsys, *arguments, "--json")
    assert code == 0
    found: dict[str, Any] = json.loads(out)
    return found


def test_json_has_what_scripts_ask_for(matrices: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = _found(capsys, matrices)
    weights = _weights(matrices)
    terms = sum(int((np.abs(each).reshape(len(each), -1).sum(axis=1) - 1).sum()) for each in weights)
    assert found["operations_without_cse"] == terms
    assert 0 < found["operations"] < terms
    assert found["energy_ratio"] == pytest.approx(found["crossbar_energy_joules"] / found["energy_joules"])
    for name in ("energy_joules", "cycles", "seconds", "operations", "operations_without_cse"):
        assert sum(layer[name] for layer in found["layers"]) == pytest.approx(found[name])
    assert [layer["name"] for layer in found["layers"]] == ["first", "second"]
    assert found["columns"] == max(layer["columns"] for layer in found["layers"])
    assert found["compile_seconds"] > 0
    assert found["account"]["energy"] == found["energy_joules"]


def test_what_is_counted_is_what_an_array_counts(matrices: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = _found(capsys, matrices, "--tracks", 32, "--domains", 32, "--ports", 1)
    operations = found["account"]["operations"]
    searched = written = 0
    for weights in _weights(matrices):
        matrix = weights.reshape(len(weights), -1)
        layer = TernaryLayer("any", matrix, channel=9 if weights.ndim == 4 else None)
        array = GoldenArray(AssociativeGeometry(1, 32, 32, 1))
        codes = np.full((1, matrix.shape[1]), 5)
        compiled = compile_layer(layer, array.associative)
        assert (run_layer(compiled, codes, array.perform).sums == reference(layer, codes)).all()
        counted = array.counters()
        searched, written = searched + counted.searched_columns, written + counted.written_columns
    share = Figures.named("associative").value("written_share", "1")
    assert operations["cell searched"] == searched
    assert operations["cell written behind a search"] / share + operations["cell cleared"] == pytest.approx(written)
    assert operations["masked cell on a line"] == operations["line searched"] * 32 - searched


def test_the_share_of_rows_that_are_tagged_is_what_the_golden_model_counts() -> None:
    rng = np.random.default_rng(0)
    rows, inputs = 256, 9 * 16
    compiled = compile_layer(TernaryLayer("any", _drawn(32, inputs), channel=9), AssociativeGeometry(rows, 128, 64, 2))
    codes = np.clip(np.floor(np.maximum(rng.normal(size=(rows, inputs)), 0) * 15 / 2.5 + 0.5), 0, 15).astype(np.int64)
    found = run_layer(compiled, codes, GoldenArray(compiled.geometry).perform).counters
    cleared = sum(cleared_columns(stage.program) for stage in compiled.stages)
    figures = Figures.named("associative")
    share = (found.written_bits - cleared * rows) / (found.written_columns - cleared) / rows
    assert share == pytest.approx(figures.value("written_share", "1"), rel=0.2)  # it falls with channels
    bits = np.unpackbits(codes.astype(np.uint8)[..., None], axis=-1)[..., 4:]
    assert bits.mean() == pytest.approx(figures.value("bits_set", "1"), rel=0.05)


def test_sharing_can_be_left_out_and_costs_more_then(matrices: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shared, plain = _found(capsys, matrices), _found(capsys, matrices, "--no-cse")
    assert plain["operations"] == plain["operations_without_cse"] == shared["operations_without_cse"]
    assert plain["energy_joules"] > shared["energy_joules"]
    assert plain["crossbar_energy_joules"] == shared["crossbar_energy_joules"]


def test_figures_can_be_set_or_come_from_a_table_of_ones_own(
    matrices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(
        '[account]\nbase = ["associative"]\n[cell_write_energy]\nvalue = "1 pJ"\nunit = "J"\n'
        'source = "[measured] our chip"\n'
    )
    given = _found(capsys, matrices, "--set", "cell_write_energy=1pJ")
    loaded = _found(capsys, matrices, "--figures", mine)
    assert given["energy_joules"] == loaded["energy_joules"] < _found(capsys, matrices)["energy_joules"]
    fefet = _found(capsys, matrices, "--figures", "associative_fefet", "--set", "masked_share=0")
    assert {part["component"]: part["energy"] for part in fefet["account"]["parts"]}["shift"] == 0


def test_a_person_sees_layers_parts_machines_and_what_it_rests_on(
    matrices: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = _said(capsys, matrices)
    assert (code, err) == (0, "")
    assert re.search(r"^first +36 to 16 +1 +\d+ +\d+ +\d", out, re.MULTILINE)
    assert re.search(r"^all +[\d,]+ +[\d,]+ ", out, re.MULTILINE)
    assert re.search(r"^write +[\d.]+ nJ +[\d.]+% ", out, re.MULTILINE)
    assert re.search(r"^crossbars with converters, ternary weights +[\d.]+ .J", out, re.MULTILINE)
    assert re.search(r"^moving activations +[\d.]+% of the energy; published: about 3%", out, re.MULTILINE)
    assert re.search(r"^were programs free +[\d.]+ times, beside crossbars", out, re.MULTILINE)
    assert max(map(len, out.splitlines())) < 140


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonsense"], "there is no network 'nonsense': choose resnet18"),
        (["nothing.npz"], "there is no file nothing.npz"),
        (["fashion-mnist", "--sparsity", "0.5"], "not of fashion-mnist"),
        (["resnet18", "--set", "search_time"], "write NAME=VALUE"),
        (["resnet18", "--set", "colour=3"], "colour: no figure of this account"),
        (["resnet18", "--set", "search_time=1V"], "search_time"),
        (["resnet18", "--figures", "cheap"], "there is no table of figures 'cheap'"),
        (["resnet18", "--figures", "pruning"], "missing; the account needs it"),
        (["resnet18", "--tracks", "4"], "does not fit"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = _said(capsys, *arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert len(err.splitlines()) == 1
