"""Variation of training sounds: masks, speed, rooms, noise; and batches of like lengths."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from lamina import data
from lamina.core import UserError
from lamina.data.backgrounds import read_backgrounds
from lamina.data.batch import Batches, Bucketed
from lamina.data.dataset import DataSet, Split
from lamina.data.features import Features
from lamina.data.hearing import Hearing
from lamina.data.ragged import Ragged
from lamina.data.speech import written
from lamina.data.vary import Backgrounds, Masks, faster, in_room, with_noise
from lamina.tasks import Task
from lamina.train import Order, Run, evaluate_run, fit

RATE = 8000


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tone(hz: float, n: int = RATE) -> torch.Tensor:
    return 0.3 * torch.sin(2 * math.pi * hz * torch.arange(n) / RATE)


def test_masks_hide_spans_of_bands_and_of_real_frames() -> None:
    batch = {"x": torch.ones(40, 50, 3 * 20), "lengths": torch.tensor([50, 20] * 20), "y": torch.zeros(40)}
    found = Masks(2, 20)(batch, -7.0, drawn())
    hidden = found["x"] == -7
    assert torch.equal(found["x"].masked_fill(hidden, 1.0), batch["x"])
    bands = hidden.all(1).reshape(40, 3, 20)
    assert torch.equal(bands[:, 0], bands[:, 2])
    assert 2 < float(bands[:, 0].sum(1).float().mean()) < 7  # two spans of 0..6 of 20 bands
    assert int(bands[:, 0].sum(1).max()) <= 12
    frames = hidden.all(2)
    assert not bool(frames[1::2, 20:].any())
    assert int(frames[::2].sum(1).max()) <= 2 * 5
    assert int(frames[1::2].sum(1).max()) <= 2 * 2
    assert 1 < float(frames[::2].sum(1).float().mean()) < 6
    assert found["y"] is batch["y"]


def test_masks_hang_on_the_step_alone_and_are_off_in_scores() -> None:
    sounds = {part: [tone(300 + 20 * i, 4000 + 700 * i) for i in range(8)] for part in ("train", "dev", "test")}
    texts = {part: ["ab"] * 8 for part in sounds}
    features = Features(RATE)
    rows = {part: features(some) for part, some in sounds.items()}
    plain = written("tones", rows, texts, features, "made")
    masked = written("tones", rows, texts, features, "made", masks=Masks(1, 40))
    again, batches = (data.batches(masked, 4, 3) for _ in range(2))
    fifth = batches(5)
    assert torch.equal(again(5)["x"], fifth["x"])
    assert not torch.equal(fifth["x"], data.batches(plain, 4, 3)(5)["x"])
    assert torch.equal(fifth["lengths"], data.batches(plain, 4, 3)(5)["lengths"])
    assert torch.equal(masked.dev.rows(slice(0, 8))["x"], plain.dev.rows(slice(0, 8))["x"])
    mean = masked.scale[0]
    assert (fifth["x"] == mean).any()


def test_speed_changes_length_and_pitch() -> None:
    fast = faster(tone(400), 125)
    assert len(fast) == pytest.approx(RATE / 1.25, abs=2)
    assert int(torch.fft.rfft(fast).abs().argmax()) * RATE / len(fast) == pytest.approx(500, abs=2)
    assert faster(fast, 100) is fast


def test_noise_has_the_power_that_was_asked() -> None:
    sound, noise = tone(300), torch.randn(RATE, generator=drawn())
    for snr in (20, 5, -3):
        added = with_noise(sound, noise, snr) - sound
        assert 10 * math.log10(float(sound.square().mean() / added.square().mean())) == pytest.approx(snr, abs=0.01)
    assert with_noise(sound, noise, 100) is sound


def test_a_room_is_a_convolution_that_keeps_time_and_level() -> None:
    """Against numpy's direct convolution; the largest tap, the direct sound, is the one without delay."""
    sound, response = torch.randn(500, generator=drawn()), torch.randn(60, generator=drawn(1)) * 0.1
    response[7] = 1.0
    wet = torch.from_numpy(np.convolve(sound.numpy(), response.numpy()))[7 : 7 + 500]
    expected = wet * (sound.square().mean() / wet.square().mean()).sqrt()
    torch.testing.assert_close(in_room(sound, response), expected, rtol=1e-4, atol=1e-5)
    delta = torch.zeros(9)
    delta[4] = 0.5
    torch.testing.assert_close(in_room(sound, delta), sound, rtol=1e-4, atol=1e-5)


