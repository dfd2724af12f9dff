"""`labctl train`: a network whose weights learn on the array, in mixed precision, judged on the board."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import msgspec
from click.core import ParameterSource

from labctl.bench.settings import read_bench
from labctl.cli.account_tables import print_account
from labctl.cli.console import QuantityType, settings_from
from labctl.cli.procedures import carry_out, common, duration, flat, print_rows, with_bench, yes
from labctl.cli.resume import go_on
from labctl.errors import NoRunError, UsageError
from labctl.learning.trainable.tasks import TRAINING_BASELINES, TRAINING_TASKS
from labctl.plugins import load_protocol
from labctl.recording.catalogue import Catalogue, Query, resolve_run
from labctl.recording.layout import Outcome
from labctl.recording.past import Past
from labctl.runner import RunResult
from labctl.units import convert, format_quantity

_BENCH = "pcm"
_LAST = "last"
_PLAIN = ("task", "network", "epochs", "batch", "rate", "decay", "devices", "refresh_images", "rounding", "adc_bits")
"""Options that are settings as they stand, where they are given."""

_OF_WHAT = {"text": " of the next characters", "gan": " of the pictures it draws are sure to be digits"}
_AN_IMAGE = {"text": "a character"}
_WRITTEN = 120  # characters of a text that are shown; JSON has all
_SHOWN = 10  # epochs of a learning curve
_OF_ANOTHER_RUN = {"array_name": "--array", "seed": "--seed", "all_cells": "--all-cells", "dry_run": "--dry-run"}


@click.command("train")
@click.option("--task", type=click.Choice(list(TRAINING_TASKS)), help="What is learnt.  [default: mnist]")
@click.option("--network", help="Widths as in 784-250-10, convolutional, lstm-128, gan.  [default: that of the task]")
@click.option("--data", type=click.Path(path_type=Path), help="Folder of the data sets. Default: $LABCTL_DATA.")
@click.option("--own-data", is_flag=True, help="The data are not the published set, but your own in its format.")
@click.option("--epochs", type=int, help="How long to train.  [default: that of the task]")
@click.option("--batch", type=int, help="Samples learnt from at once.  [default: that of the task]")
@click.option("--rate", type=float, help="Learning rate.  [default: that of the task and batch]")
@click.option("--decay", type=float, help="What the rate is multiplied by after each epoch.")
@click.option("--devices", type=int, help="Pairs of devices a weight stands on.  [default: of the task]")
@click.option("--refresh-images", type=int, help="Samples between refreshes of saturated pairs; 0: never.")
@click.option("--rounding", type=click.Choice(["truncate", "floor"]), help="Of what has accumulated, to pulses.")
@click.option("--dac-bits", type=int, help="Of what is multiplied; 0: the board's own.  [default: 8]")
@click.option("--adc-bits", type=int, help="Of the products' conversion, 8 to 14.  [default: 14]")
@click.option("--train", "train_samples", type=int, help="Train with so many samples only.")
@click.option("--test", "test_samples", type=int, help="Judge by so many samples only.")
@click.option("--rest", type=QuantityType("s", many=True), help="Judge again after so long, as in 1h,1d.")
@click.option("--baselines", help=f"Train beside it: some of {','.join(TRAINING_BASELINES)}.  [default: all]")
@click.option("--no-baselines", is_flag=True, help="Train nothing beside it.")
@click.option("--account", is_flag=True, help="Print what an image costs, part by part, and what that rests on.")
@click.option(
    "--resume",
    metavar="[RUN]",
    is_flag=False,
    flag_value=_LAST,
    help="Go on with a training run that was interrupted; without RUN, the last one.",
)
@yes
@common
@click.pass_context
def train(context: click.Context, /, account: bool, resume: str | None, **options: Any) -> None:
    """Train a network whose every weight stands on the array, as a difference of conductances.

    Products forward and backward are the board's. Updates accumulate digitally, and reach the array as blind pulses
    once they are as large as what a pulse does. Without a bench, on a simulated chip of 512 x 2048 phase-change cells,
    new each time (`--bench pcm`).
    """
    settings = _settings(options)

    def show(result: RunResult) -> int:
        width = print_trained(result)
        if account and result.summary.get("account"):
            click.echo()
            of_what = _AN_IMAGE.get(result.summary["task"], "an image")
            print_account(result.summary["account"], what=f"training with {of_what}")
        return width

    if resume is None:
        carry_out("training", lambda _: settings, show, flat, **with_bench(options, _BENCH))
        return
    for name, said in _OF_ANOTHER_RUN.items():
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise UsageError(f"{said} cannot be said with --resume: a run goes on as it was begun")
    pairs, out = options.pop("pairs"), options.pop("out")
    path = _to_resume(resume, read_bench(options["bench"]).runs_folder if out is None else out)
    _check_same(path, {**settings, **settings_from(load_protocol("training"), pairs)})
    kept = ("bench", "as_json", "plotted", "quiet", "yes")
    go_on(path, show, force=False, **{name: options[name] for name in kept})


def print_trained(result: RunResult) -> int:
    """What came of training; gives the width of the first column."""
    return print_rows(_rows(result.summary), result)


def _settings(options: dict[str, Any]) -> dict[str, Any]:
    """Settings of the protocol that the `options` name, which are taken out of them. Raises UsageError."""
    given = {name: options.pop(name) for name in _PLAIN}
    given |= {"train": options.pop("train_samples"), "test": options.pop("test_samples"), "rest": options.pop("rest")}
    baselines, none = options.pop("baselines"), options.pop("no_baselines")
    if none and baselines:
        raise UsageError("--baselines and --no-baselines cannot both be meant")
    if none or baselines is not None:
        given["baselines"] = () if none else tuple(each.strip() for each in baselines.split(",") if each.strip())
    data, bits = options.pop("data"), options.pop("dac_bits")
    settings = {name: value for name, value in given.items() if value is not None}
    if options.pop("own_data"):
        settings["own_data"] = True
    if data is not None:
        settings["data"] = str(data.resolve())
    if bits is not None:
        settings["dac_bits"] = bits or None
    return settings


def _to_resume(text: str, folder: Path) -> Path:
    """The run that a person calls `text`, of "last" the last one of training that can go on. Raises NoRunError."""
    if text != _LAST:
        return resolve_run(text, folder)
    found = Catalogue(folder).find(Query(protocol="training")) if folder.is_dir() else []
    unfinished = [each.path for each in found if each.outcome not in (Outcome.FINISHED, Outcome.LIVE)]
    if not unfinished:
        raise NoRunError(f"there is no interrupted run of training in {folder}: nothing to resume")
    return unfinished[-1]


def _check_same(path: Path, given: Mapping[str, Any]) -> None:
    """Raises UsageError where the run at `path` is no training, or was begun with other settings than are `given`."""
    with Past(path) as past:
        protocol, recorded = str(past.attributes["protocol"]), past.settings
    if protocol != "training":
        raise UsageError(f"{path.name} is a run of {protocol}: `labctl runs resume` goes on with it")
    procedure = load_protocol("training")
    asked = msgspec.to_builtins(convert(dict(given), procedure.settings, what=procedure.name), enc_hook=float)
    for name in given:
        if _plain(asked[name]) != _plain(recorded.get(name)):
            begun, now = _told(recorded.get(name)), _told(asked[name])
            raise UsageError(f"{path.name} was begun with {name} {begun}, not {now}, and goes on with what it has")


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _told(value: Any) -> str:
    return ",".join(map(str, value)) or "none" if isinstance(value, (list, tuple)) else str(value)


def _rows(found: Mapping[str, Any]) -> list[tuple[str, Any]]:
    if "accuracy" not in found:  # stopped before there was anything to judge
        return []
    return [
        ("network", f"{found['network']}, {_weights(found)}"),
        ("data", found["data"]),
        ("trained", f"for {found['epochs']} epoch{'s' if found['epochs'] > 1 else ''}, by batches of {found['batch']}"),
        *_judged(found),
        *_of_text(found),
        *_of_pictures(found),
        ("learning curve", _curve(found["curve"])),
        *((f"after {duration(each['after_s'])}", _rested(each)) for each in found.get("rests", ())),
        ("SET pulses", _pulses(found)),
        ("RESET pulses", _resets(found)),
        *_sparsity(found["sparsity"]),
        ("products", _products(found["products"])),
        *_an_epoch(found["seconds_per_epoch"]),
        *_energy(found.get("account") or {}, _AN_IMAGE.get(found["task"], "an image")),
    ]


def _weights(found: Mapping[str, Any]) -> str:
    """What the network stands on."""
    weights, cells = (sum(layer[name] for layer in found["layers"]) for name in ("weights", "cells"))
    return f"{weights:,} weights on {cells:,} cells"


def _judged(found: Mapping[str, Any]) -> list[tuple[str, Any]]:
    low, high = found["accuracy_low"], found["accuracy_high"]
    interval = "" if low is None else f" (95 %: {low:.2%} to {high:.2%})"
    rows = [("on the board", f"{found['accuracy']:.2%}{interval}{_OF_WHAT.get(found['task'], '')}")]
    rows += [(TRAINING_BASELINES[name], f"{value:.2%}") for name, value in found["baselines"].items()]
    published = found["published"]
    return rows + ([("published", f"{published:.2%}, on a real array")] if published is not None else [])


def _of_text(found: Mapping[str, Any]) -> list[tuple[str, Any]]:
    rows = [
        (label, f"{found[name]:.3f} bits a character")
        for label, name in (("text", "bits_per_char"), ("text, float32", "bits_per_char_float"))
        if name in found
    ]
    if "sample" in found:
        sample = found["sample"]
        rows.append(("it writes", repr(sample[:_WRITTEN]) + (" ..." if len(sample) > _WRITTEN else "")))
    return rows


def _of_pictures(found: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The score alone would not say whether it draws one digit only."""
    if "score_real" not in found:
        return []
    drawn = (("pictures", ""), ("pictures, float32", "_float"), ("real pictures", "_real"))
    return [
        (
            label,
            f"{found[f'score{of}']:.2%} sure, balance of digits {found[f'balance{of}']:.2f}, "
            f"inception {found[f'inception{of}']:.2f}",
        )
        for label, of in drawn
        if f"score{of}" in found
    ]


