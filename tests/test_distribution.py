"""What is in the tree is in the package, and what a user starts is light."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import labctl

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
HEAVY = {"numpy", "h5py", "xarray", "pyvisa", "matplotlib", "rich", "scipy", "msgspec", "serial"}


def test_every_folder_of_modules_is_a_listed_package() -> None:
    mapping = PROJECT["tool"]["setuptools"]["package-dir"]
    found = set()
    for name, folder in mapping.items():
        for init in (ROOT / folder).rglob("__init__.py"):
            inner = init.parent.relative_to(ROOT / folder).parts
            found.add(".".join([name, *inner]))
    nested = {"labctl.simulated_instruments.servers.pyvisa_labctl"}  # mapped to the top level under its own name
    assert found - nested == set(PROJECT["tool"]["setuptools"]["packages"])


def test_the_version_is_the_same_everywhere() -> None:
    assert PROJECT["project"]["version"] == labctl.__version__
    assert f"## {labctl.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_constraints_are_plain_versions_of_all_that_is_needed() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][A-Za-z0-9.]*", line) for line in lines)
    pinned = {re.split("==", line)[0].lower().replace("_", "-") for line in lines}
    wanted = PROJECT["project"]["dependencies"] + PROJECT["project"]["optional-dependencies"]["test"]
    assert {re.split("[>=<]", each)[0].lower() for each in wanted} <= pinned


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; from labctl.cli import _run; _run(['--help']); print(sorted(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "program-array" in done.stdout
    loaded = {name.split(".")[0] for name in re.findall(r"'([\w.]+)'", done.stderr)}
    assert not loaded & HEAVY