def test_backgrounds_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, n in (("street/noise.wav", 1000), ("rir/hall.wav", 300)):
        (tmp_path / "rooms/mine" / name).parent.mkdir(parents=True)
        soundfile.write(tmp_path / "rooms/mine" / name, np.linspace(0.1, 0.5, n, dtype=np.float32), RATE)
    found = read_backgrounds(tmp_path / "rooms/mine", RATE)
    assert ([len(s) for s in found.noises], [len(s) for s in found.rooms]) == ([1000], [300])
    long = found.noise(2500, drawn())
    start = int(torch.randint(1, (1,), generator=(g := drawn()))) + int(torch.randint(1000, (1,), generator=g))
    assert torch.equal(long[: 1000 - start], found.noises[0][start:])
    assert torch.equal(long[1000 - start : 2000 - start], found.noises[0])
    monkeypatch.setenv("LAMINA_DATA", str(tmp_path / "rooms"))
    assert len(read_backgrounds(Path("mine"), 16000).noises[0]) == 2000
    assert len(Backgrounds().noise(77, drawn())) == 77
    assert Backgrounds().room(drawn()) is None
    (tmp_path / "rooms/mine/street/noise.wav").write_bytes(b"none")
    (tmp_path / "rooms/mine/rir/hall.wav").write_bytes(b"none")
    with pytest.raises(UserError, match=r"(?s)noises=mine: 2 problems:.*hall\.wav: cannot be read.*noise\.wav"):
        read_backgrounds(Path("mine"), 44100)
    with pytest.raises(UserError, match=r"noises=nowhere: no such folder or manifest, here or in \$LAMINA_DATA"):
        read_backgrounds(Path("nowhere"), RATE)


def test_hearing_varies_as_it_is_told() -> None:
    response = torch.zeros(100)
    response[0], response[50] = 1.0, 0.5
    sound, behind = tone(300), Backgrounds((tone(900),), (response,))
    always = Hearing(rooms=1.0, noises=Path("x"))
    torch.testing.assert_close(always.varied(sound, behind, drawn()), in_room(sound, response))
    noisy = Hearing(noise=(10,))
    assert not torch.equal(noisy.varied(sound, behind, drawn()), sound)
    assert torch.equal(noisy.varied(sound, behind, drawn(4)), noisy.varied(sound, behind, drawn(4)))
    assert torch.equal(Hearing(noise=(100,)).varied(sound, behind, drawn()), sound)
    quiet, generator = Hearing(), drawn(4)
    at = quiet.varied(sound, behind, drawn(4), 10)
    assert torch.equal(at, with_noise(sound, torch.randn(len(sound), generator=generator), 10))
    level = float((always.varied(sound, behind, drawn(), 10) - in_room(sound, response)).square().mean())
    assert level == pytest.approx(float(in_room(sound, response).square().mean()) / 10, rel=0.1)
    for wrong, said in (({"speed": (40,)}, "speed=40: percent"), ({"rooms": 0.5}, "rooms=0.5 needs impulse responses"),
                        ({"norm": 2.0}, "norm=2"), ({"stack": 0}, "mels=40 and stack=0 must be at least 1"),
                        ({"mels": 0}, "mels=0 and stack=4 must be"),
                        ({"samples": True, "norm": 0.5}, "norm=0.5: is of log-mel frames")):  # fmt: skip
        with pytest.raises(UserError, match=said):
            Hearing(**wrong)  # type: ignore[arg-type]


def ragged(lengths: list[int]) -> Split:
    rows = [torch.full((n, 2), float(i)) for i, n in enumerate(lengths)]
    return Split(Ragged(rows), torch.arange(len(rows)), torch.tensor(lengths))


def test_a_ragged_reads_as_the_padded_tensor() -> None:
    x = Ragged([torch.full((n, 2), 1.0 + n) for n in (3, 1, 5)], 6)
    padded = torch.zeros(3, 6, 2)
    for row, n in enumerate((3, 1, 5)):
        padded[row, :n] = 1.0 + n
    assert (x.shape, len(x), x.dim(), x.numel(), x.dtype) == (padded.shape, 3, 3, 36, torch.float32)
    for key in (
        0,
        -1,
        slice(None),
        torch.tensor([2, 0]),
        (torch.tensor([1, 1]), slice(None, 2)),
        (slice(1, 3), slice(4)),
    ):
        assert torch.equal(x[key], padded[key])
    assert Ragged([torch.zeros(1, 1), torch.zeros(0, 1)]).shape == (2, 1, 1)


