"""`labctl associate train` as a command: what it writes, what it prints, and how it refuses."""

import json

import pytest
from small_digits import write_small_digits

from labctl.cli import main
from labctl.learning.ternary import load_network

SHORT = ["--own-data", "--epochs", "1", "--float-epochs", "1", "--hidden", "4"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Pictures of one's own where Fashion-MNIST's would be."""
    return write_small_digits(tmp_path_factory.mktemp("data")) / "mnist"


def _said(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(each) for each in ("associate", "train", *arguments)])
    told = capsys.readouterr()
    return ended.value.code, told.out, told.err


def test_the_file_that_it_writes_is_judged_again_with_the_same_outcome(data, tmp_path, capsys):
    pytest.importorskip("torch", reason="training needs torch")
    path = tmp_path / "mine.npz"
    code, out, err = _said(capsys, *SHORT, "--data", data, "-o", path, "--json")
    assert code == 0, err
    trained = json.loads(out)
    assert [line.split(",")[0] for line in err.splitlines()] == ["float    epoch 1 of 1", "ternary  epoch 1 of 1"]
    assert {"accuracy_float", "accuracy_ternary", "images", "layers"} <= set(trained)
    assert load_network(path).shapes == ((1, 12, 12), (16, 6, 6), (32, 3, 3), (4,), (4,))

    code, out, _ = _said(capsys, "--own-data", "--data", data, "--judge", path, "--json")
    assert code == 0
    assert json.loads(out) == trained

    code, out, _ = _said(capsys, "--own-data", "--data", data, "--judge", path)
    assert code == 0
    assert f"ternary      {trained['accuracy_ternary']:.2%}" in out
    assert "conv2" in out


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["-o", "network.h5"], "network.h5 cannot be the network's file"),
        (["-o", "nowhere/network.npz"], "cannot be the network's file: it ends in .npz, in a folder that is there"),
        (["--judge", "none.npz"], "there is no file none.npz"),
        (["--epochs", "0"], "0 is not in the range"),
        (["--seed", "-1"], "-1 is not in the range"),
        (["--data", "none"], "none is not a folder"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_trained(given, said, capsys, tmp_path, monkeypatch):
    pytest.importorskip("torch", reason="it is asked for first")
    monkeypatch.chdir(tmp_path)
    code, out, err = _said(capsys, *given)
    assert code == 2
    assert said in " ".join(err.split())
    assert out == ""
