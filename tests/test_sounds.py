"""Sounds as samples: padded by the batch, batches of like lengths, what to pretrain on, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch

from lamina import data
from lamina.core import UserError
from lamina.data.batch import Bucketed, in_order
from lamina.data.sounds import pieces
from sound_parts import RATE, part, tones, unlabelled, write


def test_a_batch_is_padded_to_its_longest_row() -> None:
    sounds = tones(5)
    held = part(sounds, torch.arange(5))
    batch = held.rows(torch.tensor([3, 0]))
    assert batch["lengths"].tolist() == [len(sounds[3]), len(sounds[0])]
    assert batch["x"].shape == (2, max(len(sounds[3]), len(sounds[0])), 1)
    for row, at in enumerate((3, 0)):
        n = len(sounds[at])
        assert torch.allclose(batch["x"][row, :n, 0], sounds[at], atol=2**-15)
        assert not batch["x"][row, n:].any()
    assert torch.equal(held.part(torch.tensor([4, 1])).rows(slice(None))["x"], held.rows(torch.tensor([4, 1]))["x"])
    assert held.shape == (max(map(len, sounds)), 1)
    assert len(held) == 5
    loud = part([torch.tensor([1.5, -1.5])], torch.zeros(1))
    assert loud.rows(slice(None))["x"].flatten().tolist() == [32767 / 32768, -1.0]


def test_every_row_comes_once_an_epoch_among_rows_of_like_length() -> None:
    held = part(tones(200, 0, 300, 900), torch.arange(200))
    batches = data.batches(unlabelled(), 8, 0)
    assert isinstance(batches, Bucketed)
    batches = Bucketed(held, 8, 0)
    epoch = [batches.rows(step) for step in range(25)]
    assert sorted(torch.cat(epoch).tolist()) == list(range(200))
    assert held.lengths is not None
    spread = [int(held.lengths[rows].max() - held.lengths[rows].min()) for rows in epoch]
    assert sorted(spread)[12] < 100  # of 600
    starts = [int(held.lengths[rows].min()) for rows in epoch]
    assert starts != sorted(starts)
    assert not torch.equal(torch.cat(epoch), torch.cat([batches.rows(step) for step in range(25, 50)]))
    assert [rows.tolist() for rows in epoch] == [Bucketed(held, 8, 0).rows(step).tolist() for step in range(25)]


def test_long_sounds_are_scored_few_at_once() -> None:
    held = part([torch.zeros(500_000)] * 9, torch.zeros(9))
    assert [rows.stop - rows.start for rows in in_order(held, 512)] == [4, 4, 4]


def test_pieces_are_equal_and_none_is_lost_but_the_short() -> None:
    sound = torch.arange(1000.0)
    found = list(pieces([sound, sound[:99], sound[:300]], 300, 100))
    assert [len(piece) for piece in found] == [250, 250, 250, 250, 300]
    assert torch.equal(torch.cat(found[:4]), sound)


def test_a_folder_and_a_manifest_to_pretrain_on(tmp_path: Path) -> None:
    folder = write(tmp_path / "sounds")
    lines = [{"audio": f"sounds/{i:02}.wav", "split": split, "sr": RATE, "text": ""}
             for i, split in ((1, "train"), (2, "valid"), (3, "test"))]  # fmt: skip
    manifest(tmp_path / "mine.jsonl", lines)
    one = data.load(f"unlabelled:{folder}")
    assert (len(one.train), len(one.dev), len(one.test)) == (32, 4, 4)
    assert (one.kind, one.task, one.rate) == ("samples", "contrastive", RATE)
    both = data.load(f"unlabelled:{folder}+{tmp_path / 'mine.jsonl'},seconds=2")
    assert (len(both.train), len(both.dev), len(both.test)) == (33, 5, 5)
    assert both.name == f"unlabelled:{folder}+{tmp_path / 'mine.jsonl'},seconds=2"


def manifest(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(json.dumps(line) for line in lines))
    return path


def sizes(source: object) -> tuple[int, ...]:
    found = data.load(f"unlabelled:{source}")
    return len(found.train), len(found.dev), len(found.test)


def test_cuts_of_one_file_are_heard_as_cuts(tmp_path: Path) -> None:
    """Ten cuts of 1.5 s of a file of 20 s, by NeMo's keys; all of train, so that some are held out."""
    sound = tones(1, 0, 20 * RATE, 20 * RATE)[0]
    soundfile.write(tmp_path / "long.wav", sound.numpy(), RATE)
    lines = [{"audio_filepath": "long.wav", "offset": 2 * i, "duration": 1.5, "split": "train"} for i in range(10)]
    found = data.load(f"unlabelled:{manifest(tmp_path / 'm.jsonl', lines)}")
    assert (len(found.train), len(found.dev), len(found.test)) == (8, 1, 1)
    begins = {2 * i * RATE for i in range(10)}
    for split in (found.train, found.dev, found.test):
        for row in split.rows(slice(None))["x"][..., 0]:
            assert row.shape == (1500,)
            at = next(n for n in begins if torch.allclose(row, sound[n : n + 1500], atol=2**-14))
            begins.remove(at)
    assert not begins


