"""lamina transcribe, stream and eval --streaming: the same text by every way, and every bad file by its name."""

from __future__ import annotations

import io
import json
import resource
import signal
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from lamina.cli import main
from lamina.cli._decoder import decoder_of
from lamina.cli._sounds import until_interrupted
from lamina.cli.stream import CLEAR, DIM, PLAIN
from lamina.core import Seq, UserError
from lamina.data.audio import read_audio, resampled
from lamina.data.long_audio import SoundFile
from lamina.data.resampler import Resampler, delay
from lamina.layers import ChunkAttention, WindowAttention
from lamina.speech import Listeners, Recogniser, Transcript
from lamina.speech.context import unlimited
from lamina.speech.decode import Word
from lamina.speech.live import Latencies, captions
from lamina.speech.transcribe import transcribe
from lamina.speech.written import FORMATS, cues
from recogniser_parts import RATE, random_run, sound


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_run(tmp_path_factory.mktemp("spoken"), left=8)


@pytest.fixture(scope="module")
def recogniser(run: Path) -> Recogniser:
    return Recogniser.of_run(run)


def lamina(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(ended.value.code or 0)


@pytest.mark.parametrize(("rate", "channels", "name"), [(44100, 2, "a.flac"), (8000, 1, "a.wav"), (22050, 1, "a.mp3")])
def test_a_file_in_blocks_is_the_file_at_once(tmp_path: Path, rate: int, channels: int, name: str) -> None:
    wave = resampled(sound(3, 2.0), RATE, rate).numpy()
    soundfile.write(tmp_path / name, np.stack([wave, 0.5 * wave], 1)[:, :channels], rate)
    whole, _ = read_audio(tmp_path / name, RATE)
    blocks = list(SoundFile(tmp_path / name).blocks(RATE, 0.3))
    assert len(blocks) > 6
    torch.testing.assert_close(torch.cat(blocks), whole, rtol=0, atol=1e-6)


def test_resampling_in_pieces_is_resampling_of_all() -> None:
    wave, resampler = sound(1, 1.0), Resampler(RATE, 44100)
    pieces = [*(resampler.push(piece.numpy()) for piece in wave.split(777)), resampler.finish()]
    assert torch.equal(torch.from_numpy(np.concatenate(pieces)), resampled(wave, RATE, 44100))


def test_all_ways_to_a_text_are_one(
    run: Path, recogniser: Recogniser, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Offline, in blocks, as a file at the pace of speech, as raw samples on stdin."""
    wave = (sound(6, 5.0) * 32768).round().clamp(-32768, 32767) / 32768
    soundfile.write(tmp_path / "a.wav", wave.numpy(), RATE, subtype="PCM_16")
    text = recogniser.transcribe(wave).text
    assert len(text) > 20
    assert lamina("transcribe", run, tmp_path / "a.wav") == 0
    assert capsys.readouterr().out == f"{text}\n"
    waits: list[float] = []
    monkeypatch.setattr("lamina.cli._sounds.time", SimpleNamespace(sleep=waits.append, monotonic=lambda: 0.0))
    assert lamina("stream", run, tmp_path / "a.wav") == 0
    found = capsys.readouterr()
    assert "".join(found.out.split()) == "".join(text.split())
    assert found.err.startswith("algorithmic 40 ms, compute p50/p95/p99 ")
    assert waits[:2] == [0.04, 0.08]
    assert waits[-1] == pytest.approx(5.0)
    raw = (wave * 32768).numpy().astype("<i2").tobytes()
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(raw)))
    assert lamina("stream", run, "-", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["text"] == text
    assert facts["seconds"] == 5.0
    assert facts["algorithmic_ms"] == 40.0
    assert facts["emission_p50_ms"] > 0


def test_a_beam_decides_within_a_second(recogniser: Recogniser) -> None:
    assert recogniser.seconds == 0.04
    assert decoder_of(recogniser, 8, None, None).wait == 25
    assert decoder_of(recogniser, None, None, "abc").wait == 25


def test_a_pause_begins_another_line(
    run: Path, recogniser: Recogniser, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A pause here is one frame. On a terminal the last writing of each line is what stands."""
    monkeypatch.setattr("lamina.speech.telling.PAUSE", 0.04)
    monkeypatch.setattr("lamina.cli._sounds.time", SimpleNamespace(sleep=lambda _: None, monotonic=lambda: 0.0))
    wave = (sound(7, 6.0) * 32768).round().clamp(-32768, 32767) / 32768
    soundfile.write(tmp_path / "a.wav", wave.numpy(), RATE, subtype="PCM_16")
    *_, last = captions(recogniser, wave.split(320), Latencies(0.0))
    lines = [last.stable[start:end].strip() for start, end in pairwise((0, *last.ends, len(last.stable)))]
    lines = [line for line in lines if line]
    assert len(lines) > 3
    for live in (False, True):
        monkeypatch.setattr("lamina.cli.stream.sys", SimpleNamespace(stdout=_Out(live), stderr=sys.stderr))
        assert lamina("stream", run, tmp_path / "a.wav") == 0
        written = capsys.readouterr().out.rstrip("\n").split("\n")
        assert [line.split(CLEAR)[-1].replace(DIM + PLAIN, "").strip() for line in written] == lines


class _Out:
    """The captured stdout, a terminal or none."""

    def __init__(self, live: bool) -> None:
        self.isatty = lambda: live

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stdout, name)


def test_a_step_counts_and_a_resampler_waits(
    run: Path, recogniser: Recogniser, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 16 kHz the first pieces make no block whole; half a sample at the end is said."""
    wave = resampled(sound(6, 2.0), RATE, 16000)
    pieces = [torch.from_numpy(piece) for piece in _resampled_pieces(wave)]
    latencies = Latencies(0.0)
    *_, last = captions(recogniser, pieces, latencies)
    assert last.seconds == 2.0
    blocks = np.cumsum([len(piece) for piece in pieces]) // 320
    assert len(latencies.compute) == len(set(blocks) - {0}) < len(pieces)
    raw = (wave * 32767).numpy().astype("<i2").tobytes() + b"\0"
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(raw)))
    assert lamina("stream", run, "-", "--rate", 16000, "--json") == 0
    found = capsys.readouterr()
    assert "half a sample" in found.err
    assert json.loads(found.out)["algorithmic_ms"] == pytest.approx(40 + 1e3 * delay(16000, RATE), abs=1e-3)
    for rate in (10, 3999, 192_001):
        assert lamina("stream", run, "-", "--rate", rate) == 2
        assert "4,000 to 192,000" in capsys.readouterr().err


def _resampled_pieces(wave: Tensor) -> list[np.ndarray]:
    resampler = Resampler(16000, RATE)
    return [*(resampler.push(piece.numpy()) for piece in wave.split(640)), resampler.finish()]


def test_ctrl_c_ends_the_sound_and_all_that_came_is_heard() -> None:
    """While a sound is heard, and while one is waited for; the second is Python's own again."""
    before, heard = signal.getsignal(signal.SIGINT), []
    pieces = iter([torch.zeros(1), torch.zeros(2), torch.zeros(3)])
    for piece in until_interrupted(pieces):
        heard.append(len(piece))
        if len(heard) == 2:
            signal.raise_signal(signal.SIGINT)
            assert signal.getsignal(signal.SIGINT) is before

    def waiting() -> Iterator[Tensor]:
        yield torch.zeros(4)
        signal.raise_signal(signal.SIGINT)
        yield torch.zeros(5)

    heard += [len(piece) for piece in until_interrupted(waiting())]
    assert heard == [1, 2, 4]
    assert signal.getsignal(signal.SIGINT) is before


def test_bad_files_are_named_and_the_others_done(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = sound(2)
    soundfile.write(tmp_path / "good.wav", good.numpy(), RATE)
    soundfile.write(tmp_path / "last.wav", good.numpy(), RATE)
    spoiled = good.numpy().copy()
    spoiled[4000] = np.nan
    soundfile.write(tmp_path / "nan.wav", spoiled, RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "none.wav", np.zeros(0, np.float32), RATE)
    (tmp_path / "empty.wav").touch()
    (tmp_path / "noise.wav").write_bytes(bytes(range(256)) * 9)
    whole = (tmp_path / "good.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(whole[: len(whole) // 2])
    names = ["good", "nan", "none", "empty", "noise", "cut", "missing", "last"]
    out = tmp_path / "out"
    files = [tmp_path / f"{name}.wav" for name in names]
    assert lamina("transcribe", run, *files, "--format", "srt", "--out", out) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    said = ["NaN or inf at 0.500 s", "no sample", "cannot be read as sound", "cannot be read as sound", "is cut off",
            "no such file"]  # fmt: skip
    assert len(errors) == 6
    for error, name, words in zip(errors, names[1:], said, strict=False):
        assert f"{name}.wav: " in error
        assert words in error
    assert sorted(path.name for path in out.iterdir()) == ["good.srt", "last.srt"]
    assert (out / "good.srt").read_text() == (out / "last.srt").read_text()


def test_files_are_read_at_any_rate(run: Path, recogniser: Recogniser, tmp_path: Path) -> None:
    wave = resampled(sound(8, 3.0), RATE, 16000)
    soundfile.write(tmp_path / "wide.wav", wave.numpy(), 16000, subtype="FLOAT")
    told, seconds = transcribe(recogniser, tmp_path / "wide.wav")
    assert told.text == recogniser.transcribe(resampled(wave, 16000, RATE)).text
    assert seconds == 3.0


def test_what_does_not_stream_hears_short_files_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = random_run(tmp_path, "conformer", left=None, right=None, kernel=3, n_layers=1)
    recogniser = Recogniser.of_run(run)
    told, _ = transcribe(recogniser, tmp_path / "0.wav")
    assert (
        told.text
        == recogniser.transcribe(torch.from_numpy(soundfile.read(tmp_path / "0.wav", dtype="float32")[0])).text
    )
    soundfile.write(tmp_path / "long.wav", np.zeros(121 * RATE, np.float32), RATE)
    with pytest.raises(UserError, match="has 121 s, and this conformer does not stream"):
        transcribe(recogniser, tmp_path / "long.wav")
    assert lamina("stream", run) == 2
    assert "does not stream" in capsys.readouterr().err
    with pytest.raises(TypeError, match="whole input"):
        Listeners(recogniser, 1)


def test_formats_are_read_back() -> None:
    """Subtitles by hand: cut at a pause, at a length and at a width; JSON by json."""
    said = [Word("one", 0.5, 0.9, 0.9), Word("<two>", 1.0, 1.4, 0.8), Word("three", 2.5, 3.0, 0.7)]
    told = Transcript("one <two> three", tuple(said))
    assert FORMATS["srt"](told, {}) == (
        "1\n00:00:00,500 --> 00:00:01,400\none <two>\n\n2\n00:00:02,500 --> 00:00:03,000\nthree\n\n"
    )
    assert FORMATS["vtt"](told, {}).startswith("WEBVTT\n\n00:00:00.500 --> 00:00:01.400\none &lt;two>\n\n")
    assert FORMATS["text"](told, {}) == "one <two> three\n"
    facts = json.loads(FORMATS["json"](told, {"file": "a.wav"}))
    assert facts["file"] == "a.wav"
    assert facts["words"][1] == {"text": "<two>", "start": 1.0, "end": 1.4, "confidence": 0.8}
    long = [Word("w", 0.5 * i, 0.5 * i + 0.4, 1.0) for i in range(30)]
    assert max(end - start for start, end, _ in cues(long)) <= 6.0
    wide = [Word("x" * 30, 0.1 * i, 0.1 * i + 0.1, 1.0) for i in range(6)]
    assert [text.count(" ") for _, _, text in cues(wide)] == [1, 1, 1]
    assert FORMATS["srt"](Transcript("", (Word("a", 3661.5, 3661.9994, 1.0),)), {}).startswith(
        "1\n01:01:01,500 --> 01:01:01,999"
    )


def test_wrong_orders_are_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, says in (
        (("transcribe", run, "a.wav", "--format", "srtt"), "did you mean 'srt'"),
        (("transcribe", run, "a.wav", "b.wav", "--format", "vtt"), "give --out FOLDER"),
        (("transcribe", run, "x/a.wav", "y/a.flac", "--out", tmp_path), "another file is called a too"),
        (("transcribe", run, "a.wav", "--beam", "0"), "--beam 0"),
        (("stream", run, "a.wav", "--rate", "8000"), "--rate is of raw samples"),
        (("stream", tmp_path), "holds no run.json"),
    ):
        assert lamina(*words) == 2
        assert says in capsys.readouterr().err


def test_streaming_costs_no_character(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lamina("eval", run, "--streaming", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["differing"] == 0
    assert facts["limited"] == facts["steps"]
    assert facts["full"]["cer"] != facts["steps"]["cer"] or facts["ratio"] == 1.0
    assert lamina("eval", run, "--streaming") == 0
    assert "2 of 2 texts are the same in steps" in capsys.readouterr().out


def test_without_its_window_attention_sees_all_of_the_past() -> None:
    layer, x = WindowAttention(8, 2, 3), Seq.of(torch.randn(2, 20, 8))
    whole = WindowAttention(8, 2, None)
    whole.load_state_dict(layer.state_dict())
    torch.testing.assert_close(unlimited(layer, 20)(x).values, whole(x).values)
    assert layer.left == 3
    assert unlimited(ChunkAttention(8, 2, 4, 2), 9).left == 9  # type: ignore[comparison-overlap]


def test_latencies_are_of_the_words_as_they_stay() -> None:
    """A word that grows is told when it has grown; the last one once it is over."""
    from lamina.speech import Caption

    seen = Latencies(80.0)
    for at, words, ended in ((1.0, [("fo", 0.5, 0.8)], False), (1.5, [("four", 0.5, 1.2)], False),
                             (2.0, [("four", 0.5, 1.2), ("six", 1.6, 1.9)], False),
                             (3.0, [("four", 0.5, 1.2), ("six", 1.6, 1.9)], True)):  # fmt: skip
        seen.see(Caption("", "", tuple(Word(*word, 1.0) for word in words), ended, at), 0.01)
    seen.see(Caption("", "", (), True, 3.1))  # without a step
    assert len(seen.compute) == 4
    assert seen.emission == pytest.approx([300.0, 100.0])
    found = seen.figures()
    assert found["compute_p99_ms"] == pytest.approx(10.0)
    assert found["emission_p50_ms"] == pytest.approx(200.0)


@pytest.mark.slow
def test_three_hours_in_constant_memory(recogniser: Recogniser) -> None:
    """The most that the process has held grows by nothing but the text from the tenth minute on."""
    minutes, block = 180, 4 * RATE

    def sounds() -> Iterator[Tensor]:
        piece = sound(9, 60.0)
        for _ in range(minutes):
            yield from piece.split(block)

    listeners = Listeners(recogniser, 1)
    row, heard, marks = listeners.join(), 0, []
    for piece in sounds():
        listeners.push({row: piece})
        heard += len(piece)
        if heard % (10 * 60 * RATE) == 0:
            marks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)  # KiB
    last = listeners.finish(row)
    assert last.seconds == minutes * 60
    assert len(marks) == 18
    assert len(last.stable) > 50_000
    words = sum(len(word.text) + 400 for word in last.words)  # bytes, in Python
    assert (marks[-1] - marks[0]) * 1024 < 4 * 2**20 + 2 * words
