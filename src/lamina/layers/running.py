"""Running normalisation: each channel by the mean and the variance of its frames so far."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from lamina.core import Seq, State
from lamina.core.layer import state_dtype
from lamina.layers.one_run import OneRun

__all__ = ["RunningNorm"]

CHUNK = 64  # frames that are weighed at once; the result does not hang on it


class RunningNorm(OneRun):
    """y_t = (x_t - mean_t) / sqrt(var_t + eps), mean and variance of each channel over the row's real frames up to t.

        n_t = a n_{t-1} + 1,    mean_t = mean_{t-1} + (x_t - mean_{t-1}) / n_t,
        var_t = (a n_{t-1} (var_{t-1} + (mean_t - mean_{t-1})^2) + (x_t - mean_t)^2) / n_t

    a = decay: 1 remembers all frames alike, below 1 a frame k frames back weighs a^k. It begins as if `prior` frames of
    that mean and deviation had been heard, so that the first frames are not divided by nothing. The mean and variance
    of a whole utterance are the rule of speech front ends (Viikki & Laurila 1998, doi:10.1016/S0167-6393(98)00033-8);
    these need no end of it.

    [B,T,D] -> [B,T,D], no weight. state {"n": [B], "mean": [B,D], "var": [B,D]}, float32 or wider: (2 D + 1) * 4 bytes
    a stream, whatever its age. Absent frames leave it unchanged.
    """

    def __init__(
        self, d_model: int, decay: float = 1.0, prior: float = 10.0, mean: float = 0.0, deviation: float = 1.0,
        eps: float = 1e-5,
    ) -> None:  # fmt: skip
        super().__init__()
        if not 0 < decay <= 1 or prior <= 0 or deviation <= 0:
            raise ValueError(
                f"RunningNorm: decay={decay} must be above 0 and at most 1, prior={prior} and deviation={deviation} "
                "above 0"
            )
        self.d_in = self.d_out = d_model
        self.decay, self.prior, self.mean, self.deviation, self.eps = decay, prior, mean, deviation, eps

    def init_state(self, batch: int, *, like: Tensor | None = None, memory: Seq | None = None) -> State:
        like = self.like(like)
        full = like.new_ones(batch, self.d_in, dtype=state_dtype(like))  # type: ignore[arg-type]
        return {"n": full[:, 0] * self.prior, "mean": full * self.mean, "var": full * self.deviation**2}

    def run(self, x: Seq, state: State | None) -> tuple[Tensor, State]:
        values = x.zeroed()
        state = self.init_state(len(values), like=values) if state is None else state
        found = []
        for at in range(0, values.shape[1], CHUNK):
            y, state = self._chunk(values[:, at : at + CHUNK], x.mask[:, at : at + CHUNK], state)
            found.append(y.to(values.dtype))
        return torch.cat(found, 1) if found else values, state

    def _chunk(self, x: Tensor, mask: Tensor, state: State) -> tuple[Tensor, State]:
        """The recursion written out over the frames of a chunk, in deviations d from the mean before it."""
        n, mean, var = (cast(Tensor, state[key]) for key in ("n", "mean", "var"))
        real = mask.to(n.dtype)
        age = real.cumsum(1)
        older = age[:, :, None] - age[:, None, :]  # frames between t and i, [B,t,i]
        weight = (self.decay**older * real[:, None, :]).tril()
        total = self.decay**age * n[:, None] + weight.sum(2)
        d, var = x.to(n.dtype) - mean[:, None], var[:, None]
        shift = weight @ d / total[..., None]
        # after many frames each brings little: added up first, it is not lost in the rounding of what is there
        var_t = (var + (weight @ (d.square() - var) / total[..., None] - shift.square())).clamp(min=0)
        y = (d - shift) * (var_t + self.eps).rsqrt()
        return y, {"n": total[:, -1].clone(), "mean": mean + shift[:, -1], "var": var_t[:, -1].clone()}
