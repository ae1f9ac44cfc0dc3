"""The thread of lamina serve, tick by tick: what is answered when, and what fails for whom."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from lamina.core import state as trees
from lamina.deploy.serve.engine import Engine, Heard, Ready, SavedStream, Sound, Stream
from lamina.deploy.serve.meters import Meters
from lamina.deploy.serve.protocol import Hello, Problem, encoded
from lamina.deploy.serve.seal import Saved, opened, sealed
from lamina.speech import Listeners, Recogniser
from recogniser_parts import RATE, random_run, sound
from serve_parts import TOKEN, heard, pcm

BLOCK = 320


@pytest.fixture(scope="module")
def recogniser(tmp_path_factory):
    return Recogniser.of_run(random_run(tmp_path_factory.mktemp("spoken"), left=8, right=2))


class Ticks:
    """An engine whose ticks the test takes itself."""

    def __init__(self, recogniser, rows=4, token=None):
        self.engine = Engine(Listeners(recogniser, rows), Meters(), token)

    def stream(self, **hello):
        one = Stream(Hello(rate=RATE, **hello), lambda _: None)
        return one, self.tick((one, [], "join"))[one]

    def tick(self, *work):
        return dict(self.engine._tick(list(work)))

    @property
    def taken(self):
        return sum(row is not None for row in self.engine.listeners.rows)


def message(x, at):
    data = pcm(x) if isinstance(x, torch.Tensor) else x
    return Sound(data, len(data) / 2 / RATE, at)


def test_a_caption_answers_the_messages_that_made_a_block_whole(recogniser):
    """Not those that only wait: they are answered by the next."""
    ticks, x = Ticks(recogniser), sound(1)
    one, ready = ticks.stream()
    assert isinstance(ready, Ready)
    assert ticks.tick((one, [message(x[: BLOCK // 2], 1.0)], None)) == {}
    heard = ticks.tick((one, [message(x[BLOCK // 2 : BLOCK], 2.0)], None))[one]
    assert (heard.at, heard.caption.seconds) == (2.0, 0.04)
    assert ticks.tick((one, [message(x[:0], 3.0), message(x[: BLOCK - 1], 4.0)], None)) == {}
    pieces = [message(x[:n], at) for n, at in ((0, 5.0), (1, 6.0), (BLOCK, 7.0))]
    assert ticks.tick((one, pieces, None))[one].at == 6.0
    last = ticks.tick((one, [], "end"))[one]
    assert isinstance(last, Heard)
    assert last.caption.ended
    assert ticks.taken == 0


def test_a_resampled_message_is_answered_when_it_makes_a_block_whole(recogniser):
    """At 48 kHz the resampler gives the samples of 40 ms in uneven pieces: no caption without a step."""
    ticks, x = Ticks(recogniser), sound(1, 2.0, 48_000)
    one = Stream(Hello(rate=48_000), lambda _: None)
    ticks.tick((one, [], "join"))
    steps = []
    for at in range(0, len(x), 1920):
        answer = ticks.tick((one, [message(x[at : at + 1920], at)], None)).get(one)
        if answer is not None:
            steps.append(round(answer.caption.seconds * RATE) // BLOCK)
    assert steps == sorted(set(steps))
    assert 10 < len(steps) < len(x) // 1920


def test_a_tick_is_one_step(recogniser):
    """What a stream has beyond the others' blocks waits for the next; a stream alone hears all it has."""
    ticks, x = Ticks(recogniser), sound(1)
    steps, listeners = [], ticks.engine.listeners
    inner = listeners.layer.step_rows

    def counted(y, state, rows):
        steps.append((y.values.shape[1] // BLOCK, rows.tolist()))
        return inner(y, state, rows)

    listeners.layer.step_rows = counted
    try:
        one, two = ticks.stream()[0], ticks.stream()[0]
        first = [message(x[:BLOCK], 1.0), message(x[BLOCK : 3 * BLOCK + 7], 2.0)]
        found = ticks.tick((one, first, None), (two, [message(x[: BLOCK + 9], 3.0)], None))
        assert [(found[s].at, found[s].caption.seconds) for s in (one, two)] == [(1.0, 0.04), (3.0, 0.041125)]
        assert list(ticks.engine.busy) == [one]
        found = ticks.tick((one, [], None))
        assert (found[one].at, round(found[one].caption.seconds * RATE)) == (2.0, 3 * BLOCK + 7)
        assert steps == [(1, [0, 1]), (2, [0])]
        more = [message(x[3 * BLOCK + 7 : 5 * BLOCK], 4.0), message(x[5 * BLOCK : 6 * BLOCK], 5.0)]
        found = ticks.engine._tick([(one, more, "end"), (two, [message(x[BLOCK + 9 : 2 * BLOCK], 6.0)], None)])
        assert [answer.caption.seconds for stream, answer in found if stream is one] == [0.16, 0.24]
        text = recogniser.transcribe(heard(pcm(x[: 6 * BLOCK]))).text
        assert found[-1][1].caption.stable == text
    finally:
        del listeners.layer.step_rows


def test_who_falls_behind_hears_several_blocks_in_a_step_and_nobody_is_passed_over_twice(recogniser):
    ticks, x = Ticks(recogniser), sound(1)
    slow, one, two = (ticks.stream()[0] for _ in range(3))
    blocks = [message(x[i * BLOCK : (i + 1) * BLOCK], float(i)) for i in range(12)]

    def told(*work):
        return {stream: round(answer.caption.seconds * RATE) // BLOCK for stream, answer in ticks.tick(*work).items()}

    assert told((slow, blocks[:1], None), (one, blocks[:3], None), (two, blocks[:4], None)) == {one: 3, two: 3}
    assert set(ticks.engine.busy) == {slow, two}
    # its turn, though the others have more
    assert told((slow, [], None), (one, blocks[3:6], None), (two, [], None)) == {slow: 1, one: 4, two: 4}
    assert told((slow, blocks[1:2], None), (one, [], None), (two, blocks[4:6], None)) == {one: 6, two: 6}
    # what came meanwhile is heard with it
    assert told((slow, blocks[2:4], None), (one, blocks[6:12], None), (two, blocks[6:12], None)) == {
        slow: 4, one: 9, two: 9
    }  # fmt: skip
    ticks.tick((one, [], None), (two, [], None))
    assert told((slow, [], "end"), (one, [], "end"), (two, [], "end")) == {slow: 4, one: 12, two: 12}
    assert ticks.taken == 0


def test_what_is_no_sound_fails_for_its_stream_alone(recogniser):
    ticks, x = Ticks(recogniser), sound(2)
    good, bad, loud = (ticks.stream(format=form)[0] for form in ("s16le", "f32le", "f32le"))
    work = [
        (bad, [message(np.float32([0, np.nan]).tobytes(), 0.0)], None),
        (good, [message(x[:BLOCK], 0.0)], None),
        (loud, [message(np.float32([1e30] * BLOCK).tobytes(), 0.0)], None),
    ]
    answers = ticks.tick(*work)
    assert [(answers[one].kind, answers[one].code) for one in (bad, loud)] == [("samples", 1007)] * 2
    assert isinstance(answers[good], Heard)
    for at in range(BLOCK, len(x), BLOCK):
        ticks.tick((good, [message(x[at : at + BLOCK], 0.0)], None))
    exact = torch.from_numpy(np.frombuffer(pcm(x), "<i2").astype(np.float32) / 32768)
    assert ticks.tick((good, [], "end"))[good].caption.stable == recogniser.transcribe(exact).text
    assert ticks.taken == 0


def test_what_waits_of_a_stream_that_fails_keeps_nobody_busy(recogniser):
    """Its second block is none: it fails for what is behind the first, and its leaving is heard."""
    ticks, x = Ticks(recogniser), sound(2)
    good, bad = ticks.stream()[0], ticks.stream(format="f32le")[0]
    wrong = np.concatenate([x[:BLOCK].numpy(), np.full(3 * BLOCK, np.nan, np.float32)])
    answers = ticks.tick((bad, [message(wrong.tobytes(), 0.0)], None), (good, [message(x[:BLOCK], 0.0)], None))
    assert all(isinstance(answers[one], Heard) for one in (good, bad))
    assert list(ticks.engine.busy) == [bad]
    ticks.engine.busy.clear()
    answers = ticks.tick((bad, [], None), (good, [message(x[BLOCK : 2 * BLOCK], 1.0)], None))
    assert answers[bad].kind == "samples"
    assert isinstance(answers[good], Heard)
    ticks.engine.put(bad, "leave")
    assert ticks.engine._taken(bad) == ([], "leave")
    assert ticks.taken == 1


def test_no_place_is_said_as_that(recogniser):
    ticks = Ticks(recogniser, rows=1)
    one, _ = ticks.stream()
    saved = ticks.tick((one, [message(sound(3), 0.0)], "save"))[one]
    for hello in ({}, {"resume": encoded(b"anything")}):
        other, problem = ticks.stream(**hello)
        assert (problem.kind, problem.code, other.over) == ("full", 1013, True)
    assert isinstance(saved, SavedStream)
    assert ticks.taken == 1


@pytest.mark.parametrize("token", [None, TOKEN])
def test_a_saved_stream_that_is_wrong_takes_no_place(recogniser, token):
    """Sealed by who can: nobody but the process itself without a token."""
    ticks = Ticks(recogniser, 1, token)
    one, _ = ticks.stream()
    saved = ticks.tick((one, [message(sound(3), 0.0)], "save"))[one]
    ticks.tick((one, [], "leave"))
    whole = opened(saved.data, ticks.engine.key)
    tree = trees.from_bytes(whole.listener)
    facts = json.loads(bytes(tree["facts"].tolist())) | {"words": [{"nope": 1}]}
    tree["facts"] = torch.tensor(list(json.dumps(facts).encode()), dtype=torch.uint8)
    wrong = Saved(trees.to_bytes(tree), whole.rate, whole.heard, whole.given, whole.tail)
    for key in (ticks.engine.key, Engine(Listeners(recogniser, 1), Meters()).key, b"lamina stream "):
        _, problem = ticks.stream(resume=encoded(sealed(wrong, key)))
        assert isinstance(problem, Problem)
        assert problem.kind == "resume"
        assert ("not one that" in str(problem)) == (key is ticks.engine.key)
    assert ticks.taken == 0
    again, ready = ticks.stream(resume=encoded(saved.data))
    assert (ready.samples, again.row) == (len(sound(3)), 0)
