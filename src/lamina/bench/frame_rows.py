"""The ops that PyTorch has too: norms, gate, a streamed frame's product, depthwise convolution, windows."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from lamina import ops
from lamina.bench.case import Case
from lamina.bench.peer import Peer
from lamina.bench.row import Row, Target
from lamina.bench.work import Work

__all__ = [
    "frame_rows",
    "gated_norm_row",
    "linear_row",
    "rms_norm_row",
    "short_conv_row",
    "swiglu_row",
    "window_attention_row",
]

Inputs = dict[str, Tensor]
Run = Callable[[Inputs], Tensor]
LEVEL = Target(1, 2)
MATRICES = 16  # of a step: more weights than the nearest caches hold, as a network has


def _row(
    name: str, shape: str, inputs: Callable[[torch.Generator], Inputs], framed: tuple[str, ...], ours: Run, theirs: Run,
    count: Work, *, step: bool = False, targets: tuple[Target, Target] = (LEVEL, LEVEL),
) -> Row:  # fmt: skip
    """ours and theirs give y of the inputs; framed: the inputs that have a frame axis, none where frames look around
    them: then PyTorch's is the definition."""

    def in_pieces(leaves: Inputs, piece: int) -> Tensor:
        if not framed:
            return theirs(leaves)
        parts = zip(*(leaves[n].split(piece, 1) for n in framed), strict=True)
        return torch.cat([ours({**leaves, **dict(zip(framed, part, strict=True))}) for part in parts], 1)

    def case(dtype: torch.dtype, piece: int | None = None) -> Case:
        leaves = {n: t.to(dtype) for n, t in inputs(torch.Generator().manual_seed(0)).items()}
        return Case(leaves, lambda given: {"y": ours(given) if piece is None else in_pieces(given, piece)})

    peer = Peer("PyTorch", "torch", "torch", lambda ours: Case(ours.leaves, lambda given: {"y": theirs(given)}))
    timed = {"step": count} if step else {"forward": count, "forward+backward": count.with_gradients()}
    return Row(name, shape, case, (peer,), timed, dict(zip(timed, targets, strict=False)))


def _normal(shapes: dict[str, tuple[int, ...]], random: torch.Generator) -> Inputs:
    return {name: torch.randn(shape, generator=random) for name, shape in shapes.items()}


def rms_norm_row(B: int, T: int, D: int) -> Row:
    return _row(
        "rms_norm", f"B{B} L{T} d{D}", partial(_normal, {"x": (B, T, D), "weight": (D,)}), ("x",),
        lambda i: ops.rms_norm(i["x"], i["weight"]), lambda i: F.rms_norm(i["x"], (D,), i["weight"], 1e-6),
        Work(4 * B * T * D, 0, 4 * (2 * B * T * D + D), "flops 4 B T D, bytes 4 (2 B T D + D)"),
    )  # fmt: skip


def gated_norm_row(B: int, T: int, H: int, d: int) -> Row:
    n = B * T * H * d
    return _row(
        "gated_norm", f"B{B} L{T} H{H} d{d}", partial(_normal, {"x": (B, T, H, d), "gate": (B, T, H, d)}),
        ("x", "gate"), lambda i: ops.rms_norm(i["x"], None, i["gate"]),
        lambda i: F.rms_norm(i["x"], (d,), None, 1e-6) * F.silu(i["gate"]),
        Work(7 * n, n, 12 * n, "flops 7 B T H d, exps B T H d, bytes 12 B T H d"),
    )  # fmt: skip


def swiglu_row(B: int, T: int, D: int) -> Row:
    n = B * T * D
    return _row(
        "swiglu", f"B{B} L{T} d{D}", partial(_normal, {"gate": (B, T, D), "value": (B, T, D)}), ("gate", "value"),
        lambda i: ops.swiglu(i["gate"], i["value"]), lambda i: F.silu(i["gate"]) * i["value"],
        Work(4 * n, n, 12 * n, "flops 4 B T D, exps B T D, bytes 12 B T D"),
    )  # fmt: skip


def linear_row(rows: int, size: int) -> Row:
    shapes: dict[str, tuple[int, ...]] = {"x": (1, 1, size)}
    shapes |= {f"W{i}": (rows, size) for i in range(MATRICES)}
    every = [name for name in shapes if name != "x"]
    count = MATRICES * rows * size
    return _row(
        "linear", f"{MATRICES} of {rows}x{size} B1", partial(_normal, shapes), ("x",),
        lambda i: torch.stack([ops.linear(i["x"], i[n]) for n in every], -1),
        lambda i: torch.stack([F.linear(i["x"], i[n]) for n in every], -1),
        Work(2 * count, 0, 4 * count, "flops 2 weights, bytes 4 weights"), step=True,
    )  # fmt: skip


def short_conv_row(B: int, T: int, C: int, kernel: int) -> Row:
    """In front of a mixer, or in a Conformer."""

    def conv1d(i: Inputs) -> Tensor:
        x = F.pad(i["x"], (0, 0, kernel - 1, 0)).transpose(1, 2)
        return F.conv1d(x, i["weight"][:, None], i["bias"], groups=C).transpose(1, 2)

    n = B * T * C
    return _row(
        "short_conv", f"B{B} L{T} C{C} kernel{kernel}",
        partial(_normal, {"x": (B, T, C), "weight": (C, kernel), "bias": (C,)}), (),
        lambda i: ops.short_conv(i["x"], i["weight"], i["bias"])[0], conv1d,
        Work(2 * n * kernel, 0, 8 * n, "flops 2 B T C kernel, bytes 8 B T C"),
    )  # fmt: skip


def window_attention_row(B: int, T: int, H: int, d: int, left: int, targets: tuple[Target, Target]) -> Row:
    """PyTorch computes all T x T products and masks those beyond the window."""

    def masked(i: Inputs) -> Tensor:
        at = torch.arange(T)
        seen = (at[:, None] - at >= 0) & (at[:, None] - at <= left)
        q, k, v = (i[n].transpose(1, 2) for n in "qkv")
        return F.scaled_dot_product_attention(q, k, v, attn_mask=seen).transpose(1, 2)

    n = B * T * H
    count = Work(
        4 * n * (left + 1) * d, n * (left + 1), 16 * n * d,
        "flops 4 B T H (left + 1) d, exps B T H (left + 1), bytes 16 B T H d",
    )  # fmt: skip
    return _row(
        "window_attention", f"B{B} L{T} H{H} d{d} left{left}", partial(_normal, dict.fromkeys("qkv", (B, T, H, d))), (),
        lambda i: ops.attention(i["q"], i["k"], i["v"], left=left, right=0), masked, count, targets=targets,
    )  # fmt: skip


def frame_rows() -> tuple[Row, ...]:
    return (
        rms_norm_row(4, 512, 256), gated_norm_row(4, 512, 4, 64), swiglu_row(4, 512, 688), linear_row(256, 256),
        linear_row(1024, 256), linear_row(1024, 1024), short_conv_row(4, 512, 512, 4), short_conv_row(8, 400, 256, 31),
        window_attention_row(4, 2048, 4, 64, 128, (Target(4, 8), Target(3, 5))),
    )  # fmt: skip
