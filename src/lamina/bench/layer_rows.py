"""Whole layers and streamed steps at the sizes of the table, with the peers' weights in them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from lamina import ops
from lamina.bench import work
from lamina.bench.case import Case
from lamina.bench.peer import Peer
from lamina.bench.peers import mamba, torchscale
from lamina.bench.row import Row, Target
from lamina.bench.work import Work
from lamina.core import Layer, Seq
from lamina.core import state as trees
from lamina.layers import Retention
from lamina.models import create

__all__ = ["layer_rows", "mamba_step_row", "retention_layer_row", "retnet_step_row"]

AGED = 16  # frames of the gate of a step


def retention_layer_row(B: int, T: int, width: int, n_heads: int, targets: dict[str, Target]) -> Row:
    """The whole layer: five projections, positions, retention, norm and gate."""
    make = partial(Retention, width, n_heads, eps=torchscale.EPS)
    op = work.retention(B, T, n_heads, width // n_heads, width // n_heads)
    count = work.products(op, B * T, _matrices(make()), width)
    return Row(
        "retention_layer", f"B{B} L{T} d{width} H{n_heads}", partial(_layer_case, make, (B, T, width)),
        (torchscale.CHUNKWISE_LAYER,), {"forward": count, "forward+backward": count.with_gradients()}, targets,
        partial(_products, make, (B, T)),
    )  # fmt: skip


def _layer_case(make: Callable[[], Layer], shape: tuple[int, ...], dtype: torch.dtype, piece: int | None) -> Case:
    layer, x = _seeded(make, shape, dtype)

    def run(leaves: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"y": layer(Seq.of(leaves["x"])).values}

    def run_in_pieces(leaves: dict[str, Tensor]) -> dict[str, Tensor]:
        y, _ = _steps(layer, leaves["x"], cast(int, piece))
        return {"y": y}

    return Case({"x": x}, run if piece is None else run_in_pieces, module=layer)


def mamba_step_row(width: int, n_layers: int, target: Target) -> Row:
    """One streamed frame through Mamba layers in residuals."""
    make = partial(_model, "mamba", width, n_layers)
    op = work.selective_scan(1, 1, 2 * width, 16).times(n_layers)
    return _step_row("mamba_step", f"{n_layers} layers B1 d{width}", make, width, op, mamba.STEP, target)


def retnet_step_row(width: int, n_layers: int, target: Target) -> Row:
    """One streamed frame through RetNet's layers, retention of four heads and feed-forward."""
    make = partial(_model, "retnet", width, n_layers)
    op = work.retention(1, 1, 4, width // 4, width // 4).times(n_layers)
    return _step_row("retnet_step", f"{n_layers} layers B1 d{width}", make, width, op, torchscale.STEP, target)


def _model(name: str, width: int, n_layers: int) -> Layer:
    model = cast(Layer, create(name, d_model=width, n_layers=n_layers))
    for layer in model.modules():
        if isinstance(layer, Retention):
            layer.eps = torchscale.EPS
    return model


def _step_row(
    name: str, shape: str, make: Callable[[], Layer], width: int, op: Work, peer: Peer, target: Target
) -> Row:
    """Gated over AGED frames from the first on, outputs and last states."""
    stack = _seeded(make, (1,), torch.float32)[0]
    count = work.products(op, 1, _matrices(stack), width, trees.nbytes(stack.init_state(1)))
    return Row(
        name, shape, partial(_step_case, make, width), (peer,), {"step": count}, {"step": target},
        partial(_products, make, (1, 1)),
    )  # fmt: skip


def _step_case(make: Callable[[], Layer], width: int, dtype: torch.dtype, piece: int | None) -> Case:
    stack, x = _seeded(make, (1, AGED, width), dtype)
    frame, state = Seq.of(x[:, :1]), stack.init_state(1)

    def run(leaves: dict[str, Tensor]) -> dict[str, Tensor]:
        y, last = _steps(stack, leaves["x"], 1)
        return {"y": y} | {f"state {n}": t for n, t in trees.flatten(last).items() if t.is_floating_point()}

    def timed() -> None:
        nonlocal state
        state = stack.step(frame, state)[1]

    return Case({"x": x}, run, module=stack, timed=timed)


def _products(make: Callable[[], Layer], shape: tuple[int, int]) -> Case:
    """Every matrix of the layers times frames [*shape], and nothing else."""
    weights = [m.weight for m in _seeded(make, (1,), torch.float32)[0].modules() if isinstance(m, nn.Linear)]
    leaves = {f"{i}": torch.randn(*shape, w.shape[1]) for i, w in enumerate(weights)}
    module = nn.ParameterList(weights)

    def run(given: dict[str, Tensor]) -> dict[str, Tensor]:
        return {n: ops.linear(x, w) for (n, x), w in zip(given.items(), weights, strict=True)}

    return Case(leaves, run, module=module, of=tuple(leaves))


def _matrices(layer: Layer) -> int:
    return sum(m.weight.numel() for m in layer.modules() if isinstance(m, nn.Linear))


def _seeded(make: Callable[[], Layer], shape: tuple[int, ...], dtype: torch.dtype) -> tuple[Layer, Tensor]:
    """The layer and an input, the same numbers in every dtype."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make().eval().to(dtype), torch.randn(shape).to(dtype)


def _steps(layer: Layer, x: Tensor, piece: int) -> tuple[Tensor, Any]:
    """The stream of x in steps of that many frames: outputs and the last state."""
    state, outputs = layer.init_state(len(x)), []
    for part in x.split(piece, 1):
        y, state = layer.step(Seq.of(part), state)
        outputs.append(y.values)
    return torch.cat(outputs, 1), state


def layer_rows() -> tuple[Row, ...]:
    return (
        retention_layer_row(4, 512, 256, 4, {"forward": Target(1.3, 1.6), "forward+backward": Target(1.3, 1.6)}),
        retention_layer_row(4, 2048, 256, 4, {"forward": Target(1.3, 1.6), "forward+backward": Target(1.3, 1.6)}),
        mamba_step_row(256, 4, Target(2, 4)),
        retnet_step_row(256, 4, Target(2.5, 4)),
    )
