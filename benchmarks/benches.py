"""Benches for benchmarks and tests: written, served by another process, and driven by the command."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RESOURCE = "TCPIP0::127.0.0.1::5025::SOCKET"
LABCTL = [sys.executable, "-m", "labctl"]

_BENCH = """
name = "test bench"
runs = "runs"
{top}
[instruments.board]
driver = "test_board"
resource_name = "{resource}"
visa_library = "{library}"
rows = {rows}
cols = {cols}
{instrument}
[arrays.main]
instrument = "board"
{arrays}
[simulated.board]
simulator = "test_board"
resource_name = "{resource}"
chip = "{chip}"
rows = {rows}
cols = {cols}
{simulated}
"""


def write_bench(
    folder: Path,
    *,
    rows: int = 32,
    cols: int = 32,
    chip: str = "T-1",
    resource: str = RESOURCE,
    library: str = "@labctl",
    name: str = "bench.toml",
    top: str = "",
    instrument: str = "",
    arrays: str = "",
    simulated: str = "",
) -> Path:
    """A bench file with one small simulated board, further lines put into its tables as they are."""
    path = folder / name
    path.write_text(
        _BENCH.format(
            resource=resource,
            library=library,
            rows=rows,
            cols=cols,
            chip=chip,
            top=top,
            instrument=instrument,
            arrays=arrays,
            simulated=simulated,
        ),
        encoding="utf-8",
    )
    return path


@contextlib.contextmanager
def served(folder: Path, **bench: Any) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    """A bench file whose board another process serves over TCP, and that process."""
    described = write_bench(folder, name="served.toml", **{k: v for k, v in bench.items() if k != "arrays"})
    server = subprocess.Popen(
        [*LABCTL, "sim", "serve", str(described), "--port", "0"], stdout=subprocess.PIPE, text=True, cwd=folder
    )
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        resource = re.search(r"TCPIP0::\S+", line)
        assert resource, f"the server said {line!r}"
        yield write_bench(folder, resource=resource[0], library="@py", **bench), server
    finally:
        with contextlib.suppress(ProcessLookupError):
            server.send_signal(signal.SIGTERM)
        server.wait(10)
        server.stdout.close()


def labctl(*arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command, run to its end."""
    return subprocess.run(
        [*LABCTL, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def started(*arguments: object, cwd: Path) -> subprocess.Popen[str]:
    """The command, running."""
    return subprocess.Popen(
        [*LABCTL, *map(str, arguments)],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def result_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found
