"""The protocol of inference with a ternary network: every product on the associative array, judged beside software.

Groups of images go through the network layer by layer. A layer's rows, one for each image and position, fill the
array's rows, tile after tile; what is summed there is compared with whole-number sums of the same inputs, and the
logits that come of it with those of the network in software.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from hashlib import sha256
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from labctl.array import Capability, Geometry, Scale
from labctl.associative import AssociativeArray
from labctl.compiler import CompiledLayer, Options, compile_layer, reference, run_layer
from labctl.errors import RunError, SettingsError
from labctl.learning.datasets import Dataset
from labctl.learning.ternary import TernaryNetwork, load_network
from labctl.proportions import wilson_interval
from labctl.protocols.associative.counting import COUNTER_VARIABLES, NOT_COUNTED, Counting
from labctl.protocols.associative.layers import ternary_layer
from labctl.protocols.samples import load_samples
from labctl.steps import Cost, Procedure, Result, Step, Steps, Variable

WAYS = ("chip", "ternary", "float")


class InferenceSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which network judges what, and how its layers are compiled.

    network: `fashion-mnist`, which ships with labctl, or the path of an .npz. data: folder of the data set, that of
    $LABCTL_DATA where empty. own_data: it is not the published set, but one's own in the same format. images: how many
    test images (all where None). group: images that go through all layers together; a run that broke off goes on after
    the last group that is done. trace: record what every pass matched. unroll, order, cse: as the compiler has them.
    """

    network: str = "fashion-mnist"
    data: str = ""
    own_data: bool = False
    images: int | None = None
    group: int = 5000
    trace: bool = False
    unroll: int = 1
    order: Literal["outputs", "inputs"] = "outputs"
    cse: bool = True

    def __post_init__(self) -> None:
        for name in ("images", "group", "unroll"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")

    @property
    def options(self) -> Options:
        return Options(unroll=self.unroll, order=self.order, cse=self.cse)


def _steps(
    array: AssociativeArray,
    settings: InferenceSettings,
    rng: np.random.Generator,  # noqa: ARG001
    checkpoint: Mapping[str, NDArray[Any]] | None,
) -> Steps:
    network, data = _network(settings), _data(settings)
    inference = _Inference(array, settings, network, data)
    yield from inference.compile()
    inference.begin(checkpoint)
    while inference.done < len(inference.labels):
        yield from inference.next_group()
    return inference.summary()


class _Inference:
    """`network` on `array`, group by group. logits: of the images `done` so far, by way of getting them."""

    def __init__(
        self, array: AssociativeArray, settings: InferenceSettings, network: TernaryNetwork, data: Dataset
    ) -> None:
        self.array = array
        self.settings = settings
        self.network = network
        self.data = data
        self.labels: NDArray[np.int64] = data.test_labels.astype(np.int64)
        self.compiled: list[CompiledLayer] = []
        self.logits: dict[str, NDArray[np.float64]] = {}
        self.tallies = _Tallies.of_layers(len(network.layers))
        self.counting = Counting(array)

    # -- life ---------------------------------------------------------------------------------------------------

    def compile(self) -> Generator[Step, None, None]:
        """Every layer to a program for this array, once for all images."""
        total = len(self.network.layers)
        for index in range(total):
            layer = ternary_layer(self.network, index)
            self.compiled.append(compile_layer(layer, self.array.associative, self.settings.options))
            yield Step("compile", {"layer": index}, progress=(index + 1, total))

    def begin(self, checkpoint: Mapping[str, NDArray[Any]] | None) -> None:
        """At the first image, or where a `checkpoint` says. Raises RunError where that is of something else."""
        if checkpoint is None:
            ways = WAYS if self.network.holds_floats else WAYS[:-1]
            self.logits = {way: np.zeros((0, self.network.classes)) for way in ways}
            return
        then, now = (each.tobytes().decode() for each in (checkpoint["identity"], self._identity()))
        if then != now:
            raise RunError(f"this is not what the run was begun with: then {then}; now {now}")
        self.logits = {way: checkpoint[f"logits_{way}"] for way in WAYS if f"logits_{way}" in checkpoint}
        self.tallies = _Tallies.of(checkpoint)
        self.counting = Counting(self.array, checkpoint)

    @property
    def done(self) -> int:
        """Images."""
        return len(self.logits["chip"])

    def next_group(self) -> Generator[Step, None, None]:
        """A step a tile of rows; the last one of a group has what came of it, and a checkpoint."""
        chosen = slice(self.done, min(self.done + self.settings.group, len(self.labels)))
        images = self.data.test_inputs[chosen]
        codes, last = self.network.codes(images), len(self.compiled) - 1
        for index in range(len(self.compiled)):
            rows = self.network.rows(index, codes)
            sums = np.empty((len(rows), self.compiled[index].layer.outputs), np.int64)
            size = self.array.associative.rows
            for first in range(0, len(rows), size):
                tile = rows[first : first + size]
                sums[first : first + size], values = self._tile(index, tile)
                if index < last or first + size < len(rows):
                    share = (index + min(first + size, len(rows)) / len(rows)) / (last + 1)
                    yield Step("run", values, progress=(self.done + share * len(images), len(self.labels)))
            codes = self.network.finish(index, sums, len(images))
        judged = self._judge(images, codes)
        yield Step("run", values | judged, progress=(self.done, len(self.labels)), checkpoint=self._checkpoint())

    def _tile(self, index: int, rows: NDArray[np.uint8]) -> tuple[NDArray[np.int64], dict[str, float | int]]:
        """Sums of `rows`, at most as many as the array has, and a step's values."""
        compiled = self.compiled[index]
        found = run_layer(compiled, rows, self.array.perform, trace=self.settings.trace)
        wrong = int(np.count_nonzero(found.sums != reference(compiled.layer, rows)))
        passes = int(compiled.statistics.passes)
        self.tallies.add(index, found.sums.size, wrong, passes, found.seconds)
        values: dict[str, float | int] = {"layer": index, "rows": len(rows), "sums": found.sums.size}
        return found.sums, values | {
            "mismatches": wrong,
            "passes": passes,
            "board_seconds": found.seconds,
            **self.counting.step(),
        }

    def _judge(self, images: NDArray[np.float32], logits: NDArray[Any]) -> dict[str, int]:
        """What the chip, whole numbers in software, and the float network take these images for."""
        found = {"chip": logits, "ternary": self.network.infer(images)}
        if self.network.holds_floats:
            found["float"] = self.network.float_logits(images)
        labels = self.labels[self.done : self.done + len(images)]
        right = {f"right_{way}": int(np.count_nonzero(each.argmax(axis=1) == labels)) for way, each in found.items()}
        for way, each in found.items():
            self.logits[way] = np.concatenate([self.logits[way], each])
        differ = int(np.count_nonzero((found["chip"] != found["ternary"]).any(axis=1)))
        return {"samples": self.done, "differing": differ, **right}

    # -- what is recorded -----------------------------------------------------------------------------------------

    def _checkpoint(self) -> dict[str, NDArray[Any]]:
        logits = {f"logits_{way}": each for way, each in self.logits.items()}
        return {"identity": self._identity(), **logits, **self.tallies.state(), **self.counting.state()}

    def _identity(self) -> NDArray[np.uint8]:
        """Which network and data this is about, as the bytes of a text."""
        return np.frombuffer(f"network {digest(self.network)}, data {self.data.digest}".encode(), np.uint8)

    def summary(self) -> dict[str, Any]:
        """JSON values, and Results of their names."""
        images, counters = len(self.labels), self.counting.total.as_values()
        taken = {way: each.argmax(axis=1) for way, each in self.logits.items()}
        judged: dict[str, Any] = {"accuracy_float": None}
        for way, each in taken.items():
            right = int(np.count_nonzero(each == self.labels))
            low, high = wilson_interval(right, images)
            judged |= {f"accuracy_{way}": right / images, f"accuracy_{way}_low": low, f"accuracy_{way}_high": high}
        confusion = np.zeros((self.network.classes,) * 2, np.uint32)
        np.add.at(confusion, (self.labels, taken["chip"]), 1)
        return {
            "network": self.network.name,
            "network_sha256": digest(self.network),
            "task": self.data.name,
            "data": self.data.source,
            "data_sha256": self.data.digest,
            "images": images,
            **judged,
            "mismatches": int(np.count_nonzero((self.logits["chip"] != self.logits["ternary"]).any(axis=1))),
            "taken_differently": int(np.count_nonzero(taken["chip"] != taken["ternary"])),
            "sums": int(self.tallies.sums.sum()),
            "sums_mismatched": int(self.tallies.wrong.sum()),
            "passes": int(self.tallies.passes.sum()),
            "board_seconds": float(self.tallies.seconds.sum()),
            "counters": counters,
            "layers": [self._layer(index) for index in range(len(self.compiled))],
            "confusion": Result(confusion, ("label", "predicted"), "test images by label, and by what the chip said"),
        }

    def _layer(self, index: int) -> dict[str, Any]:
        compiled, tallies = self.compiled[index], self.tallies
        statistics = compiled.statistics
        return {
            "name": compiled.layer.name,
            "inputs": compiled.layer.inputs,
            "outputs": compiled.layer.outputs,
            "operations_without_cse": int(statistics.operations_without_cse),
            "operations": int(statistics.operations),
            "columns": int(statistics.columns),
            "tiles": int(tallies.tiles[index]),
            "passes": int(tallies.passes[index]),
            "sums": int(tallies.sums[index]),
            "sums_mismatched": int(tallies.wrong[index]),
            "board_seconds": float(tallies.seconds[index]),
        }


class _Tallies:
    """Of each layer, (layers,): tiles of rows, sums, how many of them were wrong, passes, and s of the board."""

    def __init__(self, counts: NDArray[np.int64], seconds: NDArray[np.float64]) -> None:
        self._counts, self.seconds = counts, seconds
        self.tiles, self.sums, self.wrong, self.passes = counts

    @classmethod
    def of_layers(cls, layers: int) -> _Tallies:
        return cls(np.zeros((4, layers), np.int64), np.zeros(layers))

    @classmethod
    def of(cls, state: Mapping[str, NDArray[Any]]) -> _Tallies:
        """What `state` gave."""
        return cls(state["tallies"].copy(), state["seconds"].copy())

    def state(self) -> dict[str, NDArray[Any]]:
        return {"tallies": self._counts, "seconds": self.seconds}

    def add(self, layer: int, sums: int, wrong: int, passes: int, seconds: float) -> None:
        """A tile that is done."""
        self._counts[:, layer] += (1, sums, wrong, passes)
        self.seconds[layer] += seconds


def digest(network: TernaryNetwork) -> str:
    """The same for networks whose logits are the same, sha256 as text."""
    found = sha256(f"{network.shape} {network.input_bits}".encode())
    for layer in network.layers:
        found.update(f"{layer.weights.shape} {layer.stride} {layer.padding} {layer.pool} {layer.relu}".encode())
        for values in (layer.weights, layer.scale, layer.offset):
            found.update(np.ascontiguousarray(values).tobytes())
    return found.hexdigest()


def _data(settings: InferenceSettings) -> Dataset:
    """Test images and their labels. Raises UsageError."""
    return load_samples("fashion-mnist", settings.data, 1, settings.images, own=settings.own_data)


def _network(settings: InferenceSettings) -> TernaryNetwork:
    return load_network(settings.network)


def _plan(geometry: Geometry, dac: Scale, adc: Scale, settings: InferenceSettings) -> Cost:  # noqa: ARG001
    """It costs no pulses. Raises UsageError where there is no such network, or none for these images."""
    network, data = _network(settings), _data(settings)
    if network.shape != data.test_inputs.shape[1:] or network.classes < data.classes:
        images = " x ".join(str(each) for each in data.test_inputs.shape[1:])
        raise SettingsError(
            f"$.network: {network.name} is for images of {' x '.join(map(str, network.shape))} in {network.classes} "
            f"classes, not for these of {images} in {data.classes}"
        )
    return Cost(0, 0, {}, {}, {})


VARIABLES = (
    Variable("layer", "number of the layer, from 0", dtype="i4", fill=NOT_COUNTED),
    Variable("rows", "rows of the array that this tile fills", dtype="i8", fill=NOT_COUNTED),
    Variable("sums", "sums computed in this step", dtype="i8", fill=NOT_COUNTED),
    Variable("mismatches", "of these, how many are not those of whole numbers", dtype="i8", fill=NOT_COUNTED),
    Variable("passes", "passes of the programs of this step", dtype="i8", fill=NOT_COUNTED),
    Variable("board_seconds", "time of the board that they took", dtype="f8", unit="s"),
    Variable("samples", "test images done so far, at the end of a group", dtype="i8", fill=NOT_COUNTED),
    Variable("differing", "images of the group with other logits than in software", dtype="i8", fill=NOT_COUNTED),
    Variable("right_chip", "images of the group that are right on the chip", dtype="i8", fill=NOT_COUNTED),
    Variable("right_ternary", "images of the group that are right in software", dtype="i8", fill=NOT_COUNTED),
    Variable("right_float", "images of the group that are right in float", dtype="i8", fill=NOT_COUNTED),
    *COUNTER_VARIABLES,
)

associative_inference = Procedure(
    name="associative_inference",
    title="Inference with a ternary network on an associative array",
    settings=InferenceSettings,
    phases=("compile", "run"),
    variables=VARIABLES,
    needs=Capability.ASSOCIATE,
    steps=_steps,
    plan=_plan,
    measurement="associative-inference",
    checkpoints=True,
)
