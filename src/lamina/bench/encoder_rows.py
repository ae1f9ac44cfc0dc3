"""Whole encoders at the sizes of the table, on ragged and on dense batches, with the peers' weights in them."""

from __future__ import annotations

from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from lamina.bench.case import Case
from lamina.bench.peer import Peer
from lamina.bench.peers.conformer import RELATIVE
from lamina.bench.peers.encoders import BERT_SDPA, X_TRANSFORMERS
from lamina.bench.row import Row, Target
from lamina.bench.work import Work
from lamina.core import Layer, Seq
from lamina.models import create

__all__ = ["bert_row", "conformer_row", "encoder_rows", "transformer_row"]

HEADS = 4
ABSENT: dict[str, tuple[str, ...]] = {  # what a peer has not, by the end of its name in ours
    "bert": (),
    "transformer": ("qkv.bias", "out.bias", "norm.bias"),
    "conformer": (".1.1.linear.bias", ".1.3.conv.bias", ".1.6.linear.bias"),
}
Targets = tuple[Target, Target]


def bert_row(B: int, T: int, width: int, n_layers: int, targets: Targets) -> Row:
    """Half of the batch is padding: rows of T, T - step, ... frames."""
    keys = {"d_model": width, "n_layers": n_layers, "n_heads": HEADS, "d_ff": 4 * width, "capacity": 512}
    lengths = [max(1, T * (i + 1) // B) for i in range(B)]
    return _row("bert", B, T, width, n_layers, lengths, partial(_made, "bert", keys), BERT_SDPA, targets)


def transformer_row(B: int, T: int, width: int, n_layers: int, targets: Targets) -> Row:
    """Attention over the whole input, without positions, dense."""
    keys = {"d_model": width, "n_layers": n_layers, "n_heads": HEADS, "d_ff": 4 * width}
    made = partial(_made, "transformer", keys | {"left": None, "right": None, "rotary": False})
    return _row("transformer", B, T, width, n_layers, [T] * B, made, X_TRANSFORMERS, targets)


def conformer_row(B: int, T: int, width: int, n_layers: int, kernel: int, targets: Targets) -> Row:
    """As published: relative positions, the convolution centred; rows of T/2 to T frames."""
    keys = {"d_model": width, "n_layers": n_layers, "n_heads": HEADS, "d_ff": 4 * width, "kernel": kernel}
    keys |= {"left": None, "right": None, "rotary": False, "relative": True, "conv_right": kernel // 2}
    lengths = [T // 2 + T // 2 * (i + 1) // B for i in range(B)]
    return _row("conformer", B, T, width, n_layers, lengths, partial(_made, "conformer", keys), RELATIVE, targets)


def _row(
    name: str, B: int, T: int, width: int, n_layers: int, lengths: list[int], made: partial[Layer], peer: Peer,
    targets: Targets,
) -> Row:  # fmt: skip
    pairs = sum(n * n for n in lengths)
    weights = sum(m.weight.numel() for m in made().modules() if isinstance(m, nn.Linear))
    count = Work(
        2 * sum(lengths) * weights + 4 * n_layers * pairs * width, n_layers * HEADS * pairs,
        4 * (weights + 2 * sum(lengths) * width),
        "flops 2 frames weights + 4 layers pairs d_model, exps layers heads pairs, bytes 4 (weights + 2 frames D)",
    )  # fmt: skip
    return Row(
        name, f"{n_layers} layers B{B} L{T} d{width}", partial(_case, made, lengths, (B, T, width)), (peer,),
        {"forward": count, "forward+backward": count.with_gradients()},
        {"forward": targets[0], "forward+backward": targets[1]},
    )  # fmt: skip


def _made(name: str, keys: dict[str, object]) -> Layer:
    """The model, zeros where its peer has no weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = cast(Layer, create(name, **keys)).eval()
        for part, values in (*model.named_buffers(), *model.named_parameters()):
            if part.endswith(("running_mean", "relative.u", "relative.v")):  # as after some training
                nn.init.normal_(values, 0, 0.1)
            elif part.endswith(ABSENT[name]):
                nn.init.zeros_(values)
    return model


def _case(
    made: partial[Layer], lengths: list[int], shape: tuple[int, ...], dtype: torch.dtype, piece: int | None
) -> Case:
    """piece given: in float64 each row alone, without padding, is the truth; float32's own error is the batch's."""
    model = made().to(dtype)
    values = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    x = Seq.ragged(values, torch.tensor(lengths))
    mask, dense = x.mask, min(lengths) == shape[1]

    def run(leaves: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"y": model(Seq(leaves["x"], mask).hint(dense=dense, finite=True)).zeroed()}

    def run_alone(leaves: dict[str, Tensor]) -> dict[str, Tensor]:
        rows = [model(Seq.of(leaves["x"][b : b + 1, :n])).values for b, n in enumerate(lengths)]
        padded = [nn.functional.pad(y, (0, 0, 0, shape[1] - y.shape[1])) for y in rows]
        return {"y": torch.cat(padded)}

    return Case({"x": x.zeroed().to(dtype)}, run_alone if piece and dtype == torch.float64 else run, module=model)


def encoder_rows() -> tuple[Row, ...]:
    return (
        bert_row(16, 128, 256, 4, (Target(1.6, 2), Target(1.6, 2))),
        transformer_row(4, 512, 256, 4, (Target(1.0, 1.3), Target(1.0, 1.3))),
        conformer_row(8, 400, 256, 4, 31, (Target(1.3, 2), Target(1.3, 2))),
    )
