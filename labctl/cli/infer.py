"""`labctl infer`: the network that a pruning run left on its array, judged again."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import click
import msgspec
import numpy as np

from labctl.bench.settings import read_bench
from labctl.cli.console import QuantityType
from labctl.cli.procedures import carry_out, common, flat, yes
from labctl.cli.prune import print_pruned
from labctl.errors import UsageError
from labctl.recording.catalogue import Catalogue, Query, resolve_run
from labctl.recording.checkpoint import read_checkpoint
from labctl.recording.reader import opened

_NOT_TAKEN = ("exclude", "baselines", "rest")
"""Settings of the pruning run that are not those of judging it again."""


@click.command("infer")
@click.argument("run")
@click.option("--data", type=click.Path(path_type=Path), help="Folder of the data sets. Default: that of the run.")
@click.option("--rest", type=QuantityType("s", many=True), help="Judge again after so long, as in 1h,1d.")
@click.option("--verify", is_flag=True, help="First switch cells that are no longer in their state.")
@yes
@common
def infer(run: str, data: Path | None, rest: list[float] | None, verify: bool, **options: Any) -> None:
    """Judge on the board the network that a pruning run left on its array.

    RUN: a path, a name or its beginning, or `last`, the last one of pruning. The cells are read as they are now,
    columns and batch norms are calibrated on the board, and the test samples go through it.
    """
    path = _pruning_run(run, read_bench(options["bench"]).runs_folder)
    settings = {**_settings(path), "verify": verify}
    if data is not None:
        settings["data"] = str(data.resolve())
    if rest is not None:
        settings["rest"] = rest
    carry_out("inference", lambda _: settings, print_pruned, flat, **options)


def _pruning_run(text: str, folder: Path) -> Path:
    if text == "last" and folder.is_dir():
        found = Catalogue(folder).find(Query(protocol="pruning"))
        if found:
            return found[-1].path
    return resolve_run(text, folder)


def _settings(path: Path) -> dict[str, Any]:
    """Those of the pruning run at `path`, with its last checkpoint. Raises UsageError where it is none."""
    with opened(path) as (file, _):
        protocol = str(file.attrs["protocol"])
        if protocol != "pruning":
            raise UsageError(f"{path.name} is a run of {protocol}: only one of pruning leaves a network to judge")
        settings: dict[str, Any] = msgspec.json.decode(file["provenance"].attrs["settings"])
    state = io.BytesIO()
    np.savez(state, **read_checkpoint(path))  # type: ignore[arg-type]
    kept = {name: value for name, value in settings.items() if name not in _NOT_TAKEN}
    return {**kept, "state": np.frombuffer(state.getvalue(), np.uint8)}
