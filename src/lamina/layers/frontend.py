"""The front end of speech: frames of samples, and log-mel energies, under the contract: it streams as it trains."""

from __future__ import annotations

from fractions import Fraction
from math import log10
from typing import cast

import torch
from torch import Tensor

from lamina.core import Layer, Pointwise, Seq, Serial, State, StreamSpec
from lamina.core.layer import state_dtype

__all__ = ["Frames", "LogMel", "MelSpectrum", "mel_filters"]


class Frames(Layer):
    """Overlapping frames: y_j = [x_{j hop}, ..., x_{j hop + window - 1}], only those that are whole.

    [B,T,d_in] -> [B,(T-window)//hop+1,window*d_in]; block hop, ratio 1/hop, delay max(0, ceil(window/hop) - 1).
    state {"x": [B,delay*hop,d_in], "mask": [B,delay*hop]}. window = hop stacks frames one behind another.
    """

    def __init__(self, d_in: int, window: int, hop: int) -> None:
        super().__init__()
        if window < 1 or hop < 1:
            raise ValueError(f"Frames: window={window} and hop={hop} must be at least 1")
        self.d_in, self.d_out = d_in, window * d_in
        self.window, self.hop = window, hop
        self.delay = max(0, -(-window // hop) - 1)

    def stream_spec(self) -> StreamSpec:
        return StreamSpec(self.hop, Fraction(1, self.hop), self.delay)

    def init_state(self, batch: int, *, like: Tensor | None = None, memory: Seq | None = None) -> State:
        like = self.like(like)
        empty = like.new_empty(0, dtype=state_dtype(like))
        past = Seq.absent(batch, self.delay * self.hop, (cast(int, self.d_in),), empty)
        return {"x": past.values, "mask": past.mask}

    def forward(self, x: Seq, memory: Seq | None = None) -> Seq:
        return self._framed(x.zeroed(), x.mask, self.frames(x.mask.shape[1]))

    def step(self, x: Seq, state: State, memory: Seq | None = None) -> tuple[Seq, State]:
        past, values, n = cast(Tensor, state["x"]), x.zeroed(), x.mask.shape[1]
        heard = torch.cat([past, values.to(past.dtype)], 1)
        mask = torch.cat([cast(Tensor, state["mask"]), x.mask], 1)
        y = self._framed(heard.to(values.dtype), mask, n // self.hop)
        return y, {"x": heard[:, n:].clone(), "mask": mask[:, n:].clone()}

    def frames(self, n: int) -> int:
        return max(0, (n - self.window) // self.hop + 1)

    def _framed(self, values: Tensor, mask: Tensor, frames: int) -> Seq:
        """The first `frames` frames; one is real where its first and last values are."""
        if not frames:
            return Seq(values.new_zeros(len(values), 0, cast(int, self.d_out)), mask[:, :0])
        reach = (frames - 1) * self.hop + 1
        whole = values[:, : reach + self.window - 1].unfold(1, self.window, self.hop)  # [B,frames,d_in,window]
        real = mask[:, : reach : self.hop] & mask[:, self.window - 1 : self.window - 1 + reach : self.hop]
        return Seq(whole.transpose(2, 3).flatten(2), real)


class MelSpectrum(Pointwise):
    """y_m = log(eps + sum_f M_mf |sum_t w_t x_t exp(-2 pi i f t / F)|^2) of each frame of `window` samples.

    w is Hann's window (periodic), F the power of two at or above `window`, M the filters of `mel_filters`. The
    transform is a product with its matrix, which every export knows. [B,T,window] -> [B,T,n_mels], no state, no weight.
    """

    basis: Tensor
    filters: Tensor

    def __init__(self, rate: int, window: int, n_mels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.d_in, self.d_out, self.eps = window, n_mels, eps
        size = 1 << (window - 1).bit_length()
        filters = mel_filters(rate, size, n_mels)
        if not bool(filters.sum(0).all()):
            raise ValueError(
                f"MelSpectrum: n_mels={n_mels} is too many for a window of {window} samples at {rate} Hz: a filter "
                "holds no frequency of the transform; take fewer, or a longer window"
            )
        t, f = torch.arange(window, dtype=torch.float64), torch.arange(size // 2 + 1, dtype=torch.float64)
        hann = 0.5 - 0.5 * torch.cos(2 * torch.pi * t / window)
        angle = 2 * torch.pi * t[:, None] * f / size
        basis = torch.cat([angle.cos(), -angle.sin()], 1) * hann[:, None]  # [window,2*(F/2+1)]
        self.register_buffer("basis", basis.float(), persistent=False)
        self.register_buffer("filters", filters.float(), persistent=False)

    def forward(self, x: Seq, memory: Seq | None = None) -> Seq:
        real, imaginary = (x.zeroed() @ self.basis).chunk(2, -1)
        power = real.square() + imaginary.square()
        return x.with_values((power @ self.filters + self.eps).log())


class LogMel(Serial):
    """Log-mel energies of a sound: frames of window_ms every hop_ms, the power spectrum of each, n_mels bands, the log.

    [B,T,1] samples in -1..1 at `rate` Hz -> [B,(T-window)//hop+1,n_mels]; block hop, delay ceil(window/hop) - 1.
    The mel scale is HTK's; see `mel_filters`. State: the samples of a window that has begun.
    """

    def __init__(self, rate: int = 16000, n_mels: int = 80, window_ms: float = 25, hop_ms: float = 10) -> None:
        window, hop = round(rate * window_ms / 1000), round(rate * hop_ms / 1000)
        super().__init__(Frames(1, window, hop), MelSpectrum(rate, window, n_mels))


def mel_filters(rate: int, size: int, n_mels: int) -> Tensor:
    """M [size/2+1,n_mels] float64: triangles of height 1 over the frequencies f rate / size of a transform.

    Their corners lie evenly between 0 and rate / 2 on HTK's mel scale, mel = 2595 log10(1 + f / 700) (Young et al., The
    HTK Book); each rises and falls in a straight line over the frequency in Hz.
    """
    mels = torch.linspace(0, 2595 * log10(1 + rate / 1400), n_mels + 2, dtype=torch.float64)
    corners = 700 * (10 ** (mels / 2595) - 1)
    f = torch.arange(size // 2 + 1, dtype=torch.float64)[:, None] * rate / size
    left, top, right = corners[:-2], corners[1:-1], corners[2:]
    return torch.minimum((f - left) / (top - left), (right - f) / (right - top)).clamp(min=0)
