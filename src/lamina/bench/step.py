"""One streamed frame of an LSTM beside what PyTorch offers: two LSTMCells, and nn.LSTM itself."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lamina.bench.timing import interleaved
from lamina.core import Seq
from lamina.core.config import UserError
from lamina.layers import LSTM
from lamina.models import create
from lamina.train.machine import environment

__all__ = ["bench_step"]


@torch.no_grad()
def bench_step(width: int = 256, n_layers: int = 2, rounds: int = 500) -> dict[str, Any]:
    """Microseconds of one frame at batch 1 through n_layers of width D = H, ours and the peers' with the same weights.

    The outputs must agree first; no time is given otherwise.
    """
    model = create("lstm", d_model=width, n_layers=n_layers).eval()
    cells, stack = _peers(model, width, n_layers)
    x = torch.randn(1, width)
    frame, zeros = Seq.of(x[:, None]), torch.zeros(n_layers, 1, width)
    state = model.init_state(1)

    def two_cells() -> Tensor:
        y = x
        for cell, h, c in zip(cells, zeros, zeros, strict=True):
            y, _ = cell(y, (h, c))
        return y

    ours = model.step(frame, state)[0].values[0]
    for name, theirs in (("LSTMCell", two_cells()), ("nn.LSTM", stack(x[None], (zeros, zeros))[0][0])):
        difference = float((ours - theirs).abs().max())
        if difference > 1e-6:
            raise UserError(f"bench step: ours and {name} differ by {difference:.1e}; no time is given on red")
    times = interleaved(
        {
            "lamina": lambda: model.step(frame, state),
            "LSTMCell": two_cells,
            "nn.LSTM": lambda: stack(x[None], (zeros, zeros)),
        },
        rounds,
    )
    return {
        "what": f"one frame, batch 1, {n_layers} LSTM layers, D=H={width}, float32",
        "times": {name: t.as_dict() for name, t in times.items()},
        "ratio_to_LSTMCell": round(times["lamina"].median / times["LSTMCell"].median, 3),
        "ratio_to_nn.LSTM": round(times["lamina"].median / times["nn.LSTM"].median, 3),
        "env": environment(),
    }


def _peers(model: nn.Module, width: int, n_layers: int) -> tuple[list[nn.LSTMCell], nn.LSTM]:
    """PyTorch's cells and stack with the model's weights."""
    cells, stack = [], nn.LSTM(width, width, n_layers)
    ours = [m for m in model.modules() if isinstance(m, LSTM)]
    for i, layer in enumerate(ours):
        cell = nn.LSTMCell(width, width)
        cell.weight_ih.copy_(layer.weight[:width].t())
        cell.weight_hh.copy_(layer.weight[width:].t())
        cell.bias_ih.copy_(layer.bias)
        cell.bias_hh.zero_()
        for name, value in cell.named_parameters():
            getattr(stack, f"{name}_l{i}").copy_(value)
        cells.append(cell)
    return cells, stack