def test_folders_to_pretrain_on_are_those_to_learn_texts_from(tmp_path: Path) -> None:
    """Folders of the parts, Kaldi's tables, another format, few files: what reads sounds with texts reads these."""
    for name, n in (("train", 5), ("dev", 2), ("test", 3)):
        write(tmp_path / "parts" / name, n)
    assert sizes(tmp_path / "parts") == (5, 2, 3)
    (tmp_path / "kaldi").mkdir()
    (tmp_path / "kaldi/wav.scp").write_text("".join(f"r{i} {tmp_path}/parts/train/{i:02}.wav\n" for i in range(1, 5)))
    (tmp_path / "kaldi/segments").write_text("".join(f"u{i} r{i} 0.1 1.3\n" for i in range(1, 5)))
    found = data.load(f"unlabelled:{tmp_path / 'kaldi'}")
    assert (len(found.train), found.shape) == (2, (1200, 1))
    assert sizes(write(tmp_path / "few", 3)) == (1, 1, 1)
    (tmp_path / "aiff").mkdir()
    for i, sound in enumerate(tones(4, 0, 1500, 1500)):
        soundfile.write(tmp_path / f"aiff/{i}.aiff", sound.numpy(), RATE)
    assert sizes(tmp_path / "aiff") == (2, 1, 1)


def test_all_are_heard_at_the_lowest_rate(tmp_path: Path) -> None:
    write(tmp_path / "mixed/a", 4, 2 * RATE)
    write(tmp_path / "mixed/b", 4)
    found = data.load(f"unlabelled:{tmp_path / 'mixed'}")
    assert (found.rate, found.shape) == (RATE, (1500, 1))


def test_the_name_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "sounds")
    monkeypatch.chdir(tmp_path)
    assert data.where("unlabelled:sounds+espeak_strings") == (f"unlabelled:{tmp_path}/sounds+espeak_strings,seconds=8")
    assert data.where("samples:espeak_strings:train=1000") == "samples:espeak_strings"
    assert data.where("unlabelled:speech:sounds,seconds=2") == f"unlabelled:speech:{tmp_path}/sounds,seconds=2"
    assert data.where("unlabelled:librispeech_unlabelled") == "unlabelled:librispeech_unlabelled,seconds=8"
    for name in ("espeak_strings:noise=10", "speech:sounds,noise=10", "samples:hub:org/name-1.0,noise=10"):
        found = data.where(f"{name},noises=sounds")
        assert found.endswith(f",noises={tmp_path}/sounds")
        assert data.where(found) == found
    assert data.where("espeak_strings:noise=10,noises=there") == "espeak_strings:noise=10,noises=there"
    (tmp_path / "mix.v1").mkdir()
    assert data.where("speech:mix.v1") == f"speech:{tmp_path}/mix.v1"
    assert data.where("samples:my.jsonl") == f"samples:{tmp_path}/my.jsonl"
    assert data.seen_by("waveform", "speechocean762") == "samples:speechocean762"
    assert data.seen_by("waveform", "unlabelled:sounds") == "unlabelled:sounds"
    assert data.seen_by("sequence", "speechocean762") == "speechocean762"


