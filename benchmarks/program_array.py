"""Whole-array programming over TCP: against the chip alone, one query a cell, and the wire's own floor.

    python benchmarks/program_array.py [--rows 512] [--rounds 5] [--json]

Prints medians over rounds, and ratios within each round: the machine's mood cancels in those. `chip` is the sum of the
chip's own calls for the same pulses and reads; `direct` adds the protocol, without wire or file; `tcp` is the whole
recorded run against `labctl sim serve` in another process, `in process` the same through the PyVISA backend.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pyvisa
from benches import served, write_bench
from direct import DirectArray

import labctl
from labctl.plugins import load_protocol
from labctl.simulated_instruments.chips.crossbar import CrossbarMacro
from labctl.targets import default_target

SERIAL = "R40-0001"
QUERIES = 3000

MEMORY = """
import re, sys, labctl
sys.path.insert(0, {folder!r})
from program_array import target_for
with labctl.load_bench({bench!r}) as bench, bench.array() as array:
    labctl.run("write_verify", array, target=target_for({rows}), out={out!r}, max_pulses={pulses})
print(int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024)
"""


def target_for(rows: int) -> np.ndarray:
    """(rows, rows) S: the shipped weights, repeated or cut."""
    layer = default_target().conductance
    times = -(-rows // len(layer))
    return np.tile(layer, (times, times))[:rows, :rows]


def recorded_run(bench: Path, rows: int, folder: Path) -> dict[str, Any]:
    with labctl.load_bench(bench) as live, live.array() as array:
        started = time.perf_counter()
        result = labctl.run("write_verify", array, target=target_for(rows), out=folder)
        elapsed = time.perf_counter() - started
    size = result.path.stat().st_size
    result.path.unlink()
    return {"seconds": elapsed, "pulses": result.summary["pulses"], "reads": result.summary["reads"], "bytes": size}


def direct_run(rows: int) -> dict[str, float]:
    """The protocol on the chip itself."""
    array = DirectArray(CrossbarMacro.buy(SERIAL, rows=rows, cols=rows))
    procedure = load_protocol("write_verify")
    settings = procedure.settings(target=target_for(rows))
    started = time.perf_counter()
    for _ in procedure.steps(array, settings, np.random.default_rng(0)):
        pass
    return {"seconds": time.perf_counter() - started, "chip": array.seconds_in_chip, "pulses": array.pulses}


def seconds_per_query(bench: Path) -> float:
    """One pulse-and-verify of one cell as one PyVISA query, without a Nagle stall as it is one message."""
    resource = re.search(r"TCPIP0::\S+?SOCKET", bench.read_text())[0]
    manager = pyvisa.ResourceManager("@py")
    with manager.open_resource(resource, read_termination="\n", write_termination="\n") as board:
        board.write("*RST;:FORM:BORD SWAP;:OUTP ON")
        first = int(board.query("PULS:SEQ?")) + 1
        code = np.uint16(1000).tobytes()
        started = time.perf_counter()
        for number in range(first, first + QUERIES):
            cell = np.uint32(number % 4096).tobytes()
            board.write_raw(b"PULS:VER:IND? %d,SET,1E-7,1,#14%s,#12%s\n" % (number, cell, code))
            board.read()
        elapsed = time.perf_counter() - started
    return elapsed / QUERIES


def seconds_per_plain_exchange() -> float:
    """The floor of a small exchange: a plain socket to an echo in another process."""
    echo = (
        "import socket,sys\ns=socket.create_server(('127.0.0.1',0));print(s.getsockname()[1],flush=True)\n"
        "c,_=s.accept();c.setsockopt(socket.IPPROTO_TCP,socket.TCP_NODELAY,1)\n"
        "while (d:=c.recv(65536)): c.sendall(d)"
    )
    with subprocess.Popen([sys.executable, "-c", echo], stdout=subprocess.PIPE, text=True) as server:
        with socket.create_connection(("127.0.0.1", int(server.stdout.readline()))) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            started = time.perf_counter()
            for _ in range(QUERIES):
                connection.sendall(b"x" * 32)
                connection.recv(64)
            elapsed = time.perf_counter() - started
        server.wait()
    return elapsed / QUERIES


def peak_memory(bench: Path, rows: int, folder: Path, pulses: int) -> int:
    """Resident bytes of the controlling process at its peak, the interpreter and its packages included."""
    code = MEMORY.format(folder=str(Path(__file__).parent), bench=str(bench), rows=rows, out=str(folder), pulses=pulses)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=folder)
    for path in folder.glob("*.h5"):
        path.unlink()
    return int(done.stdout)


def measure(rows: int, rounds: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        inside = write_bench(folder, rows=rows, cols=rows, chip=SERIAL, name="inside.toml")
        found: list[dict[str, float]] = []
        for _ in range(rounds + 1):  # the first warms up
            direct = direct_run(rows)
            with served(folder, rows=rows, cols=rows, chip=SERIAL) as (bench, _):
                tcp = recorded_run(bench, rows, folder)
                query = seconds_per_query(bench)
            embedded = recorded_run(inside, rows, folder)
            pulses = direct["pulses"]
            found.append(
                {
                    "pulses": pulses,
                    "chip_ns": direct["chip"] / pulses * 1e9,
                    "direct_ns": direct["seconds"] / pulses * 1e9,
                    "tcp_ns": tcp["seconds"] / pulses * 1e9,
                    "in_process_ns": embedded["seconds"] / pulses * 1e9,
                    "query_ns": query * 1e9,
                    "plain_exchange_ns": seconds_per_plain_exchange() * 1e9,
                    "tcp_s": tcp["seconds"],
                    "in_process_s": embedded["seconds"],
                    "file_bytes": tcp["bytes"],
                    "tcp_over_chip": tcp["seconds"] / direct["chip"],
                    "tcp_over_direct": tcp["seconds"] / direct["seconds"],
                    "in_process_over_direct": embedded["seconds"] / direct["seconds"],
                    "query_over_tcp": query / (tcp["seconds"] / pulses),
                }
            )
        medians = {key: statistics.median(each[key] for each in found[1:]) for key in found[0]}
        return {"rows": rows, "rounds": rounds, **medians, "memory": memory(folder)}


def memory(folder: Path) -> list[dict[str, float]]:
    """Peaks by array size and number of steps; and what each further cell costs, from the smallest array on."""
    table: list[dict[str, float]] = []
    for rows, pulses in ((256, 200), (512, 200), (512, 20), (1024, 200)):
        with served(folder, rows=rows, cols=rows, chip=SERIAL) as (bench, _):
            peak = peak_memory(bench, rows, folder, pulses)
        first = table[0] if table else {"peak_bytes": peak, "rows": 0}
        further = (peak - first["peak_bytes"]) / (rows**2 - first["rows"] ** 2)
        table.append({"rows": rows, "max_pulses": pulses, "peak_bytes": peak, "bytes_a_further_cell": further})
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = measure(arguments.rows, arguments.rounds)
    if arguments.json:
        print(json.dumps(found, indent=2))
        return
    print(
        f"{found['rows']} x {found['rows']}, {found['pulses']:,.0f} pulses; ns a pulse-and-verify, "
        f"medians of {found['rounds']} rounds"
    )
    for name, label in (
        ("chip_ns", "chip's own calls"),
        ("direct_ns", "protocol on the chip, no wire, no file"),
        ("in_process_ns", "recorded run, in process"),
        ("tcp_ns", "recorded run over TCP"),
        ("plain_exchange_ns", "one exchange on a plain socket"),
        ("query_ns", "one PyVISA query a cell"),
    ):
        print(f"  {found[name]:12,.1f}  {label}")
    print(f"recorded run: {found['tcp_s']:.2f} s over TCP, {found['in_process_s']:.2f} s in process")
    for name, aim in (
        ("tcp_over_direct", "aim <= 1.5"),
        ("tcp_over_chip", ""),
        ("in_process_over_direct", ""),
        ("query_over_tcp", "aim >= 500"),
    ):
        print(f"  {found[name]:12,.2f}  {name.replace('_', ' ')}  {aim}")
    print("peak memory of the controlling process")
    for each in found["memory"]:
        print(
            f"  {each['rows']:5d} rows, {each['max_pulses']:3.0f} pulses at most: {each['peak_bytes'] / 1e6:7.1f} MB, "
            f"{each['bytes_a_further_cell']:6.0f} bytes a further cell"
        )


if __name__ == "__main__":
    main()
