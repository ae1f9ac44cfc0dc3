"""Companion losses: hidden layers answer too while a network learns (Lee, Xie, Gallagher, Zhang & Tu 2014)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lamina.core import Layer, Repeat, Seq, Serial, UserError, taps
from lamina.layers import Unpadded
from lamina.layers.projection import Projection
from lamina.tasks.task import Batch, Task
from lamina.tasks.wrapped import Wrapped

__all__ = ["GAMMA", "WEIGHT", "Answers", "DeeplySupervised", "companion_paths", "regions"]

WEIGHT, GAMMA = 1.0, 0.0
GRID = 4  # regions a side that a companion head sees of a map


class Answers(NamedTuple):
    """What a step of training looks at: the task's own prediction, and one of each companion head."""

    own: Any
    companions: tuple[Any, ...]


class DeeplySupervised(Wrapped):
    """A task whose backbone's hidden outputs have heads of their own while it learns (arXiv:1409.5185).

        loss = criterion(y) + sum_m a_m [criterion(W_m pool(h_m)) - gamma]_+,    a_m = weight * (1 - t / N)

    h_m is what the submodule at paths[m] returns, t of the N steps of training are done. Pooling and criterion are the
    task's, whatever it is: a companion is asked for what the task is asked for. Of an image model's maps [B,C,H,W] a
    head sees the means of 4x4 regions, [B,16 C]. [..]_+ lets a companion alone that is good enough: below gamma, its
    mean loss on the batch (of the rows of one process, where there are several), it pulls no more. With gamma = 0 the
    loss of a batch is the sum of its rows'.

    In evaluation mode it is the task: no hook, no companion, the same prediction, loss and score. The companions, heads
    [d_m,n_out], are thrown away with the wrapper. `done`, t / N, is set by `lamina.train.fit`.

    Raises UserError for a path that the backbone has not, the nearest one named, or whose output no head can read.
    """

    def __init__(self, task: Task, paths: Sequence[str], *, weight: float = WEIGHT, gamma: float = GAMMA) -> None:
        if not weight > 0 or not gamma >= 0:
            raise UserError(f"companions: weight {weight:g} must be above 0, gamma {gamma:g} at least 0")
        super().__init__(task)
        self.paths, self.weight, self.gamma = tuple(paths), weight, gamma
        self.companions = nn.ModuleList(Projection(width, task.n_out) for width in _widths(task.backbone, self.paths))

    def forward(self, batch: Batch) -> Any:
        """The task's prediction; in training Answers."""
        if not self.training:
            return self.alone(batch)
        with taps(self.backbone, self.paths) as seen:
            own = self.alone(batch)
        missing = set(self.paths) - set(seen)
        if missing:
            raise UserError(f"companions: {_name(self.backbone)} does not run {min(missing)!r}; choose another path")
        hidden = [self._vectors(seen[path], batch) for path in self.paths]
        return Answers(own, tuple(head(h) for head, h in zip(self.companions, hidden, strict=True)))

    def _vectors(self, hidden: Seq | Tensor, batch: Batch) -> Tensor:
        """What a companion head sees of a hidden output: [A,d_m]."""
        return self.pool(hidden, batch) if isinstance(hidden, Seq) else regions(hidden)

    def criterion(self, prediction: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        if not isinstance(prediction, Answers):
            return self.alone.criterion(prediction, batch)
        total, count = self.alone.criterion(prediction.own, batch)
        for companion in prediction.companions:
            loss, n = self.alone.criterion(companion, batch)
            total = total + self.weight * (1 - self.done) * (loss - self.gamma * n).clamp(min=0)
        return total, count

    def each(self, prediction: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        return self.alone.each(prediction, batch)

    def identity(self) -> dict[str, Any]:
        own = {"companions": list(self.paths), "weight": self.weight, "gamma": self.gamma}
        return own | self.alone.identity()


def companion_paths(model: nn.Module, wanted: int | Sequence[str] | None) -> tuple[str, ...]:
    """The hidden outputs of a model that companions are put on.

    None: those that the model declares as `companions`, if any. n: n of its parts, evenly spaced in depth, never the
    last one, whose output the head reads. Paths are taken as they are.
    """
    if wanted is None:
        return tuple(getattr(model, "companions", ()))
    if not isinstance(wanted, int):
        return tuple(wanted)
    parts = _parts(model)
    if not 0 <= wanted <= len(parts) - 1:
        raise UserError(f"companions={wanted}: {_name(model)} has {len(parts)} parts, of which the last has the head")
    return tuple(parts[round(len(parts) * (i + 1) / (wanted + 1)) - 1] for i in range(wanted))


def _parts(module: nn.Module, path: str = "") -> list[str]:
    """The paths of what a model runs one after another: its children, and theirs where a child is a chain itself."""
    found = []
    for name, child in module.named_children():
        here = f"{path}.{name}" if path else name
        found += _parts(child, here) if _chain(child) else [here]
    return found


def _chain(module: nn.Module) -> bool:
    """Layers in a row and no more than that: a feed-forward or a subsampling is one part, although made of several."""
    return _chain(module.body) if isinstance(module, Unpadded) else type(module) in (Serial, Repeat, nn.Sequential)


def _widths(backbone: nn.Module, paths: tuple[str, ...]) -> list[int]:
    """The width of what a head sees at each path: of a Layer its d_out, of an image model's parts what comes out."""
    with taps(backbone, paths) as seen:  # taps knows the nearest name of a wrong path
        if not isinstance(backbone, Layer):
            _look(backbone)
    return [_width(path, backbone.get_submodule(path), seen.get(path), _name(backbone)) for path in paths]


def _look(backbone: nn.Module) -> None:
    """One black image through an image model, which stays as it was."""
    training = backbone.training
    backbone.eval()
    with torch.no_grad():
        backbone(next(backbone.parameters()).new_zeros(1, *cast(tuple[int, ...], backbone.image_shape)))
    backbone.train(training)


def _width(path: str, module: nn.Module, output: object, model: str) -> int:
    if isinstance(module, Layer) and isinstance(module.d_out, int):
        return module.d_out
    if isinstance(output, Tensor) and output.dim() in (2, 4):
        return regions(output).shape[1]
    raise UserError(f"companions: {model} gives no frames of one width and no maps at {path!r}; choose another path")


def regions(hidden: Tensor) -> Tensor:
    """Maps [B,C,H,W] as the means of GRID x GRID regions, so that a head sees where, at few weights; vectors as is."""
    return F.adaptive_avg_pool2d(hidden, GRID).flatten(1) if hidden.dim() == 4 else hidden


def _name(model: nn.Module) -> str:
    return str(getattr(model, "name", type(model).__name__))
