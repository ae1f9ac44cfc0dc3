"""torchscale: RetNet by its authors.

Its chunk form divides every output by a data-dependent scale, which the norm behind it takes out again up to its eps;
with an eps far below the outputs its forms agree among themselves and with ours (4e-6 of the largest value at eps
1e-12), with its usual 1e-6 and 1e-5 they do not (7e-2 and 2e-1 on fresh weights). Only the layer's own file is read:
torchscale's others need releases of fairscale and timm that no longer go with today's PyTorch. Its table of positions
and decays, which it makes once a forward, is made here beforehand and not timed.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import Tensor, nn

from lamina.bench.case import Case
from lamina.bench.peer import Peer
from lamina.layers import Retention, RMSNorm, SwiGLU

__all__ = ["CHUNKWISE_LAYER", "CHUNKWISE_OP", "STEP", "layer_of", "log_decay", "positions"]

CHUNK = 64  # the fastest of 32, 64, 128, 256 and 512 at both lengths of the table
EPS = 1e-12  # of the norm behind the memory, both sides
INSTALL = "pip install --no-deps torchscale==0.3.0"


def log_decay(n_heads: int) -> Tensor:
    """log(1 - 2^(-5-h)), [H]."""
    return torch.log1p(-(2.0 ** (-5 - torch.arange(n_heads))))


def positions(frames: int, n_heads: int, d_head: int, chunk: int) -> tuple[Any, Any]:
    """What the chunk form reads: (sin, cos) [T,K] of each position, and the four decays inside and across chunks.

    Each decay is scaled as torchscale does: rows i of the mask a^(i-j) by the root of their sums, values by the last
    row's sum; what is left of both stays in the queries' decay.
    """
    rate = 10000.0 ** -torch.linspace(0, 1, d_head // 2).repeat_interleave(2)
    angle = torch.arange(frames)[:, None] * rate
    decay, at = log_decay(n_heads)[:, None, None], torch.arange(chunk)
    mask = torch.exp(decay * (at[:, None] - at)).tril()  # [H,chunk,chunk]
    rows, last = mask.sum(-1, keepdim=True).sqrt(), mask[:, -1].sum(-1)[:, None, None]
    across = torch.exp(decay * chunk)
    queries = torch.exp(decay * (at + 1)[:, None]) * last / rows
    values = mask[:, -1, :, None] / last
    return (angle.sin(), angle.cos()), (mask / rows, across, queries, values)


def empty_layer(width: int, n_heads: int, eps: float) -> Any:
    """A MultiScaleRetention, value width as model width."""
    from torchscale.component.multiscale_retention import MultiScaleRetention

    return MultiScaleRetention(SimpleNamespace(multiway=False, layernorm_eps=eps), width, width, n_heads)


@torch.no_grad()
def layer_of(ours: Retention, eps: float) -> Any:
    """A MultiScaleRetention with the weights of our layer, whose one projection holds its q, k, v and g."""
    width = cast(int, ours.d_in)
    theirs = empty_layer(width, ours.n_heads, eps)
    for projection, weight in zip("qkvg", ours.project.weight.split(width), strict=True):
        getattr(theirs, f"{projection}_proj").weight.copy_(weight)
    theirs.out_proj.weight.copy_(ours.out.weight)
    return theirs


def _chunkwise_op(ours: Case) -> Case:
    """q, k [B,H,T,K] and v [B,T,H V] as the layer hands them to its inner part."""
    q, k, v = (ours.leaves[n] for n in "qkv")
    n_heads, d_head = q.shape[2:]
    inner = empty_layer(n_heads * d_head, n_heads, 0.0)
    decays = positions(q.shape[1], n_heads, d_head, min(CHUNK, q.shape[1]))[1]
    leaves = {"q": q.transpose(1, 2).contiguous(), "k": k.transpose(1, 2).contiguous(), "v": v.flatten(2)}
    return Case(leaves, lambda given: {"y": inner.chunk_recurrent_forward(given["q"], given["k"], given["v"], decays)})


def _chunkwise_layer(ours: Case) -> Case:
    x, layer = ours.leaves["x"], cast(Retention, ours.module)
    theirs = layer_of(layer, layer.eps)
    at = positions(x.shape[1], layer.n_heads, layer.d_head, min(CHUNK, x.shape[1]))
    return Case({"x": x}, lambda given: {"y": theirs(given["x"], at, chunkwise_recurrent=True)}, module=theirs)


@torch.no_grad()
def _stack_of(ours: nn.Module) -> tuple[list[Any], Any]:
    """(norm, retention, norm, feed-forward) a layer and the last norm, with the weights of our model."""
    from torchscale.component.gate_linear_unit import GLU
    from torchscale.component.rms_norm import RMSNorm as Norm

    def norm_of(norm: RMSNorm) -> Any:
        made = Norm(cast(int, norm.d_in), norm.eps)
        made.weight.copy_(norm.weight)
        return made

    def feed_forward_of(layer: SwiGLU) -> Any:
        made = GLU(layer.d_in, layer.out.in_features, "swish", 0.0, 0.0)
        for theirs, weight in zip((made.fc1, made.gate), layer.gate_value.weight.chunk(2), strict=True):
            theirs.weight.copy_(weight)
        made.fc2.weight.copy_(layer.out.weight)
        return made.eval()

    parts = [m for m in ours.modules() if isinstance(m, RMSNorm | Retention | SwiGLU)]
    makers = {RMSNorm: norm_of, Retention: lambda m: layer_of(m, m.eps), SwiGLU: feed_forward_of}
    *blocks, last = [makers[type(m)](m) for m in parts]
    return [tuple(blocks[i : i + 4]) for i in range(0, len(blocks), 4)], last


def _step(ours: Case) -> Case:
    """The recurrent form, one token after another; its sines of the position are made a token, as torchscale does."""
    module = cast(nn.Module, ours.module)
    blocks, last = _stack_of(module)
    retention = next(m for m in module.modules() if isinstance(m, Retention))
    angle = 10000.0 ** -torch.linspace(0, 1, retention.d_head // 2).repeat_interleave(2)
    decay = log_decay(retention.n_heads)

    def step(x: Tensor, at: int, caches: list[dict[str, Tensor]]) -> Tensor:
        where = (torch.sin(angle * at), torch.cos(angle * at)), decay.exp()
        for (norm, mixer, norm_ff, feed_forward), cache in zip(blocks, caches, strict=True):
            x = x + mixer(norm(x), where, incremental_state=cache)
            x = x + feed_forward(norm_ff(x))
        return last(x)

    def run(leaves: dict[str, Tensor]) -> dict[str, Tensor]:
        caches: list[dict[str, Tensor]] = [{} for _ in blocks]
        return {"y": torch.cat([step(x, t, caches) for t, x in enumerate(leaves["x"].split(1, 1))], 1)}

    frame, aged, at = ours.leaves["x"][:, :1].detach(), [{} for _ in blocks], 0

    def timed() -> None:
        nonlocal at
        step(frame, at, aged)
        at += 1

    return Case(ours.leaves, run, timed=timed)


def _rows_of_size_one(y: Tensor) -> Tensor:
    return y / y.square().mean(-1, keepdim=True).sqrt()


def _as_frames(y: Tensor) -> Tensor:
    return y.flatten(1, 2)


CHUNKWISE_OP = Peer(
    f"torchscale chunk {CHUNK}",
    "torchscale",
    "torchscale",
    _chunkwise_op,
    restore=_as_frames,
    alike=_rows_of_size_one,
    note="its outputs carry a scale a frame and head: compared after division by their root mean square",
    install=INSTALL,
)

CHUNKWISE_LAYER = Peer(
    f"torchscale chunk {CHUNK}", "torchscale", "torchscale", _chunkwise_layer,
    note=f"agrees at eps {EPS:g}; at its usual ones its scale shows", install=INSTALL,
)  # fmt: skip
STEP = Peer(
    "torchscale recurrent", "torchscale", "torchscale", _step,
    note=f"its layers put together here, its own decoder does not import; eps {EPS:g}", install=INSTALL,
)  # fmt: skip
