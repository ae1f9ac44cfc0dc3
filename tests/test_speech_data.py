"""Speech data: features against another library's, manifests, digit strings, and every error in one line."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor
from transformers.audio_utils import mel_filter_bank, spectrogram

from lamina import data
from lamina.cli import main
from lamina.core import Seq, Streamer, UserError
from lamina.data import NOT_ASKED, audio
from lamina.data.audio import needs, read_audio, resampled
from lamina.data.digit_strings import joined
from lamina.data.espeak import Voice, say
from lamina.data.features import Features, padded
from lamina.layers import LogMel

RATE = 8000


def tone(hz: float, seconds: float = 0.3, rate: int = RATE) -> Tensor:
    return 0.3 * torch.sin(2 * math.pi * hz * torch.arange(round(seconds * rate)) / rate)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Six utterances of a tone for each letter, two a part, in a folder of their own."""
    lines = []
    for i, (split, text) in enumerate([(s, t) for s in ("train", "dev", "test") for t in ("ab", "b a")]):
        sound = torch.cat([tone({"a": 400, "b": 1500, " ": 0}[c], 0.2 + 0.05 * i) for c in text])
        file = f"audio/{i}.wav"
        (tmp_path / "audio").mkdir(exist_ok=True)
        soundfile.write(tmp_path / file, sound.numpy(), RATE)
        lines.append({"split": split, "audio": file, "sr": RATE, "text": text, "speaker": str(i)})
    return write(tmp_path / "mine.jsonl", lines)


