"""diffusers' UNet2DModel with our weights in it, as it comes and with the channels of a place side by side."""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from lamina.bench.case import Case
from lamina.bench.peer import Peer
from lamina.interop.unet import said, table
from lamina.interop.weights import give

__all__ = ["CHANNELS_LAST", "UNET"]


def _unet(layout: torch.memory_format, ours: Case) -> Case:
    """At the same times, which the case holds beside the images."""
    from diffusers import UNet2DModel

    model = cast(Any, ours.module)
    with torch.random.fork_rng(devices=[]):
        theirs = UNet2DModel.from_config(said(model)).eval()
    theirs.load_state_dict(give(model.state_dict(), table(model, False), {}))
    theirs = theirs.to(memory_format=layout)

    def run(leaves: dict[str, Tensor]) -> dict[str, Tensor]:
        x = leaves["x"].contiguous(memory_format=layout)
        return {"y": theirs(x, leaves["t"]).sample}

    return Case(ours.leaves, run, ours.fixed, theirs)


UNET = Peer("diffusers", "diffusers", "diffusers", partial(_unet, torch.contiguous_format), note="as it comes")
CHANNELS_LAST = Peer(
    "diffusers channels_last", "diffusers", "diffusers", partial(_unet, torch.channels_last),
    note="weights and images in channels_last",
)  # fmt: skip
