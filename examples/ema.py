"""One's own mixer in twenty lines, and the laws on it:  lamina check examples/ema.py:Ema"""

import torch

from lamina import Layer, Seq, StreamSpec
from lamina.core.layer import state_dtype


class Ema(Layer):
    """y_t = a y_{t-1} + (1 - a) x_t, one a a channel. [B,T,D] -> [B,T,D]; state {"y": [B,D]}, D * 4 bytes a stream."""

    def __init__(self, d_model: int):
        super().__init__()
        self.d_in = self.d_out = d_model
        self.rate = torch.nn.Parameter(torch.zeros(d_model))

    def stream_spec(self):
        return StreamSpec()

    def init_state(self, batch, *, like=None, memory=None):
        like = self.like(like)
        return {"y": like.new_zeros(batch, self.d_in, dtype=state_dtype(like))}

    def forward(self, x: Seq, memory=None):
        return self.step(x, self.init_state(len(x.mask), like=x.values))[0]

    def step(self, x: Seq, state, memory=None):
        y, a, out = state["y"], self.rate.sigmoid(), []
        for frame, real in zip(x.zeroed().unbind(1), x.mask.unbind(1), strict=True):
            y = torch.where(real[:, None], a * y + (1 - a) * frame, y)  # an absent frame changes nothing
            out.append(y)
        return x.with_values(torch.stack(out, 1).to(x.values.dtype)), {"y": y}
