"""What the README and the documents show is run here: scripts, transcripts, and packages from outside the tree."""

from __future__ import annotations

import codecs
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benches import started
from measured import record
from small_digits import write_small_digits
from trained_runs import trained

from labctl.links.visa import VisaLink
from labctl.simulated_instruments.instruments.associative_board import build as build_associative
from labctl.simulated_instruments.instruments.test_board import build
from labctl.simulated_instruments.wire import Site

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def fences(document: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", document.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def run_python(code: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def install_package(document: Path, folder: Path) -> None:
    """Write a document's package into `folder` as pip would lay it out, entry points included."""
    for code in fences(document, "python"):
        found = re.match(r"# (\w+/\w+\.py)\n", code)
        if found:
            path = folder / found[1]
            path.parent.mkdir(exist_ok=True)
            path.write_text(code, encoding="utf-8")
            (path.parent / "__init__.py").touch()
    project = tomllib.loads(fences(document, "toml")[0])["project"]
    information = folder / f"{project['name']}-{project['version']}.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {target}" for name, target in points.items())]
    (information / "entry_points.txt").write_text("\n".join(lines))


def test_the_readme_script_runs_and_says_how_much_is_in_window(tmp_path: Path) -> None:
    (script,) = fences(ROOT / "README.md", "python")
    done = run_python(script, tmp_path)
    assert done.returncode == 0, done.stderr
    share = float(re.search(r"([\d.]+)% of the formed", done.stdout)[1])
    assert share > 90  # of cells that relax: 42 % leave a window of +-1 uS within a second


@pytest.mark.parametrize("document", ["board-commands.md", "associative-board.md"])
def test_the_board_answers_as_its_command_set_shows(tmp_path: Path, document: str) -> None:
    shape = {"rows": 16, "tracks": 2, "domains": 8, "ports": 2}
    board: Any = {
        "board-commands.md": lambda: build({"chip": "R40-0001"}, Site(tmp_path)),
        "associative-board.md": lambda: build_associative({"cells": "racetrack_ideal", **shape}, Site(tmp_path)),
    }[document]()
    exchange = board.wire.connect()
    for transcript in fences(DOCS / document, "scpi"):
        for line in transcript.splitlines():
            direction, text = line[0], line[2:]
            if direction == ">":
                exchange.write(codecs.decode(text, "unicode_escape").encode("latin-1") + b"\n")
            else:
                answer, _ = exchange.read(1 << 16)
                assert bytes(answer).decode().rstrip("\n") == text, transcript


