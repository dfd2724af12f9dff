"""`labctl prune`: a random resistive memory network, pruned on the array and judged on the board."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from labctl.cli.account_tables import print_account
from labctl.cli.console import QuantityType
from labctl.cli.procedures import carry_out, common, duration, flat, print_rows, yes
from labctl.learning.tasks import BASELINES, TASKS
from labctl.runner import RunResult
from labctl.units import format_quantity


@click.command("prune")
@click.option("--task", type=click.Choice(list(TASKS)), default="fashion-mnist", show_default=True)
@click.option(
    "--network",
    help="convolutional, recurrent, unet, or widths as in 784-512-10.  [default: the published one of the task]",
)
@click.option("--data", type=click.Path(path_type=Path), help="Folder of the data sets. Default: $LABCTL_DATA.")
@click.option("--own-data", is_flag=True, help="The data are not the published set, but your own in its format.")
@click.option("--split", help="Of spoken digits: official, or speaker:NAME held out.")
@click.option("--epochs", type=int, help="How long to train.")
@click.option("--keep", type=float, help="Share of each layer's edges to keep.  [default: 0.5]")
@click.option("--bits", type=int, help="Of an activation.  [default: as published]")
@click.option("--policy", type=click.Choice(["both", "one"]), help="Cells of a pair that pruning resets.")
@click.option("--density", type=float, help="Share of pristine cells to form first.  [default: 0.5]")
@click.option("--rest", type=QuantityType("s", many=True), help="Judge again after so long, as in 1h,1d.")
@click.option(
    "--baselines/--no-baselines", default=True, show_default=True, help="Train and judge the other five ways beside it."
)
@click.option("--account", is_flag=True, help="Print what a sample costs, part by part, and what that rests on.")
@yes
@common
def prune(
    task: str,
    data: Path | None,
    own_data: bool,
    density: float | None,
    rest: list[float] | None,
    baselines: bool,
    account: bool,
    **options: Any,
) -> None:
    """Prune a network of random conductances on the array.

    Pristine cells are formed to a density; their randomness is the network. Which edges it keeps is trained, in
    software with the cells as they read, and brought onto the array by pulses; then it is judged on the board, by
    bit-serial products.
    """
    settings: dict[str, Any] = {"task": task, "own_data": own_data}
    for name in ("network", "split", "epochs", "keep", "bits", "policy"):
        value = options.pop(name)
        if value is not None:
            settings[name] = value
    if data is not None:
        settings["data"] = str(data.resolve())
    if density is not None:
        settings["form"] = {"density": density}
    if rest is not None:
        settings["rest"] = rest
    if not baselines:
        settings["baselines"] = ()

    def show(result: RunResult) -> int:
        width = print_pruned(result)
        if account and "account" in result.summary:
            click.echo()
            print_account(result.summary["account"])
        return width

    carry_out("pruning", lambda _: settings, show, flat, **options)


def print_pruned(result: RunResult) -> int:
    """What came of pruning; gives the width of the first column."""
    return print_rows(_rows(result.summary), result)


def _rows(found: Mapping[str, Any]) -> list[tuple[str, Any]]:
    if "accuracy_software" not in found:  # stopped before there was anything to judge
        return []
    rows: list[tuple[str, Any]] = [
        ("network", f"{found['network']}, {found['bits']} bits, {_tiles(found)}"),
    ]
    rows.append(("data", found["data"]))
    if found["accuracy_board"] is not None:
        low, high = found["accuracy_board_low"], found["accuracy_board_high"]
        interval = "" if low is None else f" (95 %: {low:.2%} to {high:.2%})"
        rows.append(("on the board", f"{found['accuracy_board']:.2%}{interval}"))
    rows.append(("in software", f"{found['accuracy_software']:.2%}, by the last readings of the cells"))
    rows += [(BASELINES[name], f"{value:.2%}") for name, value in found["baselines"].items()]
    if "pr_auc_software" in found:
        rows += _areas(found)
    rows += [(f"after {duration(each['after_s'])}", _rested(each)) for each in found.get("rests", ())]
    switches = f"mean {found['switches_per_cell']:.2f}, most {found['switches_per_cell_most']}"
    return [
        *rows,
        ("switches a cell", f"{switches}, of {found['cells']:,} cells"),
        ("pulses", f"{found['pulses']:,} SET and RESET; {found['cells_fixed']:,} cells did not follow"),
        ("reads", f"{found['reads']:,}"),
        *([("products", _products(found["products"]))] if found["products"] else []),
        *_energy(found["account"]),
    ]


def _energy(account: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """A line each; `--account` prints the whole of it."""
    energy, latency = (format_quantity(account[key], unit, 3) for key, unit in (("energy", "J"), ("latency", "s")))
    return [
        ("energy a sample", f"{energy} in {latency}, as figures from the literature say (--account)"),
    ]


def _tiles(found: Mapping[str, Any]) -> str:
    edges, tiles = sum(layer["edges"] for layer in found["layers"]), found["tiles"]
    return f"{edges:,} edges" + (f", in {tiles} turns on the array" if tiles > 1 else "")


def _areas(found: Mapping[str, Any]) -> list[tuple[str, Any]]:
    rows = [
        (f"{what} {where}", f"PR {found[f'pr_auc_{key}']:.4f}, ROC {found[f'roc_auc_{key}']:.4f}")
        for what, where, key in (("areas", "on the board", "board"), ("areas", "in software", "software"))
        if found[f"pr_auc_{key}"] is not None
    ]
    others = found["baselines_roc_auc"]
    return rows + [
        (f"areas, {BASELINES[name]}", f"PR {area:.4f}, ROC {others[name]:.4f}")
        for name, area in found["baselines_pr_auc"].items()
    ]


def _rested(rest: Mapping[str, Any]) -> str:
    verified = rest.get("verified")
    return f"{rest['accuracy']:.2%}" + (f"; verified {verified['accuracy']:.2%}" if verified else "")


def _products(counts: Mapping[str, int]) -> str:
    share = counts["saturated"] / max(counts["conversions"], 1)
    return f"{counts['vectors']:,} of vectors, in {counts['planes']:,} bit planes; {share:.2%} conversions saturated"
