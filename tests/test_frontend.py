"""The front end of speech against torch.stft, another library's filters, and statistics counted one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.audio_utils import mel_filter_bank

from lamina.core import Seq, Streamer
from lamina.layers import Frames, LogMel, RunningNorm


def log_mel(sound: Tensor, rate: int, n_mels: int) -> Tensor:
    """Log-mel energies by torch.stft(center=False) of the sound between zeros, and transformers' filters."""
    window, hop = rate // 40, rate // 100
    size = 1 << (window - 1).bit_length()
    filters = mel_filter_bank(size // 2 + 1, n_mels, 0.0, rate / 2, rate, norm=None, mel_scale="htk")
    whole = -(-len(sound) // hop) * hop
    x = F.pad(sound, (window - hop, whole - len(sound)))
    ahead = (size - window) // 2  # torch.stft puts a shorter window in the middle of its transform
    x = F.pad(x, (ahead, size - window - ahead))
    hann = torch.hann_window(window, dtype=sound.dtype)
    power = torch.stft(x, size, hop, window, hann, center=False, return_complex=True).abs().square()
    return (power.T @ torch.from_numpy(filters).to(sound.dtype) + 1e-6).log()


def heard(rate: int, n: int) -> Tensor:
    """A tone in noise: every band holds something, so that float32 tells each to 1e-5."""
    t = torch.arange(n) / rate
    return 0.1 * torch.sin(2 * math.pi * 700 * t) + 0.1 * torch.randn(n, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("rate", "n_mels"), [(8000, 40), (16000, 80)])
@pytest.mark.parametrize("n", [3200, 3211, 7])
def test_a_stream_of_log_mel_is_torchs_spectrogram(rate: int, n_mels: int, n: int) -> None:
    sound = heard(rate, n)
    streamer, parts = Streamer(LogMel(rate, n_mels), 1), []
    for piece in sound.split(333):
        parts.append(streamer.push(Seq.of(piece[None, :, None])))
    parts.append(streamer.flush())
    found = torch.cat([part.values[part.mask] for part in parts])
    assert len(found) == -(-n // (rate // 100))
    torch.testing.assert_close(found, log_mel(sound, rate, n_mels), rtol=0, atol=1e-5)


def test_quiet_bands_are_told_as_well_as_torch_tells_them() -> None:
    """Bands 80 dB below the tone drown in the rounding of float32; torch's own error there is the measure."""
    t = torch.arange(16000) / 16000
    sound = 0.9 * torch.sin(2 * math.pi * 440 * t) * torch.linspace(0, 1, 16000)
    truth = log_mel(sound.double(), 16000, 40)
    ours, torchs = (LogMel(16000, 40)(Seq.of(sound[None, :, None])).values[0], log_mel(sound, 16000, 40))
    assert (ours - truth).abs().max() <= 8 * (torchs - truth).abs().max()


def test_the_first_frame_comes_after_one_hop() -> None:
    layer = LogMel(8000, 40)
    assert (layer.stream_spec().block, layer.stream_spec().delay, layer.frames(81)) == (80, 0, 2)
    streamer = Streamer(layer, 1)
    assert streamer.push(Seq.of(heard(8000, 79)[None, :, None])).mask.shape[1] == 0
    assert streamer.push(Seq.of(torch.zeros(1, 1, 1))).mask.tolist() == [[True]]


def test_frames_by_hand() -> None:
    x = Seq.of(torch.arange(1.0, 6)[None, :, None])
    assert Frames(1, 3, 2)(x).values.tolist() == [[[0, 1, 2], [2, 3, 4], [4, 5, 0]]]
    assert Frames(1, 3, 2, "valid")(x).values.tolist() == [[[1, 2, 3], [3, 4, 5]]]
    with pytest.raises(ValueError, match="window=1 is shorter than hop=2"):
        Frames(1, 1, 2)
    with pytest.raises(ValueError, match="edge is pad or valid, not 'none'"):
        Frames(1, 3, 2, "none")  # type: ignore[arg-type]


@pytest.mark.parametrize(("decay", "prior"), [(1.0, 5.0), (0.9, 2.0)])
def test_a_running_norm_is_a_weighted_mean_and_variance(decay: float, prior: float) -> None:
    """numpy's weighted average over the frames so far and the prior, which spreads evenly around its mean."""
    x = np.random.default_rng(0).normal(3, 2, (150, 2))
    mean, deviation, eps = 1.0, 1.5, 1e-5
    expected = np.empty_like(x)
    for t in range(len(x)):
        heard = np.concatenate([np.full((1, 2), mean - deviation), np.full((1, 2), mean + deviation), x[: t + 1]])
        ages = decay ** np.arange(t, -1, -1)
        weights = np.concatenate([[prior / 2 * decay ** (t + 1)] * 2, ages])
        middle = np.average(heard, 0, weights)
        expected[t] = (x[t] - middle) / np.sqrt(np.average((heard - middle) ** 2, 0, weights) + eps)
    layer = RunningNorm(2, decay, prior, mean, deviation, eps).double()
    found = layer(Seq.of(torch.from_numpy(x)[None])).values[0]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


def test_a_running_norm_counts_real_frames_only() -> None:
    layer, x = RunningNorm(1), torch.randn(2, 9, 1, generator=torch.Generator().manual_seed(0))
    _, state = layer.step(Seq.ragged(x, torch.tensor([9, 4])), layer.init_state(2))
    assert state["n"].tolist() == [19, 14]
    with pytest.raises(ValueError, match=r"decay=0 must be above 0 and at most 1"):
        RunningNorm(1, 0)
