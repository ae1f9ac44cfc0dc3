"""The front end of speech: frames of samples, and log-mel energies, under the contract: it streams as it trains."""

from __future__ import annotations

from fractions import Fraction
from math import log10
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from lamina.core import Layer, Pointwise, Seq, Serial, State, StreamSpec
from lamina.core.layer import state_dtype
from lamina.ops.registry import hidden, tracing

__all__ = ["Frames", "LogMel", "MelSpectrum", "mel_filters"]


class Frames(Layer):
    """Overlapping frames of `window` values every `hop`.

    edge "pad": y_j = [x_{(j+1) hop - window}, ..., x_{(j+1) hop - 1}], zeros beyond the ends: the first frame comes
    after one hop, n values give ceil(n/hop) frames, delay 0. window >= hop.
    edge "valid": y_j = [x_{j hop}, ..., x_{j hop + window - 1}], those that are whole, (n-window)//hop + 1 of them;
    delay max(0, ceil(window/hop) - 1). window = hop stacks frames one behind another.

    [B,T,d_in] -> [B,T/hop,window*d_in]; block hop, ratio 1/hop. state {"x": [B,n,d_in], "mask": [B,n]}, n = window -
    hop values, of "valid" delay * hop.
    """

    def __init__(self, d_in: int, window: int, hop: int, edge: Literal["pad", "valid"] = "pad") -> None:
        super().__init__()
        if window < 1 or hop < 1:
            raise ValueError(f"Frames: window={window} and hop={hop} must be at least 1")
        if edge not in ("pad", "valid"):
            raise ValueError(f"Frames: edge is pad or valid, not {edge!r}")
        if edge == "pad" and window < hop:
            raise ValueError(
                f"Frames: window={window} is shorter than hop={hop}, so that values are lost; edge='valid'"
            )
        self.d_in, self.d_out = d_in, window * d_in
        self.window, self.hop, self.edge = window, hop, edge
        self.delay = 0 if edge == "pad" else max(0, -(-window // hop) - 1)
        self.left = window - hop if edge == "pad" else 0  # values before a frame's own hop
        self.history = self.left + self.delay * hop

    def stream_spec(self) -> StreamSpec:
        return StreamSpec(self.hop, Fraction(1, self.hop), self.delay)

    def init_state(self, batch: int, *, like: Tensor | None = None, memory: Seq | None = None) -> State:
        like = self.like(like)
        empty = like.new_empty(0, dtype=state_dtype(like))
        past = Seq.absent(batch, self.history, (cast(int, self.d_in),), empty)
        return {"x": past.values, "mask": past.mask}

    def forward(self, x: Seq, memory: Seq | None = None) -> Seq:
        n = x.mask.shape[1]
        frames = self.frames(n)
        ends = self.left, frames * self.hop - n if self.edge == "pad" else 0
        return self._framed(F.pad(x.zeroed(), (0, 0, *ends)), F.pad(x.mask, ends), frames)

    def step(self, x: Seq, state: State, memory: Seq | None = None) -> tuple[Seq, State]:
        past, values, n = cast(Tensor, state["x"]), x.zeroed(), x.mask.shape[1]
        heard = torch.cat([past, values.to(past.dtype)], 1)
        mask = torch.cat([cast(Tensor, state["mask"]), x.mask], 1)
        y = self._framed(heard.to(values.dtype), mask, n // self.hop)
        if not (hidden() or y.mask.is_meta):  # in an old stream, so that no layer behind must look at the mask
            y.dense = bool(y.mask.all())
        return y, {"x": heard[:, n:].clone(), "mask": mask[:, n:].clone()}

    def frames(self, n: int) -> int:
        return -(-n // self.hop) if self.edge == "pad" else max(0, (n - self.window) // self.hop + 1)

    def _framed(self, values: Tensor, mask: Tensor, frames: int) -> Seq:
        """The first `frames` frames. One is real where its own hop begins, of "valid" where its ends are."""
        if not frames:
            return Seq(values.new_zeros(len(values), 0, cast(int, self.d_out)), mask[:, :0])
        reach = (frames - 1) * self.hop + 1
        framed = values[:, : reach + self.window - 1].unfold(1, self.window, self.hop)  # [B,frames,d_in,window]
        real = mask[:, self.left : self.left + reach : self.hop]
        if self.edge == "valid":
            real = real & mask[:, self.window - 1 : self.window - 1 + reach : self.hop]
        return Seq(framed.transpose(2, 3).flatten(2), real.clone())


class MelSpectrum(Pointwise):
    """y_m = log(eps + sum_f M_mf |sum_t w_t x_t exp(-2 pi i f t / F)|^2) of each frame of `window` samples.

    w is Hann's window (periodic), F the power of two at or above `window`, M the filters of `mel_filters`. In a graph
    the transform is a product with its matrix, which every export knows; else a fast one.
    [B,T,window] -> [B,T,n_mels], no state, no weight.
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
        power = self._power(x.zeroed())
        return x.with_values((power @ self.filters + self.eps).log())

    def _power(self, frames: Tensor) -> Tensor:
        if tracing() or frames.dtype not in (torch.float32, torch.float64) or not frames.numel():
            real, imaginary = (frames @ self.basis).chunk(2, -1)
            return real.square() + imaginary.square()
        found = torch.fft.rfft(frames * self.basis[:, 0], 2 * (len(self.filters) - 1))  # its column of f = 0 is w
        return found.real.square() + found.imag.square()


class LogMel(Serial):
    """Log-mel energies of a sound: frames of window_ms every hop_ms, the power spectrum of each, n_mels bands, the log.

    [B,T,1] samples in -1..1 at `rate` Hz -> [B,ceil(T/hop),n_mels]; block hop, delay 0. Frame j hears the window that
    ends with sample (j+1) * hop: what torch.stft(center=False) hears of the sound between window - hop zeros and zeros
    to the end of a hop. The mel scale is HTK's; see `mel_filters`. State: the last window - hop samples.
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
