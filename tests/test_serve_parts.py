"""What lamina serve is made of: streaming resamplers that go on from their tail, seals, and captions as what is new."""

from __future__ import annotations

import difflib
import json

import numpy as np
import pytest
import soxr

from lamina.data import resampler as parts
from lamina.deploy.serve import protocol
from lamina.deploy.serve.protocol import Problem
from lamina.deploy.serve.seal import Saved, key_of, opened, sealed
from lamina.deploy.serve.sound import samples
from lamina.deploy.serve.teller import Teller
from lamina.speech.decode import Word
from lamina.speech.listeners import Caption
from recogniser_parts import sound
from serve_parts import TOKEN

RATES = [(48000, 16000), (44100, 8000), (8000, 16000), (11025, 16000), (16000, 16000), (12345, 8000)]


@pytest.mark.parametrize(("rate", "to"), RATES)
def test_a_stream_is_resampled_as_the_whole(rate, to):
    x = sound(0, 1.5, rate).numpy()
    one, at, got = parts.Resampler(rate, to), 0, []
    for n in (1, 0, 999, 5000, 20, 7777):
        got.append(one.push(x[at : at + n]))
        at += n
    got += [one.push(x[at:]), one.finish()]
    np.testing.assert_array_equal(np.concatenate(got), soxr.resample(x, rate, to) if rate != to else x)


@pytest.mark.parametrize(("rate", "to"), RATES)
def test_a_resampler_goes_on_from_its_tail(rate, to):
    """Broken off and resumed again and again, near its start too: as many samples, equal to float32's rounding."""
    x, rng = sound(1, 4.0, rate).numpy(), np.random.default_rng(rate)
    one, at, got = parts.Resampler(rate, to), 0, []
    for n in (7, 0, 300, *rng.integers(1, rate // 2, 9)):
        got.append(one.push(x[at : at + n]))
        at += n
        assert len(one.tail) <= parts.KEPT * rate + one.unit + n
        one = parts.Resampler.resumed(rate, to, one.heard, one.given, one.tail)
    got += [one.push(x[at:]), one.finish()]
    whole = soxr.resample(x, rate, to) if rate != to else x
    np.testing.assert_allclose(np.concatenate(got), whole, rtol=0, atol=3e-6)


def test_the_delay_that_is_told_is_never_exceeded():
    for rate, to in RATES:
        told, stream, given = parts.delay(rate, to), parts.Resampler(rate, to), 0
        for i in range(1, 60):
            given += len(stream.push(np.zeros(rate // 25, np.float32)))
            assert i * (rate // 25) / rate - given / to <= told + 1 / to
    assert parts.delay(16000, 16000) == 0.0
    assert parts.delay(48000, 16000) > 0.01


def test_samples_of_both_formats():
    x = np.float32([0, 0.5, -1])
    np.testing.assert_array_equal(samples(np.int16([0, 16384, -32768]).tobytes(), "s16le"), x)
    np.testing.assert_array_equal(samples(x.tobytes(), "f32le"), x)
    assert samples(b"", "f32le").shape == (0,)
    assert samples(b"\1\0", "s16le").dtype == np.float32


def test_a_seal_is_broken_by_any_change():
    saved = Saved(b"a listener", 48000, 1234, 411, np.float32([0.1, 0.2]))
    key = key_of(TOKEN)
    data = sealed(saved, key)
    again = opened(data, key)
    assert (again.listener, again.rate, again.heard, again.given) == (b"a listener", 48000, 1234, 411)
    np.testing.assert_array_equal(again.tail, saved.tail)
    for at in range(len(data)):
        with pytest.raises(Problem, match="not whole"):
            opened(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], key)
    for other in (data[:-1], b"", data[:40]):
        with pytest.raises(Problem, match="not whole"):
            opened(other, key)
    for own in (key_of(TOKEN + "!"), key_of(None), key_of(None)):
        with pytest.raises(Problem, match="token differs"):
            opened(data, own)
    assert key_of(None) != key_of(None)
    assert len(key_of("\ud800")) > 0


def test_a_name_of_megabytes_is_compared_by_its_beginning(monkeypatch):
    compared = []
    real = difflib.get_close_matches
    monkeypatch.setattr(difflib, "get_close_matches", lambda word, *rest: compared.append(word) or real(word, *rest))
    for call, text in (
        (protocol.command, {"type": "a" * (1 << 20)}),
        (protocol.hello, {"type": "hello", "rate": 8000, "b" * (1 << 20): 1}),
    ):
        with pytest.raises(Problem):
            call(json.dumps(text))
    assert [len(word) for word in compared] == [64, 64]


def caption(stable, provisional, words, seconds, ended=False, ends=()):
    return Caption(stable, provisional, tuple(Word(w, e - 0.2, e, 0.5) for w, e in words), ended, seconds, ends)


def test_messages_hold_what_is_new_and_each_word_once():
    teller = Teller()
    assert teller.message(0.0) is None
    teller.see(caption("on", "e", [("on", 0.4)], 0.5), 10.0)
    first = teller.message(10.25)
    assert (first["at"], first["stable"], first["provisional"], first["words"]) == (0, "on", "e", [])
    assert first["compute_ms"] == 250.0
    teller.see(caption("one", "", [("one", 0.44)], 0.6), 11.0)  # never sent: the next takes its place
    teller.see(caption("one tw", "o", [("one", 0.44), ("tw", 0.9)], 1.0, ends=(3,)), 12.0)
    second = teller.message(12.5)
    assert (second["at"], second["stable"], second["provisional"]) == (2, "e tw", "o")
    assert (first["ends"], second["ends"]) == ([], [3])
    assert second["compute_ms"] == 1500.0  # from the oldest sound that it answers
    assert [(w["text"], w["emission_ms"]) for w in second["words"]] == [("one", 160)]
    teller.see(caption("one two", "", [("one", 0.44), ("two", 1.0)], 1.5, ended=True, ends=(3, 7)), 13.0)
    last = teller.message(13.0)
    assert (last["at"], last["stable"], last["ended"]) == (6, "o", True)
    assert last["ends"] == [7]
    assert [(w["text"], w["emission_ms"]) for w in last["words"]] == [("two", 500)]
    assert teller.message(14.0) is None
