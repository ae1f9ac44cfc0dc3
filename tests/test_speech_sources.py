"""Where speech comes from: NeMo's manifests, Kaldi's and plain folders, the Hub's Parquet files; all errors at once."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from lamina import data
from lamina.core import UserError
from lamina.data.audio import read_audio
from lamina.data.hub import read_hub
from lamina.data.manifest import Utterance
from lamina.data.source import read_source

RATE = 8000


def wav(path: Path, seconds: float = 0.4, hz: float = 400, rate: int = RATE, channels: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    sound = 0.3 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)
    soundfile.write(path, np.stack([sound] * channels, 1), rate)
    return path


def write(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def told(ones: list[Utterance]) -> list[tuple[str, str | None, str]]:
    return [(one.split, one.text, one.speaker) for one in ones]


def test_nemos_keys_and_a_file_for_each_part(tmp_path: Path) -> None:
    wav(tmp_path / "a.wav", 1.0)
    line = {"audio_filepath": str(tmp_path / "a.wav"), "duration": 0.4, "text": "a b"}
    write(tmp_path / "train_manifest.jsonl", [{**line, "offset": 0.1}, {**line, "offset": 0.5, "text": "b"}])
    write(tmp_path / "val_manifest.jsonl", [{**line, "offset": 0.0, "text": "b a"}])
    write(tmp_path / "test_manifest.jsonl", [{**line, "offset": 0.0, "text": "a"}])
    found = read_source(tmp_path / "train_manifest.jsonl")
    assert told(found) == [("train", "a b", ""), ("train", "b", ""), ("dev", "b a", ""), ("test", "a", "")]
    assert [(one.start, one.seconds) for one in found[:2]] == [(0.1, 0.4), (0.5, 0.4)]
    made = data.load(str(tmp_path / "train_manifest.jsonl"))
    assert (made.task, made.train.lengths.tolist()) == ("ctc", [10, 10])  # type: ignore[union-attr]


def test_a_part_of_a_file_is_what_is_read(tmp_path: Path) -> None:
    whole, _ = read_audio(wav(tmp_path / "a.wav", 1.0))
    part, _ = read_audio(tmp_path / "a.wav", start=0.25, seconds=0.5)
    assert torch.equal(part, whole[2000:6000])
    with pytest.raises(UserError, match=r"holds 0\.25 s, the manifest says 0\.50"):
        read_audio(tmp_path / "a.wav", start=0.75, seconds=0.5)


def test_some_are_held_out_where_nothing_says_which(tmp_path: Path) -> None:
    """Twenty speakers of two: a tenth of them each, whole; five speakers: a tenth of the utterances."""
    wav(tmp_path / "a.wav")
    lines = [{"audio": "a.wav", "text": "a", "speaker": str(i // 2)} for i in range(40)]
    found = read_source(write(tmp_path / "m.jsonl", lines))
    of = {part: {one.speaker for one in found if one.split == part} for part in ("train", "dev", "test")}
    assert {part: len(some) for part, some in of.items()} == {"train": 16, "dev": 2, "test": 2}
    assert not of["train"] & of["dev"] and not of["dev"] & of["test"] and not of["train"] & of["test"]  # noqa: PT018
    found = read_source(write(tmp_path / "m.jsonl", lines[:10]))
    assert sorted(one.split for one in found) == ["dev", "test", *["train"] * 8]
    lines = [{**line, "split": "train" if i < 30 else "test"} for i, line in enumerate(lines)]
    found = read_source(write(tmp_path / "m.jsonl", lines))
    assert [sum(one.split == part for one in found) for part in ("train", "dev", "test")] == [26, 4, 10]
    with pytest.raises(UserError, match="2 utterances are too few to hold any out; say the split of each"):
        read_source(write(tmp_path / "m.jsonl", [{"audio": "a.wav", "text": "a"}] * 2))


def test_null_says_nothing_and_train_alone_is_divided(tmp_path: Path) -> None:
    wav(tmp_path / "a.wav")
    line = {"audio": "a.wav", "text": "a", "split": None}
    found = read_source(write(tmp_path / "m.jsonl", [{**line, "speaker": None}, {**line, "speaker": 0}, line]))
    assert [one.speaker for one in found] == ["", "0", ""]
    assert sorted(one.split for one in found) == ["dev", "test", "train"]
    found = read_source(write(tmp_path / "train.jsonl", [{"audio": "a.wav", "text": "a"}] * 10))
    assert sorted(one.split for one in found) == ["dev", "test", *["train"] * 8]


def kaldi(folder: Path) -> Path:
    for part in ("train", "dev", "test"):
        wav(folder / part / "rec.wav", 2.0)
        (folder / part / "wav.scp").write_text(f"r1 {folder / part / 'rec.wav'}\n")
        (folder / part / "segments").write_text("u1 r1 0.0 0.5\nu2 r1 0.5 1.25\n")
        (folder / part / "text").write_text("u1 yes\nu2 no  yes\n")
        (folder / part / "utt2spk").write_text("u1 anna\nu2 ben\n")
    return folder


def test_kaldis_folders(tmp_path: Path) -> None:
    found = read_source(kaldi(tmp_path / "data"))
    assert told(found)[:2] == [("train", "yes", "anna"), ("train", "no yes", "ben")]
    assert (len(found), found[1].start, found[1].seconds) == (6, 0.5, 0.75)
    made = data.load(f"speech:{tmp_path / 'data'},stack=2,mels=20")
    assert made.train.lengths.tolist() == [25, 37]  # type: ignore[union-attr]
    assert made.shape == (37, 40)
    assert (
        data.where(f"speech:{tmp_path / 'data'},mels=20,stack=2,norm=0.0")
        == f"speech:{tmp_path / 'data'},mels=20,stack=2"
    )


def test_kaldis_wrong_lines_are_named_together(tmp_path: Path) -> None:
    folder = kaldi(tmp_path / "data") / "train"
    (folder / "wav.scp").write_text(f"r1 {folder / 'rec.wav'}\nr2 sph2pipe -f wav a.sph |\n")
    (folder / "segments").write_text("u1 r1 0.0 0.5\nu2 r2 0.5 1.25\nu3 r3 0 1\nu4 r1 2 1\nu5 r1 0\nu6 r1 0 1\n"
                                     "u7 r1 nan 1\nu8 r1 0 inf\n")  # fmt: skip
    (folder / "text").write_text("u1 yes\nu2 no\nu9 no\n")
    with pytest.raises(UserError) as error:
        read_source(tmp_path / "data")
    said = str(error.value)
    wanted = (
        "8 problems", "u7 is from nan to 1 s", "u8 is from 0 to inf s",
        "r2 is a command, which is not run (sph2pipe -f wav a.sph |...)", "u3 is of r3,",
        "u4 is from 2 to 1 s", "u5 'r1 0' is not RECORDING START END", "says nothing for u6",
        "u9 has no sound; add it to segments",
    )  # fmt: skip
    for part in wanted:
        assert part in said


def test_folders_of_sounds_with_texts_beside(tmp_path: Path) -> None:
    for i in range(12):
        file = wav(tmp_path / f"anna/{i:02}.wav")
        file.with_suffix(".txt").write_text("hello\n")
    found = read_source(tmp_path)
    assert {one.speaker for one in found} == {"anna"}
    assert sorted(one.split for one in found) == ["dev", "test", *["train"] * 10]
    (tmp_path / "anna/03.txt").unlink()
    (tmp_path / "anna/05.txt").write_text(" ")
    with pytest.raises(UserError, match=r"(?s)2 problems:.*03\.txt: is not there; write what is said.*05\.txt: is"):
        read_source(tmp_path)
    (tmp_path / "anna/03.txt").write_text("hello")
    (tmp_path / "anna/05.txt").write_text("hello")
    (tmp_path / "anna/03.wav").unlink()
    (tmp_path / "anna/03.wav").symlink_to(tmp_path / "nowhere.wav")
    with pytest.raises(UserError, match=r"03\.wav: no such file; correct the path"):
        data.load(f"speech:{tmp_path}")
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match=r"none: holds no wav\.scp and no sound"):
        data.load(f"speech:{tmp_path / 'none'}")


def parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    arrow, files = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_table(arrow.Table.from_pylist(rows), path)


def packed(seconds: float = 0.4) -> dict[str, Any]:
    held = io.BytesIO()
    soundfile.write(held, np.full(round(seconds * RATE), 0.1), RATE, format="FLAC")
    return {"bytes": held.getvalue(), "path": "a.flac"}


def test_the_hubs_parquet_files(tmp_path: Path) -> None:
    rows = [{"audio": packed(), "sentence": "yes no", "speaker_id": i} for i in range(3)]
    parquet(tmp_path / "mine/train-00000-of-00001.parquet", rows)
    parquet(tmp_path / "mine/validation-00000-of-00001.parquet", rows[:1])
    parquet(tmp_path / "mine/test/0000.parquet", rows[:2])
    found = data.load(f"hub:{tmp_path / 'mine'}")
    assert (len(found.train), len(found.dev), len(found.test), found.task) == (3, 1, 2, "ctc")
    assert data.where("hub:org/name,masks=2") == "hub:org/name,masks=2"
    parquet(tmp_path / "mine/test/0000.parquet", [{"audio": {"bytes": b"", "path": ""}, "sentence": "a"},
                                                  {"audio": packed(), "other": "a"}])  # fmt: skip
    with pytest.raises(UserError, match=r"(?s)2 problems:.*row 0: has no sound; its columns are.*row 1: says nothing"):
        data.load(f"hub:{tmp_path / 'mine'}")
    (tmp_path / "mine/test/0000.parquet").write_bytes(b"none")
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        data.load(f"hub:{tmp_path / 'mine'}")


def test_big_sets_of_the_hub_and_several_in_one(tmp_path: Path) -> None:
    rows = [{"audio": packed(), "text": "yes no"} for _ in range(3)]
    for part in ("partial-train", "test"):
        parquet(tmp_path / "big/default" / part / "0000.parquet", rows)
    assert {one.split for one in read_hub(str(tmp_path / "big"))} == {"train", "dev", "test"}
    for language in ("en-US", "de-DE"):
        parquet(tmp_path / "several" / language / "train-00000-of-00001.parquet", rows)
    with pytest.raises(UserError, match=r"holds 2 sets \(de-DE, en-US\); give the folder of one: hub:FOLDER"):
        read_hub(str(tmp_path / "several"))
    assert len(read_hub(str(tmp_path / "several/en-US"))) == 3


def test_the_hubs_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(
        UserError, match=r"org/set: a set of the Hub needs pyarrow\.parquet .*; run: pip install 'lamina\[hub\]'"
    ):
        read_hub("org/set")


def test_everything_that_is_wrong_is_named_at_once(tmp_path: Path) -> None:
    """Missing, corrupt, cut off, empty, NaN, stereo and of another rate against what is said, unknown letters."""
    lines: list[dict[str, Any]] = []
    for i in range(9):
        wav(tmp_path / f"{i}.wav")
        lines.append({"split": "train", "audio": f"{i}.wav", "text": "ab", "sr": RATE, "channels": 1, "duration": 0.4})
    (tmp_path / "0.wav").unlink()
    (tmp_path / "1.wav").write_bytes(b"not a sound")
    whole = (tmp_path / "2.wav").read_bytes()
    (tmp_path / "2.wav").write_bytes(whole[: len(whole) * 9 // 10])
    soundfile.write(tmp_path / "3.wav", np.zeros(0), RATE)
    soundfile.write(tmp_path / "4.wav", np.full(3200, np.nan), RATE, subtype="FLOAT")
    wav(tmp_path / "5.wav", channels=2)
    wav(tmp_path / "6.wav", rate=16000)
    (tmp_path / "7.wav").write_bytes(whole[:44] + whole[44 : len(whole) // 2])
    held = [{**lines[8], "split": part, "text": text} for part, text in (("dev", "abé"), ("test", "ab"))]
    path = write(tmp_path / "m.jsonl", [*lines, *held])
    with pytest.raises(UserError) as error:
        data.load(str(path))
    said = str(error.value).splitlines()
    assert said[0] == "m: 9 problems:"
    wanted = ("no such file", "cannot be read as sound", "is cut off: 5,", "holds 0.00 s", "holds NaN or inf",
              "has 2 channels, the manifest says 1", "is at 16000 Hz, the manifest says 8000", "may be cut off",
              "line 10: no training text has 'é'; write it otherwise")  # fmt: skip
    assert len(said) == 10
    for line, part in zip(said[1:], wanted, strict=True):
        assert part in line
    many = [{**lines[0], "audio": f"none{i}.wav"} for i in range(15)]
    with pytest.raises(UserError, match=r"(?s)m: 15 problems:.*none9\.wav: no such file[^\n]*\n  and 5 more$"):
        data.load(str(write(path, [*many, *[{**lines[8], "split": part} for part in ("train", "dev", "test")]])))


def test_training_copies_at_other_speeds_and_in_noise(tmp_path: Path) -> None:
    wav(tmp_path / "a.wav", 0.9)
    lines = [
        {"split": part, "audio": "a.wav", "text": text, "sr": RATE}
        for part in ("train", "dev", "test")
        for text in "ab"
    ]
    path = write(tmp_path / "m.jsonl", lines)
    found, plain = data.load(f"speech:{path},speed=90+100+110,noise=100+5,masks=1"), data.load(f"speech:{path}")
    assert found.train.lengths.tolist() == [25, 22, 20] * 2  # type: ignore[union-attr]
    assert found.train.y.flatten().tolist() == [1, 1, 1, 2, 2, 2]
    assert torch.equal(found.test.x.frames, plain.test.x.frames)
    assert found.masks is not None
    assert found.source.endswith("to learn from: at 90+100+110 % of their speed, noise at 100+5 dB")
    assert data.load(f"speech:{path},speed=90+100+110,noise=100+5,masks=1").digest == found.digest
    with pytest.raises(UserError, match="speed=40: percent"):
        data.load(f"speech:{path},speed=40")
    with pytest.raises(UserError, match=r"unknown option 'mask'.*masks"):
        data.load(f"speech:{path},mask=2")


def test_commands_said_by_a_machine_say_so() -> None:
    found = data.load("espeak_commands:train=12,noise=100+10,masks=2")
    assert found.title == "synthetic spoken commands"
    assert found.source.startswith("synthetic: eSpeak NG, 24 voices in train")
    assert found.source.endswith("noise at 30 dB; seed 0; to learn from: noise at 100+10 dB")
    assert (found.task, len(found.train), len(found.test), found.n_classes) == ("ctc", 12, 400, 26)
    row = found.train.y[0]
    text = "".join(found.labels[i - 1] for i in row[row > 0].tolist())
    from lamina.data.commands import PHRASES

    assert text in PHRASES
    slow = data.load("espeak_commands:train=12,speed=50")
    n = data.load("espeak_commands:train=12").train.lengths
    assert ((slow.train.lengths - 2 * n).abs() <= 1).all()  # type: ignore[operator]
    assert data.load("espeak_strings:train=3").title.startswith("synthetic")


def test_recorded_commands_are_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The manifest gives texts too; the task is the label."""
    wav(tmp_path / "speech_commands_3/a.wav")
    lines = [{"split": part, "audio": "a.wav", "sr": RATE, "text": word.upper(), "label": word, "speaker": part}
             for part in ("train", "dev", "test") for word in ("bed", "cat", "happy")]  # fmt: skip
    write(tmp_path / "speech_commands_3/manifest.jsonl", lines)
    monkeypatch.setenv("LAMINA_DATA", str(tmp_path))
    found = data.load("speech_commands:stack=2")
    assert (found.task, found.labels, found.train.y.tolist()) == ("classify", ("bed", "cat", "happy"), [0, 1, 2])
    assert found.describe()["features"]["stack"] == 2
