"""Cost: weights, FLOPs a frame, state bytes and latency, found by running the module, not by declaring."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lamina.core import state as trees
from lamina.core.compose import channels
from lamina.core.layer import Layer, NotStreamable
from lamina.core.seq import Seq

__all__ = ["Cost", "cost", "count_flops", "example", "params", "state_bytes"]


@dataclass(frozen=True)
class Cost:
    """What a module takes.

    params: trainable weights. flops_per_frame: multiplications and additions of the matrix products, convolutions and
    recurrences (elementwise work is not counted), of one steady streamed step divided by its frames, or of forward
    divided by its frames where there is no stream. state_bytes: one stream's state. latency_frames: block + delay in
    input frames. The last two are None where there is no stream, and `reason` says why.
    """

    params: int
    flops_per_frame: float
    state_bytes: int | None
    latency_frames: float | None
    reason: str | None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def params(module: nn.Module) -> int:
    """Trainable weights."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def example(layer: Layer, batch: int = 1, frames: int = 1) -> Seq:
    """A dense input that the layer can take: random values, or token ids."""
    like = layer.like(None)
    shape = (batch, frames, *channels(layer.d_in))
    if layer.n_vocab:
        return Seq.of(torch.randint(0, layer.n_vocab, shape, device=like.device))
    return Seq.of(torch.randn(shape, device=like.device, dtype=like.dtype))


def cost(module: nn.Module, *inputs: Any) -> Cost:
    """Measures a Layer, or any module on a given input.

    inputs: what forward takes (of a Layer one Seq, default 64 random frames or more; of any other module it counts as
    one frame).
    """
    training = module.training
    module.eval()
    try:
        with torch.no_grad():
            if not isinstance(module, Layer):
                return Cost(
                    params(module), count_flops(lambda: module(*inputs)), None, None, "a plain module: no frames"
                )
            width = channels(module.d_memory or module.d_in)
            memory = Seq.of(module.like(None).new_zeros(1, 64, *width)) if module.takes_memory else None
            try:
                spec = module.stream_spec()
            except NotStreamable as reason:
                x = inputs[0] if inputs else example(module, frames=_enough(module))
                whole = (x, memory) if module.takes_memory else (x,)
                flops = count_flops(lambda: module(*whole)) / x.mask.shape[1]
                return Cost(params(module), flops, None, None, str(reason))
            frame, state = example(module, 1, spec.block), module.init_state(1, memory=memory)
            args = (frame, state, memory) if module.takes_memory else (frame, state)
            flops = count_flops(lambda: module.step(*args)) / spec.block
            return Cost(params(module), flops, trees.nbytes(state), float(spec.latency), None)
    finally:
        module.train(training)


def _enough(layer: Layer) -> int:
    """Frames for an input: 64, or so many more that 16 come out, where frames are samples of which many make one."""
    frames = 64
    while layer.frames(frames) < 16 and frames < 2**20:
        frames *= 2
    return frames


def state_bytes(layer: Layer, frames: int, *, block: int = 256) -> int:
    """Bytes of one stream's state after that many frames, measured on the real state."""
    spec, state = layer.stream_spec(), layer.init_state(1)
    with torch.no_grad():
        while frames > 0:
            size = min(frames + -frames % spec.block, block + -block % spec.block)
            _, state = layer.step(example(layer, 1, size), state)
            frames -= size
    return trees.nbytes(state)


def count_flops(run: Callable[[], Any]) -> float:
    """FLOPs of one call, as PyTorch's counter finds them in the operators that really ran."""
    with FlopCounterMode(display=False, custom_mapping=_recurrent()) as counter:
        run()
    return float(counter.get_total_flops())


def _recurrent() -> dict[Any, Any]:
    """oneDNN's fused LSTM hides its products from the counter: 2 * T * B * (weights of W and U)."""

    def _lstm(x: Any, w_ih: Any, w_hh: Any, *_: Any, **__: Any) -> int:
        return int(2 * x[0] * x[1] * (w_ih[0] * w_ih[1] + w_hh[0] * w_hh[1]))

    return {torch.ops.aten.mkldnn_rnn_layer: _lstm}
