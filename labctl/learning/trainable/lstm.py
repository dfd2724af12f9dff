"""Long short-term memory that reads text character by character and says what the next one is.

S. Hochreiter and J. Schmidhuber, Neural Comput. 9 (1997) 1735, with the forget gate of F. A. Gers et al., Neural
Comput. 12 (2000) 2451. Of the character x(t) as one of `classes` inputs and the state h(t - 1):

    i, f, o = sigmoid([x, h, 1] @ W + offset)        g = tanh([x, h, 1] @ W)
    c(t) = f c(t - 1) + i g        h(t) = o tanh c(t)        logits(t) = [h(t), 1] @ V

with an offset of 1 in the forget gates and 0 in the others (R. Jozefowicz et al., ICML 2015), a constant that nothing
trains. x is 5 for the character that is read and 0 for the others: a row of weights that is seldom met learns too
slowly from a 1, and would have to become large. The gradient goes back through the steps of one window; the state goes
on into the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.errors import UsageError
from labctl.learning.networks.network import Layer
from labctl.learning.networks.perceptron import cross_entropy
from labctl.learning.trainable.network import Factors, Float32, Lesson, Products, TrainableNetwork

HIDDEN = 128
WINDOW = 32
"""Characters that a gradient goes back through."""

_GATES, _OUTPUT = 0, 1  # numbers of layers
_FORGET_OFFSET = np.float32(1)
_CHARACTER = np.float32(5)  # what stands on the input of a character
_NARROWER = 0.6  # the gates' weights begin narrower, as steps of a device count by what the weights begin with
_STREAMS, _LEAST_STREAM = 128, 512  # of text that is judged: at most so many, of so many characters at least


@dataclass(slots=True)
class _Steps:
    """What the steps of a window leave for the backward pass.

    given: (steps, streams, classes + hidden + 1), the inputs of the gates. gates: (steps, streams, 4 hidden), i, f, o
    and g. cells: (steps + 1, streams, hidden), from the one before the window. bent: (steps, streams, hidden), tanh of
    the cells. outputs: (steps, streams, hidden + 1), the inputs of the last layer.
    """

    given: Float32
    gates: Float32
    cells: Float32
    bent: Float32
    outputs: Float32


class Lstm(TrainableNetwork):
    """One matrix for all gates, (classes + hidden + 1) x 4 hidden, and one for what comes out, (hidden + 1) x classes.

    Its samples are the characters of one text, in order: inputs (n,) their numbers, labels (n,) those that follow. A
    batch of b are b streams that read through the text side by side, each a stretch of it, by a window at once: inputs
    and labels (b, window). State is carried from batch to batch.
    """

    def __init__(self, classes: int, hidden: int = HIDDEN, window: int = WINDOW) -> None:
        """classes: characters there are. Raises UsageError for less than two, and for no hidden units or window."""
        if classes < 2 or hidden < 1 or window < 1:
            raise UsageError(
                f"an lstm of {hidden} units, windows of {window} and {classes} characters: 1, 1 and 2 are the least"
            )
        self.classes, self.hidden, self.window = classes, hidden, window
        layers = [
            Layer("gates", classes + hidden + 1, 4 * hidden, 1),
            Layer("output", hidden + 1, classes, 1),
        ]
        spread = float(np.sqrt(1 / hidden))
        super().__init__("lstm" if hidden == HIDDEN else f"lstm-{hidden}", layers, (_NARROWER * spread, spread))
        self._recurrent = slice(classes, classes + hidden)
        self._offset = np.zeros(4 * hidden, np.float32)
        self._offset[hidden : 2 * hidden] = _FORGET_OFFSET
        self._state: tuple[Float32, Float32] | None = None

    def batches_per_epoch(self, samples: int, batch: int) -> int:
        return max(0, samples - self.window + 1) // batch // self.window

    def batches(
        self, inputs: Float32, labels: NDArray[Any], batch: int, rng: np.random.Generator
    ) -> Iterator[tuple[Float32, NDArray[Any]]]:
        """Windows of `batch` stretches of the text, in its order; `rng` draws at which character the first begins."""
        windows = self.batches_per_epoch(len(inputs), batch)
        shape = (batch, windows, self.window)
        whole = slice(begin := int(rng.integers(self.window)), begin + batch * windows * self.window)
        streams, following = inputs[whole].reshape(shape), labels[whole].reshape(shape)
        for window in range(windows):
            yield streams[:, window], following[:, window]

    def begin_epoch(self) -> None:
        """Forget the state: what comes next is the beginning of every stream."""
        self._state = None

    def train_batch(
        self,
        products: Products,
        inputs: Float32,
        labels: NDArray[Any],
        rng: np.random.Generator,  # noqa: ARG002
    ) -> Lesson:
        """Learn from inputs and labels (streams, steps); the state goes on into the next batch of as many streams."""
        streams, steps = self._checked(inputs, 2).shape
        if self._state is None or len(self._state[0]) != streams:
            self._state = self._zeros(streams)
        passed = self._run(products, self._numbers(inputs), *self._state)
        self._state = passed.outputs[-1, :, :-1].copy(), passed.cells[-1].copy()
        outputs = passed.outputs.reshape(steps * streams, -1)
        logits = products.forward(_OUTPUT, outputs)
        wanted = labels.T.ravel().astype(np.intp)
        loss, deltas = cross_entropy(logits, wanted)
        correct = int(np.count_nonzero(logits.argmax(axis=1) == wanted))
        arriving = products.backward(_OUTPUT, deltas, slice(self.hidden)).reshape(steps, streams, self.hidden)
        gates = self._back(products, passed, arriving)
        factors = [
            Factors(passed.given.reshape(steps * streams, -1), gates.reshape(steps * streams, -1)),
            Factors(outputs, deltas),
        ]
        return Lesson(loss, correct, len(wanted), factors)

    def predict(self, products: Products, inputs: Float32) -> Float32:
        """Logits (n, classes) of what follows each of the characters (n,) of a text.

        A long text is read in up to 128 stretches of 512 characters or more side by side, each from a state of zeros.
        """
        count = len(self._checked(inputs, 1))
        streams = min(_STREAMS, max(1, count // _LEAST_STREAM))
        length = -(-count // streams)
        numbers = np.zeros(streams * length, np.intp)  # the last stretch goes on with character 0
        numbers[:count] = inputs
        text = numbers.reshape(streams, length).T
        logits = np.empty((length, streams, self.classes), np.float32)
        state = self._zeros(streams)
        for begin in range(0, length, self.window):
            part = slice(begin, begin + self.window)
            passed = self._run(products, text[part], *state)
            state = passed.outputs[-1, :, :-1], passed.cells[-1]
            outputs = passed.outputs.reshape(-1, self.hidden + 1)
            logits[part] = products.forward(_OUTPUT, outputs).reshape(-1, streams, self.classes)
        return logits.transpose(1, 0, 2).reshape(-1, self.classes)[:count]

    def sample(
        self, products: Products, text: Sequence[int], count: int, rng: np.random.Generator, temperature: float = 1.0
    ) -> list[int]:
        """`count` characters that go on after `text` (the numbers of one character or more).

        Each is drawn by softmax(logits / temperature). Raises UsageError for a text or temperature that cannot be.
        """
        if temperature <= 0:
            raise UsageError(f"characters are drawn at a temperature above 0, not at {temperature:g}")
        given = np.asarray(text, np.float32)
        numbers = self._checked(given, 1).astype(np.intp)[:, None]
        state, drawn = self._zeros(1), []
        for _ in range(count):
            passed = self._run(products, numbers, *state)
            state = passed.outputs[-1, :, :-1], passed.cells[-1]
            logits = products.forward(_OUTPUT, passed.outputs[-1])[0].astype(np.float64) / temperature
            chances = np.exp(logits - logits.max())
            drawn.append(int(rng.choice(self.classes, p=chances / chances.sum())))
            numbers = np.array([[drawn[-1]]])
        return drawn

    def state(self) -> dict[str, NDArray[Any]]:
        """hidden and cell, (streams, hidden) each; nothing at the beginning of an epoch."""
        return {} if self._state is None else {"hidden": self._state[0], "cell": self._state[1]}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        shapes = {np.shape(values) for values in state.values()}
        fits = len(shapes) == 1 and len(shape := shapes.pop()) == 2 and shape[1] == self.hidden
        if state and not (fits and set(state) == {"hidden", "cell"}):
            given = ", ".join(f"{name} {np.shape(values)}" for name, values in state.items())
            raise UsageError(
                f"the network {self.name} carries hidden and cell of (streams, {self.hidden}), but {given} came"
            )
        self._state = None
        if state:
            self._state = np.array(state["hidden"], np.float32), np.array(state["cell"], np.float32)

    def _checked(self, inputs: Float32, axes: int) -> Float32:
        if inputs.ndim != axes or not inputs.size or not 0 <= inputs.min() <= inputs.max() < self.classes:
            wanted = "(streams, steps)" if axes == 2 else "(n,)"
            raise UsageError(
                f"the network {self.name} reads numbers of characters {wanted}, from 0 to {self.classes - 1}, not "
                f"inputs of shape {inputs.shape} such as these"
            )
        return inputs

    def _zeros(self, streams: int) -> tuple[Float32, Float32]:
        zeros = np.zeros((streams, self.hidden), np.float32)
        return zeros, zeros

    @staticmethod
    def _numbers(inputs: Float32) -> NDArray[np.intp]:
        return inputs.T.astype(np.intp)

    def _run(self, products: Products, text: NDArray[np.intp], state: Float32, cell: Float32) -> _Steps:
        """Steps over `text` (steps, streams) from a state (streams, hidden)."""
        steps, streams = text.shape
        three = 3 * self.hidden
        passed = _Steps(
            given=np.zeros((steps, streams, self.layers[_GATES].inputs), np.float32),
            gates=np.empty((steps, streams, 4 * self.hidden), np.float32),
            cells=np.empty((steps + 1, streams, self.hidden), np.float32),
            bent=np.empty((steps, streams, self.hidden), np.float32),
            outputs=np.ones((steps, streams, self.hidden + 1), np.float32),
        )
        passed.given[np.arange(steps)[:, None], np.arange(streams), text] = _CHARACTER
        passed.given[:, :, -1] = 1
        passed.cells[0] = cell
        for step in range(steps):
            passed.given[step, :, self._recurrent] = state
            gates = np.add(products.forward(_GATES, passed.given[step]), self._offset, out=passed.gates[step])
            gates[:, :three] *= np.float32(0.5)  # sigmoid(x) = (1 + tanh(x / 2)) / 2
            np.tanh(gates, out=gates)
            gates[:, :three] += 1
            gates[:, :three] *= np.float32(0.5)
            entering, kept, leaving, new = (gates[:, self._gate(number)] for number in range(4))
            passed.cells[step + 1] = kept * passed.cells[step] + entering * new
            np.tanh(passed.cells[step + 1], out=passed.bent[step])
            state = leaving * passed.bent[step]
            passed.outputs[step, :, :-1] = state
        return passed

    def _back(self, products: Products, passed: _Steps, arriving: Float32) -> Float32:
        """(steps, streams, 4 hidden): d loss / d what enters the gates, of d loss / d state, `arriving`."""
        deltas = np.empty_like(passed.gates)
        steps = len(deltas)
        of_cell = np.zeros_like(passed.cells[0])
        for step in reversed(range(steps)):
            of_state = arriving[step]
            if step + 1 < steps:
                of_state = of_state + products.backward(_GATES, deltas[step + 1], self._recurrent)
            entering, kept, leaving, new = (passed.gates[step][:, self._gate(number)] for number in range(4))
            bent = passed.bent[step]
            of_cell += of_state * leaving * (1 - bent * bent)
            deltas[step, :, self._gate(0)] = of_cell * new * entering * (1 - entering)
            deltas[step, :, self._gate(1)] = of_cell * passed.cells[step] * kept * (1 - kept)
            deltas[step, :, self._gate(2)] = of_state * bent * leaving * (1 - leaving)
            deltas[step, :, self._gate(3)] = of_cell * entering * (1 - new * new)
            of_cell *= kept
        return deltas

    def _gate(self, number: int) -> slice:
        return slice(number * self.hidden, (number + 1) * self.hidden)
