"""`labctl sim serve`."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Any

import click

from labctl.bench.settings import bench_path
from labctl.cli.console import print_json
from labctl.errors import UsageError
from labctl.plugins import load_plugin


@click.group()
def sim() -> None:
    """Serve simulated instruments to any program."""


@sim.command()
@click.argument("bench", type=click.Path(path_type=Path), required=False)
@click.option("--port", type=click.IntRange(0, 65535), help="TCP port, 0 for any free one. Default: the bench file's.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--hislip",
    type=click.IntRange(0, 65535),
    is_flag=False,
    flag_value=4880,
    help="HiSLIP too for every instrument, on this port. Without a number: 4880, VISA's own; 0 for any free one.",
)
@click.option("--baud-rate", type=click.IntRange(1), help="Speed that serial ports keep to. Default: none.")
@click.option("--faults", type=click.Path(path_type=Path), help="A plan of what is to go wrong on the wires.")
@click.option("--json", "as_json", is_flag=True, help="Print what is served as JSON.")
def serve(
    bench: Path | None,
    port: int | None,
    host: str,
    hislip: int | None,
    baud_rate: int | None,
    faults: Path | None,
    as_json: bool,
) -> None:
    """Serve the simulated instruments of a bench file until interrupted: raw sockets, HiSLIP and serial ports.

    One line an address goes to stdout once all answer: the instrument's name and its VISA resource name. Any program
    can use it; for labctl, name it in a bench file with visa_library = "@py". State is saved on leaving.
    """
    done = threading.Event()
    for name in ("SIGINT", "SIGTERM", "SIGBREAK", "SIGHUP"):
        number = getattr(signal, name, None)
        is_nohup = name == "SIGHUP" and number is not None and signal.getsignal(number) is signal.SIG_IGN
        if number is not None and not is_nohup:
            signal.signal(number, lambda *_: done.set())
    serve_bench: Any = load_plugin("labctl.servers", "tcp")
    from threadpoolctl import threadpool_limits

    try:
        path = None if bench is None else bench_path(bench)
        server = serve_bench(path, host=host, port=port, hislip=hislip, baud_rate=baud_rate, faults=faults)
    except (OSError, ValueError) as problem:
        raise UsageError(str(problem)) from None
    with threadpool_limits(1, user_api="blas"), server:  # products of a message at a time: threads would wait
        if as_json:
            print_json([{"name": each.name, "resource_name": each.resource_name} for each in server.bound])
        else:
            for each in server.bound:
                click.echo(f"{each.name} {each.resource_name}")
        while not done.wait(0.2):
            pass
