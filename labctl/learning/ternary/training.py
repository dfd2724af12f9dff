"""Training a ternary network in torch: in float first, from there with ternary weights and whole-number activations.

The second course keeps real weights: going forward they are ternarised (`ternarising`), and what a layer is given is
rounded to its codes; going back, rounding and ternarising count as what they stand for (straight through: Y. Bengio et
al., arXiv 1308.3432). Layers are product, maximum of the pooled positions, batch normalisation, rectifier; at the end
alpha, the normalisation and the steps of the codes are one scale and one offset an output. torch works with as many
threads as OMP_NUM_THREADS says, else with one.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from labctl.errors import UsageError
from labctl.learning.datasets import Dataset
from labctl.learning.networks.ranges import CLIPS
from labctl.learning.ternary.layers import FloatLayer, NetworkLayer
from labctl.learning.ternary.network import TernaryNetwork
from labctl.learning.ternary.ternarising import DELTA, ternarised

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))

_INPUT_BITS = 4
_SHIFT = 2  # pixels that a training image is moved by at most


@dataclass(frozen=True, slots=True)
class Course:
    """How to train. float_epochs, epochs: of the float network, and of the ternary one from there.

    rate, float_rate: of AdamW at the beginning, to 0 along a half cosine. channels: of the 3 x 3 convolutions, each
    followed by 2 x 2 pooling. hidden: widths of the linear layers between those and the classes.
    """

    float_epochs: int = 14
    epochs: int = 24
    batch: int = 100
    float_rate: float = 2e-3
    rate: float = 2e-3
    decay: float = 1e-3
    seed: int = 1
    channels: tuple[int, ...] = (16, 32)
    hidden: tuple[int, ...] = (64,)

    def __post_init__(self) -> None:
        if self.float_epochs < 1 or self.epochs < 1 or self.batch < 2:
            raise UsageError("training takes at least 1 epoch of each kind, and batches of 2 images or more")


@dataclass(frozen=True, slots=True)
class Progress:
    """After an epoch. phase: float or ternary. loss: mean over the epoch. accuracy: while training, of its images."""

    phase: str
    epoch: int
    epochs: int
    loss: float
    accuracy: float


class _Model(nn.Module):
    """The network as it learns; `ternary` says with which weights and activations."""

    def __init__(self, shape: Sequence[int], classes: int, course: Course) -> None:
        super().__init__()
        channels, high, wide = shape
        products: list[nn.Module] = []
        for outputs in course.channels:
            products.append(nn.Conv2d(channels, outputs, 3, padding=1, bias=False))
            channels, high, wide = outputs, high // 2, wide // 2
        if not high or not wide:
            raise UsageError(f"images of {shape[1]} x {shape[2]} are too small for {len(course.channels)} poolings")
        values = channels * high * wide
        for outputs in (*course.hidden, classes):
            products.append(nn.Linear(values, outputs, bias=False))
            values = outputs
        self.products = nn.ModuleList(products)
        widths = (*course.channels, *course.hidden, classes)
        self.norms = nn.ModuleList(
            [nn.BatchNorm2d(width) for width in course.channels]
            + [nn.BatchNorm1d(width) for width in widths[len(course.channels) :]]
        )
        self.ternary = False

    @property
    def top(self) -> int:
        return (1 << _INPUT_BITS) - 1

    @property
    def steps(self) -> list[float]:
        """What one code of each layer's inputs stands for: of images 1 / top, and of a normalised rectified value."""
        return [1 / self.top] + [CLIPS[_INPUT_BITS] / self.top] * (len(self.products) - 1)

    def forward(self, images: Tensor) -> Tensor:
        values = images
        last = len(self.products) - 1
        for index, (product, norm) in enumerate(zip(self.products, self.norms, strict=True)):
            if self.ternary:
                values = _rounded(values, self.steps[index], self.top)
            weight = _weight(product)
            if self.ternary:
                weight = weight + (_ternary(weight.detach()) - weight).detach()
            if isinstance(product, nn.Conv2d):
                values = functional.max_pool2d(functional.conv2d(values, weight, padding=1), 2)
            else:
                values = functional.linear(values.flatten(1), weight)
            values = norm(values)
            if index < last and not self.ternary:  # the codes end at 0 by themselves
                values = functional.relu(values)
        return values


def train_ternary(
    data: Dataset, course: Course | None = None, progress: Callable[[Progress], None] | None = None
) -> TernaryNetwork:
    """A network for the images of `data`, (n, channels, height, width) from 0 to 1, with its float network beside it.

    The test images take no part. The same seed gives the same weights on one machine. Raises UsageError.
    """
    course = course or Course()
    tell = progress or (lambda _: None)
    torch.manual_seed(course.seed)
    rng = np.random.default_rng(course.seed)
    model = _Model(data.train_inputs.shape[1:], data.classes, course)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing from torch's stubs
    _learn(model, data, rng, "float", course.float_epochs, course.float_rate, course, tell)
    floats = [
        FloatLayer(_numbers(_weight(product)).astype(np.float16), *_floats(norm))
        for product, norm in zip(model.products, model.norms, strict=True)
    ]
    model.ternary = True
    _learn(model, data, rng, "ternary", course.epochs, course.rate, course, tell)
    layers = tuple(_layer(model, index, beside) for index, beside in enumerate(floats))
    channels, height, width = data.train_inputs.shape[1:]
    made = {"data": data.name, "data_digest": data.digest, "course": asdict(course), "torch": torch.__version__}
    return TernaryNetwork(f"ternary {data.name}", (channels, height, width), layers, _INPUT_BITS, json.dumps(made))