def test_the_associative_board_adds_as_its_document_says(tmp_path: Path) -> None:
    document = DOCS / "associative-board.md"
    (script,), (bench,) = fences(document, "python"), fences(document, "toml")
    done = run_python(script, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "32 searches in" in done.stdout
    assert done.stdout.endswith("sums that are wrong: 0\n")
    (tmp_path / "bench.toml").write_text(bench)
    checked = run_python("from labctl.cli import main; main(['bench', 'check', 'bench.toml'])", tmp_path)
    assert checked.returncode == 0, checked.stderr
    assert "65536 rows of 128 tracks of 64 domains with 2 ports, racetrack" in checked.stdout.replace("\n", " ")


def test_the_racetrack_chip_goes_astray_as_its_document_says(tmp_path: Path) -> None:
    (script,) = fences(DOCS / "racetrack.md", "python")
    done = run_python(script, tmp_path)
    assert done.returncode == 0, done.stderr
    astray, left, realigned = re.findall(r"[\d.]+", done.stdout)
    assert 0.03 < float(astray) < 0.06
    assert int(left) < 50
    assert int(realigned) >= 5


def test_the_bench_file_of_its_document_is_one(tmp_path: Path) -> None:
    text = "\n".join(fences(DOCS / "bench-file.md", "toml"))
    (tmp_path / "bench.toml").write_text(
        text.replace('visa_library = "@py" ', 'visa_library = "@labctl"'), encoding="utf-8"
    )
    done = run_python("from labctl.cli import main; main(['bench', 'check', 'bench.toml'])", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "chip R40-0001, 512 x 512" in done.stdout


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere 127.0.0.1 is the only address there is")
def test_the_bench_of_source_measure_units_is_served_as_its_document_says(tmp_path: Path) -> None:
    document = DOCS / "smu-bench.md"
    bench = next(text for text in fences(document, "toml") if text.startswith("# smu-bench.toml"))
    (command,) = (text.split() for text in fences(document, "sh") if "sim serve" in text)
    (tmp_path / "smu-bench.toml").write_text(bench, encoding="utf-8")
    host = f"127.{1 + os.getpid() % 250}.{os.getpid() // 250 % 250}.7"  # where nobody else has port 5025
    server = started(*command[1:], "--host", host, cwd=tmp_path)
    assert server.stdout is not None
    served = dict(server.stdout.readline().split() for _ in range(4))
    try:
        assert list(served) == ["matrix", "smu", "pulser", "clock"]
        assert served["matrix"] == f"TCPIP0::{host}::5025::SOCKET"
        for name, model in (("matrix", "707B"), ("smu", "2636B"), ("pulser", "335"), ("clock", "BENCH-CLOCK")):
            with VisaLink(served[name], visa_library="@py", timeout_s=10) as link:
                assert model in link.idn
    finally:
        server.terminate()
        assert server.communicate(timeout=20)[1] == ""


def test_a_driver_from_outside_the_tree_is_listed_and_programs_its_board(tmp_path: Path) -> None:
    document = DOCS / "writing-a-driver.md"
    install_package(document, tmp_path)
    bench = next(text for text in fences(document, "toml") if text.startswith("# bench.toml"))
    (tmp_path / "bench.toml").write_text(bench, encoding="utf-8")
    np.save(tmp_path / "target.npy", np.linspace(5, 40, 64).reshape(8, 8))
    listed = run_python("from labctl.cli import main; main(['plugins'])", tmp_path, PYTHONPATH=str(tmp_path))
    assert re.search(r"drivers +cellbox +cellbox +ok", listed.stdout), listed.stdout + listed.stderr
    command = "['program-array', 'target.npy', '--unit', 'uS', '--bench', 'bench.toml', '--json', '-q']"
    done = run_python(f"from labctl.cli import main; main({command})", tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert '"in_window": 64' in done.stdout


@pytest.mark.parametrize("how", ["listed", "run"])
def test_a_protocol_from_outside_the_tree_is_listed_and_runs(tmp_path: Path, how: str) -> None:
    document = DOCS / "writing-a-protocol.md"
    install_package(document, tmp_path)
    (cycling, _) = (code for code in fences(document, "python") if not code.startswith("# "))
    script = "from labctl.cli import main; main(['plugins'])" if how == "listed" else cycling
    done = run_python(script, tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    if how == "listed":
        assert re.search(r"protocols +cycling +cycling +ok", done.stdout), done.stdout
    else:
        states = [float(number) for number in re.findall(r"[\d.]+e-\d+", done.stdout)]
        assert len(states) == 10
        assert min(states) > 5e-6


def test_a_protocol_with_checkpoints_and_results_runs_and_is_resumed(tmp_path: Path) -> None:
    document = DOCS / "writing-a-protocol.md"
    install_package(document, tmp_path)
    (_, script) = (code for code in fences(document, "python") if not code.startswith("# "))
    done = run_python(script, tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"[\d.]+e-\d+ A\n40 batches at the last checkpoint\n", done.stdout)
    done = run_python(_STOPPED_AND_RESUMED, tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "stopped after batch 24\n[20, 21, 22, 23, 24, 20, 21]\nfinished\n"


_STOPPED_AND_RESUMED = """
import labctl
from labctl.errors import RunError

def stop(step):
    if step.values["batch"] == 24:
        raise RunError("stopped after batch 24")

with labctl.load_bench() as bench, bench.array() as array:
    try:
        labctl.run("averaging", array, out="runs", progress=stop)
    except RunError as problem:
        print(problem)
        result = labctl.resume(problem.run_path, array)
with labctl.open_run(result.path) as tree:
    print(tree["steps/batch"].values[20:27].tolist())
    print(tree.attrs["outcome"])
"""


def test_the_examples_of_the_analysis_run_on_runs_of_a_board(tmp_path: Path) -> None:
    pytest.importorskip("dask", reason="one of them needs the extra `dask`")
    (tmp_path / "runs").mkdir()
    target = np.random.default_rng(1).uniform(5e-6, 40e-6, (24, 24))
    for name in ("run", "again"):
        record(tmp_path / "runs", "write_verify", rows=24, cols=24, target=target, tolerance="2 uS")
        (path,) = (tmp_path / "runs" / "runs").glob("*.h5")
        path.rename(tmp_path / f"{name}.h5")
    small = {"task": "mnist", "own_data": True, "network": "144-8-4", "epochs": 1, "baselines": (), "calibrate": 100}
    digits = write_small_digits(tmp_path / "data", 200, 50)
    record(tmp_path / "runs", "pruning", rows=64, cols=64, data=str(digits), **small)
    (path,) = (tmp_path / "runs" / "runs").glob("*.h5")
    path.rename(tmp_path / "pruned.h5")
    shutil.copy(trained(tmp_path / "runs").path, tmp_path / "trained.h5")
    shutil.copy(tmp_path / "run.h5", tmp_path / "runs" / "one.h5")
    (tmp_path / "runs" / "none.h5").write_bytes(b"no run")
    document = DOCS / "analysis.md"
    done = run_python("\n".join(fences(document, "python")), tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"half of \d+ cells were in window after \d+\.\d pulses a cell", done.stdout), done.stdout
    assert re.search(r"pulses in one run and in the next: 0\.\d\d|1\.00", done.stdout), done.stdout
    assert "none.h5 is not a run file: no HDF5 file" in done.stdout
    assert re.search(r"pruned cells conduct \d% of what kept ones do", done.stdout), done.stdout
    assert "a batch left 98.50% of the weights without a pulse" in done.stdout
    assert re.search(r"accumulators stand 0\.\d\d granules from zero", done.stdout), done.stdout
    assert re.search(r"\{'fc1': \d+, 'fc2': \d+\}", done.stdout), done.stdout
    assert re.search(r"target +error_spread +error_spread_low +error_spread_high\nlevel", done.stdout), done.stdout


def test_the_examples_of_the_accounts_run_and_print_what_their_document_shows(tmp_path: Path) -> None:
    document = DOCS / "accounts.md"
    (table,) = fences(document, "toml")
    (tmp_path / "mine.toml").write_text(table, encoding="utf-8")
    done = run_python("\n".join(fences(document, "python")), tmp_path)
    assert done.returncode == 0, done.stderr
    for line in (each for shown in fences(document, "text") for each in shown.splitlines() if each != "..."):
        assert f"{line}\n" in done.stdout
    assert "conversion_energy 2.5e-13 J [measured] 7 bit SAR converter of our test chip\n" in done.stdout


def test_the_examples_of_the_data_sets_draw_the_phantom_and_write_it_like_drive(tmp_path: Path) -> None:
    code = "\n".join(fences(DOCS / "data-sets.md", "python"))
    done = run_python(code, tmp_path, LABCTL_DATA="")
    assert done.returncode == 0, done.stderr
    assert "phantom of retinal vessels, seed 1 (200, 1, 48, 48) (2, 1, 128, 128)" in done.stdout
    assert (tmp_path / "DRIVE" / "training" / "1st_manual" / "03_manual1.gif").is_file()


def test_the_network_of_its_document_learns(tmp_path: Path) -> None:
    (script,) = fences(DOCS / "networks.md", "python")
    done = run_python(script, tmp_path)
    assert done.returncode == 0, done.stderr
    assert int(re.search(r"(\d+)% right with half of the edges pruned", done.stdout)[1]) > 90


def test_the_ternary_network_of_its_document_is_the_same_whoever_multiplies(tmp_path: Path) -> None:
    (script,) = fences(DOCS / "ternary-networks.md", "python")
    done = run_python(script, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("(20, 10) 196 rows an image for conv1\nconv1 (3920, 16)\nconv2 (980, 256)\n")


def test_the_network_of_the_training_document_learns_on_the_array(tmp_path: Path) -> None:
    (script,) = fences(DOCS / "training.md", "python")
    write_small_digits(tmp_path / "sets")
    done = run_python(script, tmp_path)
    assert done.returncode == 0, done.stderr
    assert float(re.search(r"([\d.]+)% on the board, [\d.]+% in float32", done.stdout)[1]) > 50  # of four classes
    assert re.search(r"after each epoch: \[(0\.\d+ *){3}\]", done.stdout), done.stdout


def test_the_chip_of_the_associative_characterisation_is_aligned_and_measured(tmp_path: Path) -> None:
    (script,) = fences(DOCS / "associative-characterisation.md", "python")
    done = run_python(script, tmp_path)
    assert done.returncode == 0, done.stderr
    astray, nanowires = re.search(r"(\d+) of ([\d,]+) nanowires astray", done.stdout).groups()
    assert 100 < int(astray) < 400  # 210 expected, of 16 tracks of 65,536 rows
    assert nanowires == "1,048,576"
    assert re.search(r"^0 after [12] tries$", done.stdout, re.MULTILINE), done.stdout


def test_the_examples_of_the_compiler_run_and_its_program_can_be_assembled(tmp_path: Path) -> None:
    document = DOCS / "compiler.md"
    (text,) = fences(document, "text")
    code = f"{''.join(fences(document, 'python'))}\nprint(assemble({text!r}).passes)"
    done = run_python(code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "8"
