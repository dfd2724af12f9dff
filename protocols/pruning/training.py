"""Training which edges to keep, with the array's own conductances as weights, and keeping the array in step."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.array import MemoryArray
from labctl.learning.augmentation import augmentation_of
from labctl.learning.bit_serial import BoardProducts
from labctl.learning.datasets import Dataset
from labctl.learning.descent import Descent
from labctl.learning.edges import EdgeScores
from labctl.learning.networks import Network
from labctl.learning.networks.network import Codes, Float32
from labctl.learning.placement import Placement
from labctl.learning.training import Progress, PrunedEdges, batches_per_epoch, train
from labctl.protocols.checkpoints import beneath, within
from labctl.protocols.pruning.cells import NetworkCells, Switched
from labctl.protocols.pruning.judging import Judged, judged
from labctl.protocols.pruning.settings import PruningSettings
from labctl.steps import Step

_STEP_EVERY = 100  # batches: often enough to be watched, and to stop soon
_SAMPLED = 256  # vectors of each layer, to calibrate columns with
_JUDGED = 500  # samples with the same readings of the cells


class PrunedNetwork:
    """A network on an array while it is pruned: scores, cells and the network's own statistics.

    dead: (rows, cols) cells that cannot be used. epoch: how many are done. switched: for the first masks, each
    synchronisation and each verify (layers,) cells switched. turned: cells switched because tiles took turns in the
    last pass of samples. changed: of a network that goes on, the share of cells that were not as they were left.
    """

    def __init__(
        self,
        array: MemoryArray,
        settings: PruningSettings,
        network: Network,
        data: Dataset,
        placement: Placement,
        cells: NetworkCells,
        seed: int,
        dead: NDArray[np.bool_],
    ) -> None:
        task = settings.of_task
        self.array = array
        self.settings = settings
        self.network = network
        self.data = data
        self.placement = placement
        self.cells = cells
        self.seed = seed
        self.dead = dead
        self.epochs = settings.epochs or task.epochs
        self.batch = settings.batch or task.batch
        self.per_epoch = batches_per_epoch(len(data.train_inputs), self.batch)
        descent = Descent(settings.scores_rate, settings.momentum, settings.decay, self.epochs * self.per_epoch)
        shapes = [layer.shape for layer in network.layers]
        self.scores = EdgeScores(shapes, settings.keep, np.random.default_rng([seed, 10]), descent)
        self.masks = [np.ones(shape, bool) for shape in shapes]
        self.scales: tuple[float, ...] = ()
        self.epoch = 0
        self.switched: list[NDArray[np.int64]] = []
        self.board: BoardProducts | None = None
        self.turned = 0
        self.changed = 0.0
        self._reads: dict[int, tuple[list[Float32], list[Float32]]] = {}
        self._draws = np.random.default_rng([seed, 11])

    # -- weights ------------------------------------------------------------------------------------------------

    def scale_layers(self) -> None:
        """S for a weight of 1: kept edges get the deviation sqrt(2 / (inputs keep)) (He et al., arXiv 1502.01852)."""
        self.scales = tuple(
            float(self.cells.kept(number, 0).std()) * math.sqrt(layer.inputs * self.settings.keep / 2)
            for number, layer in enumerate(self.network.layers)
        )

    def pairs(self, read: int) -> tuple[list[Float32], list[Float32]]:
        """Per layer the weights of the edges, kept and pruned, by one reading of the cells."""
        if read not in self._reads:
            layers = range(len(self.scales))
            kept = [self.cells.kept(number, read) / np.float32(self.scales[number]) for number in layers]
            pruned = [self.cells.pruned(number, read) / np.float32(self.scales[number]) for number in layers]
            self._reads[read] = kept, pruned
        return self._reads[read]

    def weights(self, read: int) -> list[Float32]:
        """Per layer the weights with the masks that the array is to have, by one reading of the cells."""
        return [np.where(mask, *each) for mask, *each in zip(self.masks, *self.pairs(read), strict=True)]

    def present(self, read: int) -> list[Float32]:
        """Per layer the weights as they are on the array, by one of its last readings; where tiles take turns, as one
        of the readings kept says that they may be.
        """
        if self.cells.takes_turns:
            return self.weights(read)
        layers = enumerate(self.scales)
        return [self.cells.present_layer(number, read) / np.float32(scale) for number, scale in layers]

    def random_weights(self) -> list[Float32]:
        """Per layer the weights of all edges, kept, by the mean of the readings."""
        reads = [self.pairs(read)[0] for read in range(self.settings.replayed_reads)]
        return [np.mean(layer, axis=0, dtype=np.float32) for layer in zip(*reads, strict=True)]

    def any_read(self) -> int:
        """Which of the readings that are kept, drawn at random."""
        return int(self._draws.integers(self.settings.replayed_reads))

    def _next_pairs(self) -> tuple[list[Float32], list[Float32]]:
        if self.settings.reads == "fresh":
            read = self.any_read()
            self.cells.read_once(read)
            self._reads.pop(read, None)
            return self.pairs(read)
        return self.pairs(self.any_read())

    # -- the array ----------------------------------------------------------------------------------------------

    def begin(self) -> Switched:
        """Bring the first masks onto the array: edges are pruned by chance, as the scores are.

        A network that takes turns on the array is written anew for each of them, to conductances of the same cells that
        are random again; so each reading kept is of another cycle, and it learns to do with any of them.
        """
        self.cells.read_all()
        self.cells.note_larger()
        cycled = self.cells.read_cycled() if self.cells.takes_turns else Switched()
        self.scale_layers()
        self.masks = self.scores.flips(self.masks, 0.0).masks
        done = self.bring()
        self.cells.guess_unread(np.random.default_rng([self.seed, 12]))
        return cycled + done

    def bring(self) -> Switched:
        """The masks onto the array: those of the tile that is there."""
        before = self.cells.switches.astype(np.int64)
        done = self.cells.show(self.masks, self.cells.tile)
        if not self.cells.takes_turns:
            self.cells.read_once(self.any_read())
        self._note_switched(before)
        self.forget()
        return done

    def forget(self) -> None:
        """What was worked out from how the cells were."""
        self._reads.clear()
        if self.board is not None:
            self.board.forget()

    def synchronise(self) -> Generator[Step, None, None]:
        """Flip edges whose scores say so, on the array too where the whole network stands on it."""
        flips = self.scores.flips(self.masks, self.settings.hysteresis)
        self.masks = flips.masks
        switched = Switched() if self.cells.takes_turns else self.bring()
        values = {
            "edges_pruned": int(flips.pruned.sum()),
            "edges_reinstated": int(flips.reinstated.sum()),
            "edges_held": int(flips.held.sum()),
            **as_scalars(switched),
        }
        yield Step("synchronise", values)

    def show(self, tile: int) -> bool:
        """Have `tile` on the array, and say whether any cell changed."""
        if not self.cells.takes_turns:
            return False
        before = self.cells.switches.astype(np.int64)
        tile_before = self.cells.tile
        done = self.cells.show(self.masks, tile)
        self._note_switched(before, into_last=True)
        self.turned += done.pruned + done.reinstated
        return bool(tile != tile_before or done.pruned or done.reinstated)

    def refresh(self) -> None:
        """Read the cells anew, in place of all readings that are kept: some are as old as several epochs."""
        if not self.cells.takes_turns:
            self.cells.read_all()
            self._reads.clear()

    def reverify(self) -> Switched:
        """Switch again what is no longer in its state, of the tile on the array."""
        brought = self.bring()
        before = self.cells.switches.astype(np.int64)
        done = self.cells.reverify()
        self._note_switched(before, into_last=True)
        self.forget()
        return brought + done

    def _note_switched(self, before: NDArray[np.int64], *, into_last: bool = False) -> None:
        moved = self.cells.switches - before
        layers = self.placement.layer_map(self.cells.tile).ravel()
        counts = np.bincount(layers, moved, minlength=256)[: len(self.scales)].astype(np.int64)
        if into_last and self.switched:
            self.switched[-1] = self.switched[-1] + counts
        else:
            self.switched.append(counts)

    # -- epochs -------------------------------------------------------------------------------------------------

    def train(self) -> Generator[Step, None, None]:
        """Every epoch that is left, each ending with a step that has a checkpoint."""
        learner = PrunedEdges(self.scores, self._next_pairs)
        product = self.on_board() if self.settings.forward == "board" else None
        running = _Running()
        for progress in self._batches(learner, product):
            running.add(progress)
            done = (progress.batch, self.epochs * self.per_epoch)
            every = self.settings.synchronise
            if progress.ends_epoch or (every and progress.batch % every == 0):
                yield from self.synchronise()
            if progress.ends_epoch:
                self.epoch = progress.epoch + 1
                yield self._epoch_step(running, done)
                running = _Running()
            elif progress.batch % _STEP_EVERY == 0:
                yield Step("train", {"epoch": progress.epoch + 1, "loss": running.loss}, progress=done)

    def _batches(self, learner: PrunedEdges, product: BoardProducts | None) -> Iterator[Progress]:
        return train(
            self.network,
            self.data.train_inputs,
            self.data.train_labels,
            learner,
            epochs=self.epochs,
            batch=self.batch,
            seed=self.seed,
            done=self.epoch * self.per_epoch,
            product=product,
            augment=augmentation_of(self.data),
        )

    def _epoch_step(self, running: _Running, done: tuple[float, float]) -> Step:
        values = {"epoch": self.epoch, "loss": running.loss, "accuracy_train": running.accuracy}
        values["accuracy_software"] = self.judge().accuracy.value
        return Step("train", values, self.maps(), done, self.checkpoint())

    def judge(self) -> Judged:
        """In software, by the readings of the cells as they were last seen."""
        return judged(self.predict_digitally(), self.data, self.field)

    def predict_digitally(self) -> Float32:
        """Logits of the test samples, each so many of them with another reading of the cells.

        With statistics of their own, as the board has: those of training follow weights that go on changing.
        """
        network, inputs = self.network.fresh(), self.data.test_inputs
        network.calibrate(self.present(0), self.data.train_inputs[: self.settings.calibrate])
        parts = []
        for start in range(0, len(inputs), _JUDGED):
            parts.append(network.predict(self.present(self.any_read()), inputs[start : start + _JUDGED]))
        return np.concatenate(parts)

    @property
    def field(self) -> NDArray[np.bool_] | None:
        """Where the pixels of the test pictures count."""
        found = self.data.extra.get("test_field")
        return None if found is None else np.asarray(found, bool)

    # -- the board ----------------------------------------------------------------------------------------------

    def on_board(self) -> BoardProducts:
        """Products on the array, with codes of training samples to calibrate columns by."""
        if self.board is None:
            self.board = BoardProducts(
                self.array,
                self.placement,
                self.scales,
                self.network.bits,
                self.settings.voltage,
                self.sampled_codes(),
                self.cells.present,
                self.show,
            )
        return self.board

    def sampled_codes(self) -> list[Codes]:
        """Per layer some of the codes that its inputs have, for training samples."""
        inputs = self.data.train_inputs[: min(64, len(self.data.train_inputs))]
        weights, rng = self.weights(0), np.random.default_rng([self.seed, 13])
        network = self.network
        if not network.statistics.batches:
            network = network.fresh()
            network.calibrate(weights, inputs)
        found: list[list[Codes]] = [[] for _ in weights]

        def product(layer: int, codes: Codes) -> Float32:
            chosen = rng.choice(len(codes), min(_SAMPLED, len(codes)), replace=False)
            found[layer].append(codes[chosen])
            values: Float32 = codes.astype(np.float32) @ weights[layer]
            return values

        network.predict(weights, inputs, product)
        return [np.concatenate(each)[-4 * _SAMPLED :] for each in found]

    # -- what is recorded -----------------------------------------------------------------------------------------

    def maps(self) -> dict[str, np.ndarray]:
        """(rows, cols) of what there is to know of each cell."""
        shape = self.placement.shape
        kept = np.full(shape[0] * shape[1], 255, np.uint8)
        for block in self.placement.of_tile(self.cells.tile):
            for cells in (self.placement.plus, self.placement.minus):
                kept[cells[block.layer][block.edges]] = self.masks[block.layer][block.edges]
        return {
            "layer": self.placement.layer_map(self.cells.tile),
            "kept": kept.reshape(shape),
            "switches": self.cells.switches.reshape(shape),
            "conductance": self._conductance().reshape(shape),
        }

    def _conductance(self) -> Float32:
        """(cells,) S as they were read last; NaN for those that are not the network's."""
        found = np.full(self.placement.shape[0] * self.placement.shape[1], np.nan, np.float32)
        found[self.cells.used] = self.cells.now[:, self.cells.used].mean(axis=0)
        return found

    def checkpoint(self) -> dict[str, NDArray[Any]]:
        """All that it takes to go on from here with the array as it is then."""
        return {
            "epoch": np.array(self.epoch),
            "seed": np.array(self.seed),
            "identity": self.identity(),
            "dead": self.dead,
            "scales": np.array(self.scales),
            "switched": np.array(self.switched).reshape(-1, len(self.scales)),
            **{f"mask_{number}": np.packbits(mask) for number, mask in enumerate(self.masks)},
            **beneath("scores", self.scores.state()),
            **beneath("network", self.network.state()),
            **beneath("cells", self.cells.state()),
        }

    def identity(self) -> NDArray[np.uint8]:
        """Which chip and which data this is about, as the bytes of a text."""
        shape = "x".join(map(str, self.placement.shape))
        text = f"chip {self.array.chip_serial} of {shape} cells, data {self.data.digest}"
        return np.frombuffer(text.encode(), np.uint8)

    def restore(self, checkpoint: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a `checkpoint`; the cells are read as they are now."""
        self.epoch = int(checkpoint["epoch"])
        self.scales = tuple(float(scale) for scale in checkpoint["scales"])
        self.switched = list(checkpoint["switched"])
        self.masks = [
            np.unpackbits(checkpoint[f"mask_{number}"], count=layer.inputs * layer.outputs)
            .reshape(layer.shape)
            .astype(bool)
            for number, layer in enumerate(self.network.layers)
        ]
        self.scores.restore(within(checkpoint, "scores"))
        self.network.restore(within(checkpoint, "network"))
        before = checkpoint["cells.switches"].astype(np.int64)
        self.changed = self.cells.restore(within(checkpoint, "cells"))
        self._note_switched(before)
        self._draws = np.random.default_rng([self.seed, 11, self.epoch])


class _Running:
    """Means over the batches of an epoch."""

    def __init__(self) -> None:
        self._loss = 0.0
        self._batches = self._correct = self._judged = 0

    def add(self, progress: Progress) -> None:
        self._loss += progress.loss
        self._batches += 1
        self._correct += progress.correct
        self._judged += progress.judged

    @property
    def loss(self) -> float:
        return self._loss / self._batches

    @property
    def accuracy(self) -> float:
        return self._correct / self._judged if self._judged else float("nan")


def as_scalars(switched: Switched) -> dict[str, int]:
    """For a step."""
    return {"pulses": switched.pulses, "failed": switched.failed, "switched": switched.pruned + switched.reinstated}