def _curve(accuracies: list[float]) -> str:
    """After each epoch; of many, the last."""
    shown = " ".join(f"{100 * each:.2f}" for each in accuracies[-_SHOWN:])
    return f"{'... ' if len(accuracies) > _SHOWN else ''}{shown} % after each epoch"


def _rested(rest: Mapping[str, Any]) -> str:
    compensated = rest.get("accuracy_compensated")
    return f"{rest['accuracy']:.2%}" + ("" if compensated is None else f"; with drift compensated {compensated:.2%}")


def _pulses(found: Mapping[str, Any]) -> str:
    of_layers = ", ".join(f"{layer['name']} {layer['pulses_per_device']:.3g}" for layer in found["layers"])
    return f"{found['pulses']:,}, {found['pulses_per_device']:.3g} a device ({of_layers})"


def _resets(found: Mapping[str, Any]) -> str:
    return f"{found['resets']:,}, {found['resets_per_device']:.3g} a device; {found['refreshed']:,} pairs refreshed"


def _sparsity(share: float | None) -> list[tuple[str, Any]]:
    return [] if share is None else [("no pulse in", f"{share:.3%} of all weights and batches")]


def _an_epoch(seconds: float | None) -> list[tuple[str, Any]]:
    return [] if seconds is None else [("an epoch takes", f"{seconds:.3g} s of the computer")]


def _products(counts: Mapping[str, int]) -> str:
    share = counts["saturated"] / max(counts["conversions"], 1)
    return f"{counts['vectors']:,} of vectors; {share:.2%} conversions saturated"


def _energy(account: Mapping[str, Any], of_what: str) -> list[tuple[str, Any]]:
    """A line; `--account` prints the whole of it."""
    if not account:
        return []
    energy, latency = (format_quantity(account[key], unit, 3) for key, unit in (("energy", "J"), ("latency", "s")))
    return [(f"energy {of_what}", f"{energy} in {latency}, as figures from the literature say (--account)")]
