"""`labctl associate train`: a network with ternary weights, trained in software, and judged there."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from labctl.cli.console import print_json, print_table
from labctl.errors import UsageError
from labctl.learning.datasets import Dataset, load_dataset
from labctl.learning.metrics import Accuracy, accuracy
from labctl.learning.ternary import TernaryNetwork, load_network, save_network


@click.command("train")
@click.option("--epochs", type=click.IntRange(1), help="With ternary weights.  [default: 24]")
@click.option("--float-epochs", type=click.IntRange(1), help="In float, before them.  [default: 14]")
@click.option("--hidden", type=click.IntRange(1), help="Units of the hidden layer.  [default: 64]")
@click.option(
    "--seed", type=click.IntRange(0), default=1, show_default=True, help="Of first weights and of the order of images."
)
@click.option("--data", type=click.Path(path_type=Path), help="Folder of the data sets. Default: $LABCTL_DATA.")
@click.option("--own-data", is_flag=True, help="The data are not the published set, but your own in its format.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default="ternary.npz",
    show_default=True,
    help="File of the network.",
)
@click.option("--judge", type=click.Path(), metavar="NETWORK", help="Train nothing; judge fashion-mnist, or an .npz.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
def train(
    data: Path | None,
    own_data: bool,
    output: Path,
    judge: str | None,
    as_json: bool,
    quiet: bool,
    **course: int | None,
) -> None:
    """Train a network with ternary weights for Fashion-MNIST, in software.

    In float first, from there with weights of -1, 0 and 1 and activations of 4 bits. The file has both networks, and
    both are judged by all test images, as read back from it: `labctl associate run --network FILE` runs it on an array.
    Needs torch: pip install 'labctl[learn]'.
    """
    if judge is not None:
        network = load_network(judge)
        values = _judged(network, load_dataset("fashion-mnist", data, own=own_data), judge)
    else:
        values = _trained(data, own_data, output, quiet, course)
    if as_json:
        print_json(values)
    else:
        _print(values)


def _trained(
    data: Path | None, own_data: bool, output: Path, quiet: bool, given: dict[str, int | None]
) -> dict[str, Any]:
    if find_spec("torch") is None:
        raise UsageError("training needs torch: pip install 'labctl[learn]'")
    if output.suffix != ".npz" or not output.absolute().parent.is_dir():
        raise UsageError(f"{output} cannot be the network's file: it ends in .npz, in a folder that is there")
    from labctl.learning.ternary.training import Course, Progress, train_ternary

    chosen: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if "hidden" in chosen:
        chosen["hidden"] = (chosen["hidden"],)
    course, samples = Course(**chosen), load_dataset("fashion-mnist", data, own=own_data)

    def tell(progress: Progress) -> None:
        if not quiet:
            click.echo(
                f"{progress.phase:<8} epoch {progress.epoch} of {progress.epochs}, loss {progress.loss:.3f}, "
                f"{progress.accuracy:.1%} while training",
                err=True,
            )

    save_network(train_ternary(samples, course, tell), output)
    return _judged(load_network(output), samples, str(output))


def _judged(network: TernaryNetwork, data: Dataset, where: str) -> dict[str, Any]:
    """As JSON. accuracy_float: None where the file holds no float network."""
    ways = {"ternary": network.infer} | ({"float": network.float_logits} if network.holds_floats else {})
    values: dict[str, Any] = {"network": where, "data": data.source, "images": len(data.test_labels)}
    values["accuracy_float"] = None
    for way, logits in ways.items():
        found: Accuracy = accuracy(data.test_labels, logits(data.test_inputs).argmax(axis=1))
        values |= {f"accuracy_{way}": found.value, f"accuracy_{way}_low": found.low, f"accuracy_{way}_high": found.high}
    values["layers"] = [
        {
            "name": layer.name,
            "weights": layer.weights.size,
            "zeros": float((layer.weights == 0).mean()),
            "rows_per_image": network.positions(index),
        }
        for index, layer in enumerate(network.layers)
    ]
    return values


def _print(values: dict[str, Any]) -> None:
    rows = [("network", values["network"]), ("data", values["data"])]
    for way in ("float", "ternary"):
        if values[f"accuracy_{way}"] is not None:
            low, high = values[f"accuracy_{way}_low"], values[f"accuracy_{way}_high"]
            rows.append((way, f"{values[f'accuracy_{way}']:.2%} (95 %: {low:.2%} to {high:.2%})"))
    print_table([*rows, ("test images", f"{values['images']:,}")])
    click.echo()
    print_table(
        [
            (each["name"], f"{each['weights']:,}", f"{each['zeros']:.1%}", each["rows_per_image"])
            for each in values["layers"]
        ],
        ("layer", "weights", "zeros", "rows an image"),
    )
