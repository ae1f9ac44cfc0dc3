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

from lamina import data
from lamina.cli import main
from lamina.core import Seq, Streamer, UserError
from lamina.data import NOT_ASKED
from lamina.data.audio import needs, read_audio, resampled
from lamina.data.digit_strings import ALPHABETS, String, joined
from lamina.data.espeak import Voice, say
from lamina.data.features import Features
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
    assert together.lengths().tolist() == [len(row) for row in alone] == [10, 6, 1]
    for row, one, n in zip(together.values, alone, together.lengths().tolist(), strict=True):
        torch.testing.assert_close(row[:n], one, rtol=1e-5, atol=1e-5)
    assert [features.frames(len(sound)) for sound in sounds] == [10, 6, 1]


@pytest.mark.parametrize("norm", [0.0, 0.99])
def test_features_stream(norm: float) -> None:
    """Fed in pieces of any length, the layer gives the same frames, one for every 4 hops."""
    features, sound = Features(RATE, norm=norm), tone(600, 0.33)
    layer = features.layer()
    assert (layer.stream_spec().block, layer.stream_spec().delay) == (320, 0)
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
    assert found.describe()["features"] == {"rate": RATE, "n_mels": 40, "stack": 4, "norm": 0.0}
    x = found.train.x[:]
    real = x[Seq.ragged(x, found.train.lengths).mask]
    assert found.scale == pytest.approx((float(real.mean()), float(real.std())))


def test_a_batch_ends_with_its_longest_row(manifest: Path) -> None:
    split = data.load(str(manifest)).train
    assert split.lengths is not None
    assert split.rows(torch.tensor([0]))["x"].shape[1] == int(split.lengths[0]) < split.x.shape[1]
    torch.testing.assert_close(split.rows(slice(0, 1))["x"], split.x[:1, : int(split.lengths[0])])
    assert torch.equal(split.rows(torch.tensor([1]))["x"][0], split.x.frames[int(split.lengths[0]) :])


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
    ({"drop": "split"}, r'line 1: no "split", which other lines have; give it to all or none'),
    ({"drop": "audio"}, r'line 1: no "audio"; each line needs the path of a sound'),
    ({"text": "ab c", "split": "dev"}, r"line 1: no training text has 'c'; write it otherwise"),
    ({"channels": 2}, r"line 1: .*0\.wav: has 1 channels, the manifest says 2; correct either"),
    ({"duration": 2.5}, r"line 1: .*0\.wav: holds 0\.40 s, the manifest says 2\.50; it may be cut off"),
    ({"offset": 2.5}, r"line 1: .*0\.wav: holds 0\.40 s, the manifest begins at 2\.5; correct offset"),
    ({"duration": 0}, r"line 1: duration 0 is no length of time"),
    ({"duration": "long"}, r"line 1: duration 'long' is no length of time; write seconds"),
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
    with pytest.raises(UserError, match=r"line 4: has 0\.013 s, too short for one frame of 40 ms; leave it out"):
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


def test_strings_are_of_one_speaker_with_noise_below() -> None:
    """Speaker s says digit d as a constant (s + 1) / 10 for d + 1 hundred samples: the string can be read back."""
    clips = [[[torch.full((100 * (d + 1),), (s + 1) / 10)] for d in range(10)] for s in range(2)]
    for string in joined(clips, 5, torch.Generator().manual_seed(0)):
        levels = string.sound.mul(10).round()
        assert len(levels[levels > 0].unique()) == 1
        assert 3 <= len(string.text) <= 7
        assert int((levels > 0).sum()) == sum(100 * (int(d) + 1) for d in string.text)
        assert [end - start for start, end in string.spans] == [100 * (int(d) + 1) for d in string.text]
        assert all(levels[start] > 0 and levels[start - 1] == 0 for start, _ in string.spans)
    slow = joined([[[tone(500)]] * 10], 3, torch.Generator().manual_seed(0), [50])
    assert all(abs(end - start - 2 * len(tone(500))) <= 1 for string in slow for start, end in string.spans)


def test_the_letters_of_a_string_are_where_they_are_said() -> None:
    """Words of 5 frames each and gaps: by hand, three is t h r e and a blank before the second e."""
    string = String("31", torch.zeros(2000), ((300, 800), (1100, 1700)))
    labels = string.aligned("letters", 20, 100).tolist()
    letters = ["_"] * 3 + list("thre_") + [" "] * 3 + list("oonnee") + ["_"] * 3
    assert ["_" if i == 0 else ALPHABETS["letters"][i - 1] for i in labels] == letters
    assert string.written("letters") == "three one"
    assert string.aligned("digits", 20, 100).tolist() == [0] * 3 + [4] * 5 + [0] * 3 + [2] * 6 + [0] * 3


def test_letters_are_a_path_to_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Merged, and without blanks, the known frames are the targets; of noisy training strings too."""
    recordings(tmp_path, monkeypatch)
    found = data.load("digit_strings:train=6,units=letters,stack=2,noise=100+5,snr=20")
    assert (found.probe, sorted(found.probes), "".join(found.labels)) == ("snr", [5, 100], ALPHABETS["letters"])
    for split in (found.train, found.test, found.probes[5]):
        assert split.aligned is not None
        batch = split.rows(slice(0, 4))
        assert batch["aligned"].shape == batch["x"].shape[:2]
        for row, y in zip(split.aligned[:6], split.y, strict=False):
            merged = row[row != NOT_ASKED].unique_consecutive()
            assert merged[merged > 0].tolist() == y[y != NOT_ASKED].tolist()
    quiet, loud = (float(found.probes[snr].x.frames.mean()) for snr in (100, 5))
    assert quiet < float(found.test.x.frames.mean()) < loud


def test_rooms_do_not_take_the_noise_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recordings(tmp_path, monkeypatch)
    wav = np.zeros(50, np.float32)
    wav[0] = 1.0
    (tmp_path / "heard/rooms").mkdir(parents=True)
    soundfile.write(tmp_path / "heard/rooms/hall.wav", wav, RATE)
    found = data.load(f"digit_strings:train=6,snr=5,rooms=0.5,noises={tmp_path / 'heard'}")
    for split in (found.train, found.dev, found.test):
        assert float(split.x.frames.min()) > -12  # without noise a pause is at the floor, -13.8


def recordings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tone for each digit in each part, where the recorded digits are looked for."""
    (folder / "fsdd").mkdir()
    lines = []
    for split in ("train", "dev", "test"):
        for d in range(10):
            soundfile.write(folder / f"fsdd/{split}{d}.wav", tone(200 + 100 * d, 0.2).numpy(), RATE)
            lines.append({"split": split, "audio": f"{split}{d}.wav", "sr": RATE, "text": "X", "label": d})
    monkeypatch.setenv("LAMINA_DATA", str(folder))
    return write(folder / "fsdd/manifest.jsonl", lines)


def test_recorded_strings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = recordings(tmp_path, monkeypatch)
    found = data.load("digit_strings:train=5,seed=1")
    assert [len(s) for s in (found.train, found.dev, found.test)] == [5, 200, 400]
    assert torch.equal(data.load("digit_strings:train=6,seed=1").test.x.frames, found.test.x.frames)
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