def test_buckets_hold_each_row_as_often_as_shuffled_batches_do() -> None:
    lengths = torch.randint(1, 200, (103,), generator=drawn()).tolist()
    split = ragged(lengths)
    plain, buckets = Batches(split, 8, 5), Bucketed(split, 8, 5)
    for epoch in range(3):
        steps = range(epoch * plain.per_epoch, (epoch + 1) * plain.per_epoch)
        shuffled = Counter(row for step in steps for row in plain.rows(step).tolist())
        assert shuffled == Counter(row for step in steps for row in buckets.rows(step).tolist())
        assert set(shuffled.values()) == {1}
    assert torch.equal(Bucketed(split, 8, 5).rows(30), buckets.rows(30))
    assert not torch.equal(Bucketed(split, 8, 6).rows(30), buckets.rows(30))
    epoch = [buckets.rows(step) for step in range(plain.per_epoch)]
    assert not torch.equal(torch.cat(epoch), torch.cat([buckets.rows(plain.per_epoch + i) for i in range(len(epoch))]))


def test_buckets_pad_little() -> None:
    """Of 800 rows of 1..200 frames, in two pools, less than a tenth of what is fed is padding; shuffled, near half."""
    split = ragged(torch.randint(1, 200, (800,), generator=drawn()).tolist())
    share = {}
    for kind in (Batches, Bucketed):
        fed = [kind(split, 16, 0)(step) for step in range(50)]
        assert all(batch["x"].shape[1] == int(batch["lengths"].max()) for batch in fed)
        share[kind] = 1 - sum(int(b["lengths"].sum()) for b in fed) / sum(b["x"][..., 0].numel() for b in fed)
    assert share[Bucketed] < 0.1 < 0.4 < share[Batches]


def strings(**more: Any) -> DataSet:
    sounds = {part: [tone(300 + 90 * (i % 3), 3000 + 700 * i) for i in range(12)] for part in ("train", "dev", "test")}
    texts = {part: ["abc"[i % 3] for i in range(12)] for part in sounds}
    features = Features(RATE)
    rows = {part: features(some) for part, some in sounds.items()}
    return written("tones", rows, texts, features, "made", **more)


class Cut(Exception):
    """The run ends here, as if its process had been killed."""


def test_a_run_with_masks_goes_on_bit_equal(tmp_path: Path) -> None:
    """Cut after 5 of 9 steps, in the middle of its second epoch; another run of the same folder has other masks."""
    dataset = strings(masks=Masks(2, 40))

    def learned(out: Path, stop: int = 0) -> Task:
        task = Order("lstm", {"d_model": 8, "n_layers": 1}, "tones").build(dataset)

        def on_step(step: int, loss: float) -> None:
            if step == stop:
                raise Cut

        fit(task, dataset, steps=9, lr=1e-2, seed=0, batch_size=4, out=out, checkpoint_every=1, on_step=on_step)
        return task

    whole = learned(tmp_path / "whole").state_dict()
    with pytest.raises(Cut):
        learned(tmp_path / "cut", 5)
    resumed = learned(tmp_path / "cut").state_dict()
    assert all(torch.equal(resumed[name], weight) for name, weight in whole.items())
    dataset = strings()
    with pytest.raises(UserError, match=r"batches Masks\(n=2, n_mels=40\), here train"):
        learned(tmp_path / "cut")


def test_a_run_is_scored_at_every_noise() -> None:
    plain = strings()
    dataset = replace(plain, probes={5: plain.test.part(torch.tensor([0, 1, 2]))}, probe="snr")
    run = Run(Order("lstm", {"d_model": 8, "n_layers": 1}, "tones").build(dataset), dataset, {})
    assert evaluate_run(run, "snr=5")["examples"] == 3
    with pytest.raises(UserError, match="unknown part 'snr=9'; known: train, dev, test, snr=5"):
        evaluate_run(run, "snr=9")