def _learn(
    model: _Model,
    data: Dataset,
    rng: np.random.Generator,
    phase: str,
    epochs: int,
    rate: float,
    course: Course,
    tell: Callable[[Progress], None],
) -> None:
    """Minimise cross-entropy on the training images, mirrored left to right or not and moved a little."""
    labels = torch.from_numpy(data.train_labels)
    batches = len(data.train_inputs) // course.batch
    if not batches:
        raise UsageError(f"{len(data.train_inputs)} training images do not make one batch of {course.batch}")
    descent = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=course.decay)
    slower = torch.optim.lr_scheduler.LambdaLR(
        descent, lambda step: 0.5 * (1 + math.cos(math.pi * step / (epochs * batches)))
    )
    model.train()
    for epoch in range(epochs):
        loss_sum, right = 0.0, 0
        order = rng.permutation(len(labels))[: batches * course.batch].reshape(batches, course.batch)
        for chosen in order:
            images = torch.from_numpy(_varied(data.train_inputs[chosen], rng))
            logits = model(images.contiguous(memory_format=torch.channels_last))
            wanted = labels[torch.from_numpy(chosen)]
            loss = functional.cross_entropy(logits, wanted)
            descent.zero_grad()
            loss.backward()
            descent.step()
            slower.step()
            loss_sum += float(loss.detach())
            right += int((logits.detach().argmax(dim=1) == wanted).sum())
        tell(Progress(phase, epoch + 1, epochs, loss_sum / batches, right / (batches * course.batch)))
    model.eval()


def _varied(images: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Each image left to right or not, and moved by up to `_SHIFT` pixels; what comes in is black."""
    height, width = images.shape[2:]
    turned = np.where(rng.random(len(images))[:, None, None, None] < 0.5, images[..., ::-1], images)
    around = (_SHIFT, _SHIFT)
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(turned, ((0, 0), (0, 0), around, around)), (height, width), axis=(2, 3)
    )
    moved = rng.integers(0, 2 * _SHIFT + 1, (2, len(images)))
    return np.ascontiguousarray(windows[np.arange(len(images)), :, moved[0], moved[1]])


def _weight(product: nn.Module) -> Tensor:
    assert isinstance(product, (nn.Conv2d, nn.Linear))
    return product.weight


def _rounded(values: Tensor, step: float, top: int) -> Tensor:
    """Values at the nearest of 0, step, ... top * step; the gradient is that of clipping alone."""
    inside = values.clamp(0, top * step)
    return inside + ((inside / step + 0.5).floor() * step - inside).detach()


def _ternary(weight: Tensor) -> Tensor:
    """alpha t of a weight, as `ternarised` has it."""
    rows = weight.flatten(1)
    size = rows.abs()
    kept = size > DELTA * size.mean(dim=1, keepdim=True)
    alpha = (size * kept).sum(dim=1, keepdim=True) / kept.sum(dim=1, keepdim=True).clamp(min=1)
    return (rows.sign() * kept * alpha).reshape(weight.shape)


def _layer(model: _Model, index: int, floats: FloatLayer) -> NetworkLayer:
    """Layer `index` with everything after its sums as one scale and one offset."""
    product, norm, steps = model.products[index], model.norms[index], model.steps
    ternary, alpha = ternarised(_numbers(_weight(product)))
    factor, offset = _normalisation(norm)
    after = steps[index + 1] if index + 1 < len(steps) else 1.0  # logits are no codes
    convolution = isinstance(product, nn.Conv2d)
    kind = "conv" if convolution else "fc"
    number = 1 + sum(isinstance(each, type(product)) for each in list(model.products)[:index])
    return NetworkLayer(
        f"{kind}{number}",
        ternary,
        alpha * steps[index] * factor / after,
        offset / after,
        padding=1 if convolution else 0,
        pool=4 if convolution else 1,
        floats=floats,
    )


def _normalisation(norm: nn.Module) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A batch normalisation as a factor and an offset."""
    assert isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d))
    assert norm.running_mean is not None  # it keeps its moments
    assert norm.running_var is not None
    factor = _numbers(norm.weight).astype(np.float64) / np.sqrt(
        _numbers(norm.running_var).astype(np.float64) + norm.eps
    )
    return factor, _numbers(norm.bias) - _numbers(norm.running_mean) * factor


def _floats(norm: nn.Module) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    factor, offset = _normalisation(norm)
    return factor.astype(np.float32), offset.astype(np.float32)


def _numbers(values: Tensor) -> NDArray[np.float32]:
    numbers: NDArray[np.float32] = np.array(values.detach().numpy(), np.float32, order="C")
    return numbers
