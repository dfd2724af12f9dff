"""`labctl sim serve`."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Any

import click

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
@click.option("--json", "as_json", is_flag=True, help="Print what is served as JSON.")
def serve(bench: Path | None, port: int | None, host: str, as_json: bool) -> None:
    """Serve the simulated instruments of a bench file over TCP until interrupted.

    One line an instrument goes to stdout once it answers: its name and VISA resource name. Any SCPI program can use
    it; for labctl, name it in a bench file with visa_library = "@py". State is saved on leaving.
    """
    done = threading.Event()
    for name in ("SIGINT", "SIGTERM", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda *_: done.set())
    serve_bench: Any = load_plugin("labctl.servers", "tcp")
    try:
        server = serve_bench(bench, host=host, port=port)
    except (OSError, ValueError) as problem:
        raise UsageError(str(problem)) from None
    with server:
        if as_json:
            print_json([{"name": each.name, "resource_name": each.resource_name} for each in server.bound])
        else:
            for each in server.bound:
                click.echo(f"{each.name} {each.resource_name}")
        while not done.wait(0.2):
            pass