def write(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def changed(path: Path, row: int, drop: str = "", **facts: Any) -> Path:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[row] = {key: value for key, value in {**lines[row], **facts}.items() if key != drop}
    return write(path, lines)


@pytest.mark.parametrize(("rate", "n_mels", "size"), [(8000, 40, 256), (16000, 80, 512)])
def test_log_mel_is_that_of_another_library(rate: int, n_mels: int, size: int) -> None:
    sound = tone(700, 0.5, rate) + 0.05 * torch.randn(rate // 2, generator=torch.Generator().manual_seed(1))
    window, hop = rate // 40, rate // 100
    filters = mel_filter_bank(size // 2 + 1, n_mels, 0.0, rate / 2, rate, norm=None, mel_scale="htk")
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    power = spectrogram(
        sound.double().numpy(), hann, window, hop, size, 2.0, center=False, mel_filters=filters, mel_floor=0.0
    )
    expected = torch.from_numpy(np.log(power.T + 1e-6))
    ours = LogMel(rate, n_mels)(Seq.of(sound[None, :, None])).values[0]
    assert ours.shape == (1 + (len(sound) - window) // hop, n_mels)
    torch.testing.assert_close(ours.double(), expected, rtol=0, atol=2e-4)


def test_a_tone_is_loudest_in_its_band() -> None:
    """HTK: 1,000 Hz is 999.99 mel; of 40 bands up to 4 kHz (2,146.06 mel) it lies nearest the middle of the 19th."""
    found = LogMel(RATE, 40)(Seq.of(tone(1000)[None, :, None])).values[0].mean(0)
    assert int(found.argmax()) == round(999.99 / (2146.06 / 41)) - 1 == 18


def test_features_of_a_ragged_batch_are_those_of_each_sound_alone() -> None:
    features, sounds = Features(RATE), [tone(500, 0.4), tone(900, 0.25), tone(300, 0.055)]
    alone = features(sounds)
    x, lengths = torch.full((3, len(sounds[0])), float("nan")), torch.tensor([len(s) for s in sounds])
    for row, sound in zip(x, sounds, strict=True):
        row[: len(sound)] = sound
    together = features.layer()(Seq.ragged(x[..., None], lengths))
    assert together.lengths().tolist() == [len(row) for row in alone] == [9, 5, 1]
    for row, one, n in zip(together.values, alone, together.lengths().tolist(), strict=True):
        torch.testing.assert_close(row[:n], one, rtol=1e-5, atol=1e-5)
    assert padded(alone)[0].shape == (3, 9, features.width)


def test_features_stream() -> None:
    """Fed in pieces of any length, the layer gives the same frames; its latency is 4 hops and the rest of a window."""
    features, sound = Features(RATE), tone(600, 0.33)
    layer = features.layer()
    streamer, found = Streamer(layer, 1), []
    for piece in sound.split(517):
        found.append(streamer.push(Seq.of(piece[None, :, None])))
    found.append(streamer.flush())
    values = torch.cat([one.values[one.mask] for one in found])
    torch.testing.assert_close(values, features([sound])[0], rtol=1e-5, atol=1e-5)


def test_too_many_bands_are_refused() -> None:
    with pytest.raises(UserError, match=r"features at 8000 Hz: .*n_mels=200 is too many for a window of 200 samples"):
        Features(RATE, 200).layer()


def test_a_manifest_is_a_data_set(manifest: Path) -> None:
    found = data.load(str(manifest))
    assert (found.name, found.kind, found.task, found.labels) == ("mine", "audio", "ctc", (" ", "a", "b"))
    assert found.train.y.tolist() == [[2, 3, NOT_ASKED], [3, 1, 2]]
    assert found.train.lengths is not None
    assert (
        found.train.lengths.tolist()
        == Features(RATE).layer()(Seq.ragged(torch.zeros(2, 6000, 1), torch.tensor([3200, 6000]))).lengths().tolist()
    )
    assert found.shape == (found.test.x.shape[1], 160)
    assert data.load(data.where(str(manifest))).digest == found.digest
    real = found.train.x[Seq.ragged(found.train.x, found.train.lengths).mask]
    assert found.scale == pytest.approx((float(real.mean()), float(real.std())))


def test_a_batch_ends_with_its_longest_row(manifest: Path) -> None:
    split = data.load(str(manifest)).train
    assert split.lengths is not None
    assert split.rows(torch.tensor([0]))["x"].shape[1] == int(split.lengths[0]) < split.x.shape[1]
    torch.testing.assert_close(split.rows(slice(0, 1))["x"], split.x[:1, : int(split.lengths[0])])


def test_labels_are_classes(manifest: Path) -> None:
    for row in range(6):
        changed(manifest, row, "text", label=("yes", "no")[row % 2])
    found = data.load(str(manifest))
    assert (found.task, found.n_classes, found.train.y.tolist()) == ("classify", 2, [1, 0])


def test_other_rates_are_resampled(manifest: Path) -> None:
    """A tone of 1,500 Hz written at 22,050 Hz is heard where the one of 8,000 Hz is."""
    sound = torch.cat([tone(400, 0.2, 22050), tone(1500, 0.2, 22050)])
    soundfile.write(manifest.parent / "audio/0.wav", np.stack([sound.numpy(), sound.numpy()], 1), 22050)
    changed(manifest, 0, sr=22050)
    after = data.load(str(manifest)).train.x[0]
    loud = after[2].reshape(4, 40)[0].argmax(), after[6].reshape(4, 40)[0].argmax()
    expected = [LogMel(RATE, 40)(Seq.of(tone(hz)[None, :, None])).values[0].mean(0).argmax() for hz in (400, 1500)]
    assert list(loud) == expected


def test_resampling_keeps_a_tone() -> None:
    torch.testing.assert_close(resampled(tone(300, 0.5, 16000), 16000, 8000)[500:-500], tone(300, 0.5)[500:-500],
                               rtol=0, atol=1e-3)  # fmt: skip


ERRORS: list[tuple[dict[str, Any], str]] = [
    ({"audio": "audio/9.wav"}, r"line 1: .*9\.wav: no such file; correct the path"),
    ({"sr": 16000}, r"line 1: .*0\.wav: is at 8000 Hz, the manifest says 16000; correct sr"),
    ({"sr": "8k"}, r"line 1: sr '8k' is no rate"),
    ({"text": " "}, r"line 1: text ' ' is empty; leave the line out"),
    ({"drop": "text"}, r'line 1: no "text" and no "label"; say what is heard'),
    ({"drop": "split"}, r'line 1: no "split"; each line needs split, audio'),
    ({"drop": "audio"}, r'line 1: no "audio"'),
    ({"split": "tran"}, r"line 1: unknown split 'tran'.*train"),
    ({"audio": "mine.jsonl"}, r"mine\.jsonl: cannot be read as sound"),
]


@pytest.mark.parametrize(("facts", "said"), ERRORS)
def test_a_wrong_line_is_named(manifest: Path, facts: dict[str, Any], said: str) -> None:
    changed(manifest, 0, **facts)
    with pytest.raises(UserError, match=said) as error:
        data.load(str(manifest))
    assert "\n" not in str(error.value)


def test_a_manifest_that_is_none(manifest: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.jsonl: no such file"):
        data.load(str(tmp_path / "none.jsonl"))
    lines = manifest.read_text().splitlines()
    manifest.write_text("\n".join(lines[:4]))
    with pytest.raises(UserError, match='no line has "split": "test"'):
        data.load(str(manifest))
    manifest.write_text("\n".join([*lines, "{"]))
    with pytest.raises(UserError, match="line 7: not JSON"):
        data.load(str(manifest))
    changed(write(manifest, [json.loads(line) for line in lines]), 3, "text", label=1)
    with pytest.raises(UserError, match='line 4: no "text", which the first line has'):
        data.load(str(manifest))
    soundfile.write(manifest.parent / "audio/3.wav", np.zeros(100, np.float32), RATE)
    changed(manifest, 3, text="ab")
    with pytest.raises(UserError, match=r"mine: dev: utterance 1 has 0\.013 s, too short for one frame of 55 ms"):
        data.load(str(manifest))


def test_sounds_that_are_none(tmp_path: Path) -> None:
    for name, samples in (("empty", np.zeros(0, np.float32)), ("nan", np.full(9, np.nan, np.float32))):
        soundfile.write(tmp_path / f"{name}.wav", samples, RATE, subtype="FLOAT")
    with pytest.raises(UserError, match="holds no sample"):
        read_audio(tmp_path / "empty.wav")
    with pytest.raises(UserError, match="holds NaN or inf"):
        read_audio(tmp_path / "nan.wav")


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch, manifest: Path) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(UserError, match=r"needs soundfile .*; run: pip install 'lamina\[speech\]'"):
        data.load(str(manifest))
    assert needs("json", "this") is json
    assert audio.EXTRA.endswith("'lamina[speech]'")


def test_strings_are_of_one_speaker_with_noise_below() -> None:
    """Speaker s says digit d as a constant (s + 1) / 10 for d + 1 hundred samples: the string can be read back."""
    clips = [[[torch.full((100 * (d + 1),), (s + 1) / 10)] for d in range(10)] for s in range(2)]
    for string in joined(clips, 5, 60, torch.Generator().manual_seed(0)):
        levels = string.sound.mul(10).round()
        assert len(levels[levels > 0].unique()) == 1
        assert 3 <= len(string.text) <= 7
        assert int((levels > 0).sum()) == sum(100 * (int(d) + 1) for d in string.text)
    loud, noisy = (joined(clips, 1, snr, torch.Generator().manual_seed(0))[0].sound for snr in (200, 5))
    ratio = 10 * math.log10(float(loud.square().mean() / (noisy - loud).square().mean()))
    assert ratio == pytest.approx(5, abs=0.3)


def test_recorded_strings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fsdd").mkdir()
    lines = []
    for split in ("train", "dev", "test"):
        for d in range(10):
            soundfile.write(tmp_path / f"fsdd/{split}{d}.wav", tone(200 + 100 * d, 0.2).numpy(), RATE)
            lines.append({"split": split, "audio": f"{split}{d}.wav", "sr": RATE, "text": "X", "label": d})
    path = write(tmp_path / "fsdd/manifest.jsonl", lines)
    monkeypatch.setenv("LAMINA_DATA", str(tmp_path))
    found = data.load("digit_strings:train=5,seed=1")
    assert [len(s) for s in (found.train, found.dev, found.test)] == [5, 200, 400]
    assert torch.equal(data.load("digit_strings:train=6,seed=1").test.x, found.test.x)
    assert (found.labels, found.n_classes) == (tuple("0123456789"), 11)
    assert data.load("digit_strings:train=5").digest != found.digest
    path.write_text("\n".join(path.read_text().splitlines()[:-1]))
    with pytest.raises(UserError, match="test has no 9 by"):
        data.load("digit_strings:train=5,seed=1")
    monkeypatch.delenv("LAMINA_DATA")
    with pytest.raises(
        UserError, match=r"LAMINA_DATA is not set; set it to the folder that holds fsdd/manifest\.jsonl"
    ):
        data.load("digit_strings:train=4")


def test_espeak_says_the_same_whatever_it_said_before() -> None:
    voice = Voice("en-us+f2", 150, 40)
    (first, other), rate = say([("seven", voice), ("seven", Voice("en+m3", 150, 40))])
    (again,), _ = say([("seven", voice)])
    assert rate == 22050
    assert torch.equal(first, again)
    assert 0.3 < len(first) / rate < 0.8
    assert other.shape != first.shape or not torch.equal(other, first)
    (slow,), _ = say([("seven", Voice("en-us+f2", 100, 40))])
    assert len(slow) > 1.2 * len(first)
    with pytest.raises(UserError, match="eSpeak NG: it has no voice 'xx'; give one like en-us"):
        say([("one", Voice("xx"))])
    with pytest.raises(UserError, match=r"says nothing for '\.\.'"):
        say([("..", voice)])


def test_synthesised_strings_are_the_same_in_every_process() -> None:
    found = data.load("espeak_strings:train=4,snr=10")
    code = "from lamina import data; print(data.load('espeak_strings:train=4,snr=10').digest)"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == found.digest
    assert len(found.train) == 4


def test_train_by_the_path_of_a_manifest(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    keys = [f"--set={pair}" for pair in ("d_model=8", "n_layers=1", "n_heads=2", "kernel=3")]
    with pytest.raises(SystemExit) as ended:
        main(["train", "conformer", str(manifest), "--steps", "2", "--out", str(run), *keys])
    assert ended.value.code == 0
    assert "label error rate" in capsys.readouterr().out
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["eval", str(run)])
    assert ended.value.code == 0
    assert "label error rate" in capsys.readouterr().out
