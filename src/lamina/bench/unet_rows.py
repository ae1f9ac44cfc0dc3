"""The U-Net of DDPM on a batch of images, and one step of drawing one image, beside diffusers'."""

from __future__ import annotations

from functools import partial
from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn

from lamina.bench.case import Case
from lamina.bench.peers.diffusers import CHANNELS_LAST, UNET
from lamina.bench.row import Row, Target
from lamina.bench.work import Work
from lamina.core.cost import count_flops, params
from lamina.models import create

__all__ = ["unet_row", "unet_rows"]


def unet_row(B: int, keys: dict[str, Any], targets: dict[str, Target]) -> Row:
    """B images, each at a time of its own, with the gradients of all weights where a target asks for them."""
    with torch.device("meta"):
        model: Any = create("ddpm", **keys)
        one = count_flops(lambda: model(*model.example()))
    weights, pixels = params(model), torch.Size(model.image_shape).numel()
    count = Work(
        B * one, 0, 4 * (weights + 2 * B * pixels),
        "flops of the convolutions and products, bytes 4 (weights + 2 B pixels)",
    )  # fmt: skip
    c, side, _ = model.image_shape
    return Row(
        "unet", f"B{B} {side}x{side}x{c} {weights / 1e6:.1f}M", partial(_case, B, keys), (UNET, CHANNELS_LAST),
        {"forward": count, "forward+backward": count.with_gradients()}, targets,
    )  # fmt: skip


def _case(B: int, keys: dict[str, Any], dtype: torch.dtype, piece: int | None) -> Case:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: Any = create("ddpm", **keys).eval()
        for weight in model.parameters():
            if weight.dim() > 1 and not weight.any():  # as after some training
                nn.init.kaiming_uniform_(weight, sqrt(5))
        x, t = torch.randn(B, *model.image_shape), torch.randint(0, 1000, (B,))
    model = model.to(dtype)

    def run(leaves: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"y": model(leaves["x"], leaves["t"])}

    return Case({"x": x.to(dtype), "t": t.to(dtype)}, run, frozenset({"t"}), model)


def unet_rows() -> tuple[Row, ...]:
    keys = {"size": 32, "d_in": 3, "channels": (32, 64, 128)}
    training = {"forward": Target(1.0, 1.3), "forward+backward": Target(1.0, 1.3)}
    return unet_row(16, keys, training), unet_row(1, keys, {"forward": Target(1.3, 2)})