def test_samples_are_judged_at_every_noise_too() -> None:
    heard, seen = (data.load(f"{kind}espeak_strings:train=4,noise=100+5") for kind in ("samples:", ""))
    assert (heard.probe, list(heard.probes)) == (seen.probe, list(seen.probes)) == ("snr", [100, 5])
    clean, loud = (heard.probes[snr].rows(slice(0, 3)) for snr in (100, 5))
    assert torch.equal(clean["lengths"], loud["lengths"])
    noise = loud["x"] - clean["x"]
    assert float(10 * (clean["x"].square().mean() / noise.square().mean()).log10()) == pytest.approx(5, abs=0.5)


def test_speech_as_samples_is_the_same_speech() -> None:
    heard, seen = data.load("samples:espeak_strings:train=20"), data.load("espeak_strings:train=20")
    assert (heard.kind, heard.task, heard.rate, heard.name) == (
        "samples",
        "ctc",
        8000,
        "samples:espeak_strings:train=20",
    )
    assert torch.equal(heard.dev.y, seen.dev.y)
    assert heard.labels == seen.labels
    assert heard.dev.lengths is not None
    assert seen.dev.lengths is not None
    assert torch.equal((heard.dev.lengths + 79) // 80 // 4, seen.dev.lengths)
    assert heard.describe()["rate"] == 8000


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("unlabelled:nowhere", "unknown set of speech 'nowhere'"),
        ("unlabelled:", "names no source"),
        ("unlabelled:espeak_strings,seconds=fast", "seconds=fast: pieces take 1 s at least"),
        ("unlabelled:{}/empty", "holds no wav.scp and no sound (.wav,"),
        ("unlabelled:{}/two", "2 utterances are too few to hold any out; say the split of each"),
        ("unlabelled:{}/short", "train: no sound of a second or more; give more of them, or longer ones"),
        ("unlabelled:{}/bad.jsonl", 'line 2: no "audio"'),
        ("unlabelled:{}/part.jsonl", "line 1: unknown split 'all'"),
        ("unlabelled:{}/gone.jsonl", "no such file"),
        ("unlabelled:{}/lost.jsonl", "line 1: {}/lost/3.wav: no such file"),
        ("unlabelled:{}/none.jsonl", "none.jsonl: empty"),
        ("speech", "names nothing that speech reads; write speech:FILE.jsonl or speech:FILE.json or speech:FOLDER"),
        ("speech:,mels=4", "names nothing that speech reads"),
        ("Speech", "unknown data set 'Speech'"),
        ("speech:{}/none.v1", "none.v1: no such file or folder; give a manifest FILE.jsonl, or a folder of sounds"),
        ("speech:{}/few/01.wav", "01.wav: is one sound; give a manifest FILE.jsonl, or a folder of sounds"),
        ("hub", "names nothing that hub reads; write hub:ORG/NAME"),
        ("hub:", "names nothing that hub reads"),
        ("samples:", "unknown set of speech ''; known: digit_strings"),
        ("samples:speech", "names nothing that speech reads"),
        ("unlabelled:speech", "names nothing that speech reads"),
        ("samples:espeak_strings:masks=2", "masks=2: is of log-mel frames, and samples are heard as they are"),
        ("samples:digits", "unknown set of speech 'digits'; did you mean 'digit_strings'?"),
    ],
)
def test_what_cannot_be_read_is_one_line(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    write(tmp_path / "few", 3)
    write(tmp_path / "two", 2)
    write(tmp_path / "short", 3, seconds=0.5)
    (tmp_path / "bad.jsonl").write_text('{"audio": "few/01.wav"}\n{"sound": 1}\n')
    manifest(tmp_path / "lost.jsonl", [{"audio": f"{name}.wav"} for name in ("lost/3", "few/01", "few/02")])
    (tmp_path / "none.jsonl").write_text("\n")
    (tmp_path / "part.jsonl").write_text('{"audio": "few/01.wav", "split": "all"}\n')
    with pytest.raises(UserError) as error:
        data.load(name.format(tmp_path))
    assert message.format(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)
