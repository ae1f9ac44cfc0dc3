"""Sound from log-mel energies: magnitudes by the pseudo-inverse of the filters, phases by Griffin & Lim (1984)."""

from __future__ import annotations

import torch
from torch import Tensor

from lamina.core import UserError
from lamina.layers.frontend import mel_filters

__all__ = ["griffin_lim", "heard", "spectrum"]

WINDOW_MS, HOP_MS, ITERATIONS = 25, 10, 60


def heard(frames: Tensor, rate: int, *, iterations: int = ITERATIONS, seed: int = 0) -> Tensor:
    """Log-mel energies [T,n_mels] of `LogMel` at `rate` Hz, 25 ms every 10 ms, as a sound [T * hop] at that rate.

    Frame j of LogMel ends with sample (j+1) hop, so that its middle is j hop - (window/2 - hop); that of `griffin_lim`
    is j hop. The sound is moved by the difference, and the last frame heard twice more, so that its hop is whole.
    What the filters have summed is not known again, nor the phases: it can be listened to, no more.
    """
    window, hop = round(rate * WINDOW_MS / 1000), round(rate * HOP_MS / 1000)
    held = torch.cat([frames, frames[-1:].expand(2, -1)])
    sound = griffin_lim(spectrum(held, rate, window), window, hop, iterations=iterations, seed=seed)
    return sound[window // 2 - hop :][: len(frames) * hop]


def spectrum(frames: Tensor, rate: int, window: int) -> Tensor:
    """The magnitudes [T,F/2+1] whose mel energies are near exp(frames) [T,n_mels]: sqrt([pinv(M) exp(frames)]_+).

    F is the power of two at or above `window`.
    """
    filters = mel_filters(rate, 1 << (window - 1).bit_length(), frames.shape[1])
    power = frames.double().exp() @ torch.linalg.pinv(filters)
    return power.clamp(min=0).sqrt().to(frames.dtype)


def griffin_lim(magnitudes: Tensor, window: int, hop: int, *, iterations: int = ITERATIONS, seed: int = 0) -> Tensor:
    """A sound [(T-1) * hop] whose spectrum's magnitudes are near `magnitudes` [T,F/2+1] (Griffin & Lim 1984).

        x <- istft(S exp(i phase)),    phase <- angle(stft(x)),    again and again, from phases at random

    The distance of |stft(x)| to S never grows. Hann's window, F >= window the size of the transform. UserError for
    fewer than two frames or a hop beyond half of the window, which leaves samples unheard.
    """
    if len(magnitudes) < 2 or 2 * hop > window:
        raise UserError(
            f"griffin_lim: {len(magnitudes)} frames of {window} every {hop} samples; give two, and 2 hop <= window"
        )
    size, shape = 2 * (magnitudes.shape[1] - 1), torch.hann_window(window, dtype=magnitudes.dtype)
    how = {"n_fft": size, "hop_length": hop, "win_length": window, "window": shape}
    generator = torch.Generator().manual_seed(seed)
    target = magnitudes.T
    angle = 2 * torch.pi * torch.rand(target.shape, generator=generator, dtype=target.dtype)
    for _ in range(iterations):
        x = torch.istft(torch.polar(target, angle), **how)  # type: ignore[arg-type]
        angle = torch.stft(x, **how, return_complex=True).angle()  # type: ignore[arg-type]
    return torch.istft(torch.polar(target, angle), **how)  # type: ignore[arg-type]
