"""Sound from magnitudes: a tone keeps its place, iterations bring the spectrum nearer, mel energies come back."""

from __future__ import annotations

import pytest
import torch

from lamina.core import Seq, UserError
from lamina.layers import LogMel
from lamina.speech import griffin_lim, heard, spectrum

RATE, WINDOW, HOP, SIZE = 8000, 200, 80, 256


def _tone(frequency: float, seconds: float = 0.5) -> torch.Tensor:
    return 0.3 * (2 * torch.pi * frequency * torch.arange(round(RATE * seconds), dtype=torch.float64) / RATE).sin()


def _magnitudes(x: torch.Tensor) -> torch.Tensor:
    window = torch.hann_window(WINDOW, dtype=x.dtype)
    return torch.stft(x, SIZE, HOP, WINDOW, window, return_complex=True).abs().T


@pytest.mark.parametrize("frequency", [500.0, 1250.0, 3000.0])
def test_a_tones_peak_stays_at_its_bin(frequency):
    want = _magnitudes(_tone(frequency))
    found = griffin_lim(want, WINDOW, HOP)
    bins = _magnitudes(found)[5:-5].argmax(1)
    assert (bins == round(frequency * SIZE / RATE)).all()
    spectrum_of_all = torch.fft.rfft(found).abs()
    assert float(spectrum_of_all.argmax()) * RATE / len(found) == pytest.approx(frequency, abs=RATE / SIZE)


def test_iterations_bring_the_spectrum_nearer():
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(4000, generator=generator, dtype=torch.float64)
    want = _magnitudes(_tone(700) + 0.05 * noise + _tone(1900) * torch.linspace(0, 1, 4000, dtype=torch.float64))
    off = []
    for n in (0, 1, 3, 10, 30, 100):
        x = griffin_lim(want, WINDOW, HOP, iterations=n)
        off.append(float((_magnitudes(x) - want).norm() / want.norm()))
    assert off == sorted(off, reverse=True)
    assert off[-1] < 0.5 * off[0]


def test_the_same_seed_gives_the_same_sound():
    want = _magnitudes(_tone(700))
    one, same, other = (griffin_lim(want, WINDOW, HOP, iterations=2, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_mel_energies_come_back_from_the_sound():
    sound = (_tone(600, 0.4) + _tone(2100, 0.4)).float()
    frames = LogMel(RATE, 40)(Seq.of(sound[None, :, None])).values[0]
    found = heard(frames, RATE)
    assert len(found) == len(frames) * HOP
    again = LogMel(RATE, 40)(Seq.of(found[None, :, None])).values[0]
    loud = frames[5] > frames[5].max() - 3
    torch.testing.assert_close(again[5:-5, loud].mean(0), frames[5:-5, loud].mean(0), rtol=0, atol=0.5)
    assert torch.equal(again.mean(0).topk(2).indices.sort().values, frames.mean(0).topk(2).indices.sort().values)


@pytest.mark.parametrize("at", [800, 2000])
def test_a_sound_comes_back_where_it_was(at):
    """The middle of a short tone's energy, within 6 samples of 80 a hop."""
    sound = torch.zeros(3200)
    sound[at : at + HOP] = _tone(1000, HOP / RATE).float()
    found = heard(LogMel(RATE, 40)(Seq.of(sound[None, :, None])).values[0], RATE)
    power = found.square()
    assert float((power * torch.arange(len(found))).sum() / power.sum()) == pytest.approx(at + HOP / 2, abs=6)


def test_magnitudes_are_never_negative_and_keep_the_energies():
    frames = torch.randn(7, 40, generator=torch.Generator().manual_seed(0))
    found = spectrum(frames, RATE, WINDOW)
    assert found.shape == (7, 129)
    assert (found >= 0).all()


@pytest.mark.parametrize(("n", "hop"), [(1, 80), (10, 101)])
def test_what_makes_no_sound_is_refused(n, hop):
    with pytest.raises(UserError, match="give two, and 2 hop <= window"):
        griffin_lim(torch.ones(n, 129), WINDOW, hop)
