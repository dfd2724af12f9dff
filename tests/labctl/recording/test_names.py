"""Names of runs are unique across processes, sort by time and are safe on every system."""

from __future__ import annotations

import string
import subprocess
import sys
from pathlib import Path, PureWindowsPath

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labctl.recording import new_run_path

_CLAIM = """
import sys
from pathlib import Path
from labctl.recording import new_run_path
for _ in range(50):
    print(new_run_path(Path(sys.argv[1]), "write_verify", "C7", 1.7e9).name)
"""


def test_processes_never_get_the_same_name(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _CLAIM, str(tmp_path)]
    claimants = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    names = [name for claimant in claimants for name in claimant.communicate()[0].split()]
    assert len(names) == len(set(names)) == 100


def test_a_finished_runs_name_is_not_given_again(tmp_path: Path) -> None:
    first = new_run_path(tmp_path, "read", "C7", 1.7e9)
    first.touch()
    first.with_name(first.name + ".lock").unlink()
    assert new_run_path(tmp_path, "read", "C7", 1.7e9) != first


def test_names_sort_by_time(tmp_path: Path) -> None:
    names = [new_run_path(tmp_path / "new", "read", "C7", 1.7e9 + 3600 * hour).name for hour in range(30)]
    assert names == sorted(names)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(protocol=st.text(max_size=60), chip_serial=st.text(max_size=60))
def test_names_are_safe_whatever_the_chip_is_called(tmp_path: Path, protocol: str, chip_serial: str) -> None:
    name = new_run_path(tmp_path, protocol, chip_serial, 1.7e9).name
    assert set(name) <= set(string.ascii_letters + string.digits + "._-")
    assert len(name) < 120
    assert not PureWindowsPath(name).is_reserved()
    assert name.endswith(".h5")
