"""`labctl associate selftest`, `run` and `compile` as commands: what they print, and how they refuse."""

import json
import re

import numpy as np
import pytest
from associative_benches import write_associative_bench
from computed_runs import SHAPE
from small_ternary import small_network, write_network, write_pictures

import labctl
from labctl.cli import main
from labctl.compiler import assemble

SHORT = ["--operations", "1", "--bits", "4"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("given")
    write_network(made, small_network(floats=True))
    return made


@pytest.fixture(scope="module")
def run_options(folder):
    return ["--network", folder / "small.npz", "--data", write_pictures(folder, 30), "--own-data"]


@pytest.fixture
def bench(tmp_path):
    return write_associative_bench(tmp_path, **SHAPE)


def _said(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(["associate", *(str(each) for each in arguments)])
    told = capsys.readouterr()
    return ended.value.code, told.out, told.err


def test_a_selftest_tells_scripts_and_people_the_same(bench, capsys):
    code, out, _ = _said(
        capsys, "selftest", *SHORT, "--bench", bench, "--kinds", "add,max", "--json", "--no-plot", "-q"
    )
    found = json.loads(out)
    assert code == 0
    assert (found["operations"], found["mismatches"], found["table_mismatches"]) == (2 * SHAPE["rows"], 0, 0)
    assert list(found["kinds"]) == ["add", "max"]
    with labctl.open_run(found["run"]) as run:
        assert run.attrs["measurement"] == "associative-selftest"

    code, out, _ = _said(capsys, "selftest", *SHORT, "--bench", bench, "--kinds", "add,max", "-q")
    assert code == 0
    assert f"all operations    {2 * SHAPE['rows']:,}, no mismatch" in out
    assert f"searches          {found['counters']['searches']:,} of" in out
    assert ".png" in out.splitlines()[-1]


def test_mismatches_are_told_and_are_no_error(tmp_path, capsys):
    bench = write_associative_bench(tmp_path, **SHAPE, read_error=0.01)
    code, out, _ = _said(capsys, "selftest", *SHORT, "--bench", bench, "--kinds", "add", "--no-plot", "-q")
    assert code == 0
    assert "mismatches: " in out
    assert "(95 %: " in out


def test_a_layer_of_a_network_is_run_whole(bench, folder, capsys):
    given = ["--operations", "0", "--network", folder / "small.npz", "--layer", "conv"]
    code, out, _ = _said(capsys, "selftest", *given, "--bench", bench, "--no-plot", "-q")
    assert code == 0
    assert "conv, 16 to 4: " in out
    assert f"  its sums        {4 * SHAPE['rows']:,}, no mismatch" in out
    assert "words" not in out


def test_a_run_tells_scripts_and_people_the_same(bench, run_options, capsys):
    code, out, _ = _said(capsys, "run", *run_options, "--bench", bench, "--json", "--no-plot", "-q")
    found = json.loads(out)
    assert code == 0
    assert found["accuracy_chip"] == found["accuracy_ternary"]
    assert 0 <= found["accuracy_float"] <= 1
    assert (found["images"], found["mismatches"], found["sums_mismatched"]) == (30, 0, 0)

    code, out, _ = _said(capsys, "run", *run_options, "--images", "10", "--bench", bench, "-q", "--no-plot")
    assert code == 0
    assert re.search("^logits +of all 10 images as those of the ternary network$", out, re.MULTILINE)
    assert re.search("^sums +of all 1,480 sums as whole numbers$", out, re.MULTILINE)


def test_layers_are_compiled_and_their_programs_are_text_that_is_read_again(folder, capsys, tmp_path):
    network, texts = folder / "small.npz", tmp_path / "texts"
    code, out, _ = _said(capsys, "compile", network, "--json")
    found = json.loads(out)
    assert code == 0
    assert [each["name"] for each in found["layers"]] == ["conv", "linear"]
    assert [each["rows"] for each in found["layers"]] == [36, 1]
    assert 0 < found["operations"] < found["operations_without_cse"]

    code, out, _ = _said(capsys, "compile", network, "--layer", "conv", "--text", texts, "--no-cse")
    assert code == 0
    (path,) = texts.iterdir()
    program = assemble(path.read_text())
    code, out, _ = _said(capsys, "compile", path, "--json")
    assert (code, json.loads(out)["passes"], json.loads(out)["digest"]) == (0, program.passes, program.digest)
    code, out, _ = _said(capsys, "compile", path, "--expand")
    assert code == 0
    assert sum(line.startswith(("search", "tag all")) for line in out.splitlines()) == program.passes


def test_layers_whose_names_are_alike_have_files_of_their_own(tmp_path, capsys):
    network, texts = tmp_path / "two.npz", tmp_path / "texts"
    np.savez(network, **{name: np.ones((1, 2), np.int8) for name in ("a/b", "a_b", "a\nb")})
    code, _, _ = _said(capsys, "compile", network, "--text", texts)
    assert code == 0
    assert {path.name for path in texts.iterdir()} == {"a%2Fb-1.txt", "a_b-1.txt", "a%0Ab-1.txt"}
    for path in texts.iterdir():
        code, _, _ = _said(capsys, "compile", path)
        assert code == 0


@pytest.mark.parametrize("command", ["compile", "cost"])
@pytest.mark.parametrize("option", [("--seed", "-1"), ("--tracks", "100000000000"), ("--domains", "0")])
def test_options_that_no_array_or_draw_can_have_are_refused(command, option, capsys):
    code, out, err = _said(capsys, command, "fashion-mnist", *option)
    assert (code, out) == (2, "")
    assert f"Invalid value for '{option[0]}'" in err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["compile", "resnet-nothing"], "resnet-nothing"),
        (["compile", "{folder}/small.npz", "--layer", "conv9"], "has no layer 'conv9'; there are: conv, linear"),
        (["compile", "{folder}/small.npz", "--domains", "4", "--ports", "1"], "reaches 4 domains"),
        (["compile", "{folder}/small.npz", "--expand"], "--expand is of one program"),
        (["selftest", "--layer", "conv"], "--network and --layer go together"),
        (["selftest", "--kinds", "divide"], "kinds must be some of add,"),
        (["selftest", "--network", "resnet18", "--layer", "conv1", "--seed", "-1"], "seed: must be a whole number"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(arguments, told, folder, bench, capsys):
    given = [each.format(folder=folder) for each in arguments]
    code, out, err = _said(capsys, *given, *(["--bench", bench] if given[0] == "selftest" else []))
    assert (code, out) == (2, "")
    assert told in err
    assert err.count("\n") == 1


def test_a_text_that_is_no_program_is_named(tmp_path, capsys):
    path = tmp_path / "wrong.txt"
    path.write_text("table add a b\n")
    code, _, err = _said(capsys, "compile", path)
    assert code == 2
    assert f"{path}: " in err
