"""Engine: the one thread that computes. All streams that have sound go through the network together."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from time import perf_counter, sleep
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from lamina.core import UserError
from lamina.data.resampler import Resampler, Samples, delay
from lamina.deploy.serve import sound
from lamina.deploy.serve.meters import Meters
from lamina.deploy.serve.protocol import Hello, Problem, decoded
from lamina.deploy.serve.seal import Saved, key_of, opened, sealed
from lamina.speech.listeners import Caption, Listeners, NoSound

__all__ = ["Answer", "Engine", "Heard", "Ready", "SavedStream", "Stream"]

log = logging.getLogger("lamina.serve")
TURN = 0.2  # seconds of a stream's sound in one tick: who sends a file does not make the others wait for all of it
REST = 0.003  # seconds at most between two ticks, twice what the last one took: more rows gather, and all else gets on
Ask = Literal["join", "save", "end", "leave"]


@dataclass(frozen=True)
class Sound:
    """A message of sound: its bytes, its seconds, and when its last byte had come."""

    data: bytes
    seconds: float
    at: float


@dataclass(frozen=True)
class Ready:
    """The stream has a row; samples: of the client's that a resumed one has heard; delay: of its resampler, seconds."""

    samples: int
    delay: float


@dataclass(frozen=True)
class Heard:
    """A caption of a row that was stepped, and when the message had come that was the first to make a block whole."""

    caption: Caption
    at: float


@dataclass(frozen=True)
class SavedStream:
    """A sealed stream, and how many of the client's samples it has heard."""

    data: bytes
    samples: int


Answer = Ready | Heard | SavedStream | Problem


@dataclass(eq=False)
class Stream:
    """One client. Its inbox is filled by `Engine.put`; all else is the engine's own."""

    hello: Hello
    tell: Callable[[Answer], None]
    inbox: deque[Sound | Ask] = field(default_factory=deque)
    waiting: float = 0.0  # seconds of sound in the inbox
    row: int | None = None
    resampler: Any = None
    ready: deque[tuple[Samples, float]] = field(default_factory=deque)  # at the model's rate, and when they had come
    passed: bool = False  # over in the last tick, for having fewer blocks than most
    over: bool = False

    def take(self, n: float = inf) -> tuple[Samples, float | None]:
        """The next n samples that are ready, and when the last had come; all, and None, where there are fewer."""
        taken: list[Samples] = []
        at = None
        while self.ready and n > 0:
            piece, at = self.ready.popleft()
            if len(piece) > n:
                self.ready.appendleft((piece[int(n) :], at))
                piece = piece[: int(n)]
            taken.append(piece)
            n -= len(piece)
        return _joined(taken), None if n > 0 else at


_Came = tuple[Stream, Tensor, float | None]  # samples of a step, and `at` of Heard if they make a block whole


class Engine:
    """Rows of one `Listeners`, moved by one thread: a tick takes what has come and hands every stream its answers.

        engine = Engine(listeners, meters, token)
        engine.start(deliver)       # deliver([(stream, answer), ...]) is called in the thread, once a tick
        engine.put(stream, "join"); engine.put(stream, Sound(...)); engine.put(stream, "leave")

    What fails, fails for its stream alone; where a whole step fails, for the streams in it. The thread goes on.
    """

    def __init__(self, listeners: Listeners, meters: Meters, token: str | None = None) -> None:
        self.listeners, self.meters, self.key = listeners, meters, key_of(token)
        self.rate, self.block = listeners.recogniser.rate, listeners.spec.block
        self.wake = threading.Condition()
        self.busy: dict[Stream, None] = {}  # in the order of their first item
        self.ending = False
        self.since: float | None = None  # when the tick that runs now began
        self.thread = threading.Thread(target=self._run, name="lamina-engine", daemon=True)

    def warm(self) -> None:
        """One stream from its beginning to its end, so that no listener waits for kernels to be compiled."""
        row = self.listeners.join()
        self.listeners.push({row: torch.zeros(self.rate)})
        self.listeners.save(row)  # hashes the weights
        self.listeners.finish(row)
        self.listeners.leave(row)

    def start(self, deliver: Callable[[list[tuple[Stream, Answer]]], object]) -> None:
        self.deliver = deliver
        self.thread.start()

    def stop(self) -> None:
        """Ends the thread behind its tick."""
        with self.wake:
            self.ending = True
            self.wake.notify()
        self.thread.join(10)

    def put(self, stream: Stream, item: Sound | Ask) -> float:
        """Hands over the next item of a stream; returns the seconds of its sound that now wait."""
        with self.wake:
            if item == "leave":
                stream.inbox.clear()
                stream.waiting = 0.0
            stream.inbox.append(item)
            stream.waiting += item.seconds if isinstance(item, Sound) else 0.0
            self.busy[stream] = None
            self.wake.notify()
            return stream.waiting

    def _run(self) -> None:
        torch.set_num_threads(1)
        rested = 0.0
        while True:
            with self.wake:
                self.wake.wait_for(lambda: self.busy or self.ending)
                if self.ending:
                    return
            sleep(max(0.0, rested - perf_counter()))
            with self.wake:
                streams, self.busy = list(self.busy), {}
                work = [(stream, *self._taken(stream)) for stream in streams]
            self.since = perf_counter()
            answers = self._tick(work)
            ended = perf_counter()
            self.meters.tick.observe(ended - self.since)
            rested = ended + min(REST, 2 * (ended - self.since))
            self.since = None
            if answers:
                self.deliver(answers)

    def _taken(self, stream: Stream) -> tuple[list[Sound], Ask | None]:
        """The sound of one turn, and what was asked behind it; what remains keeps the stream busy."""
        sounds: list[Sound] = []
        ask: Ask | None = None
        inbox, turn = stream.inbox, 0.0
        while inbox and ask is None and turn < TURN and (stream.passed or not stream.ready):
            item = inbox.popleft()
            if isinstance(item, Sound):
                sounds.append(item)
                turn += item.seconds
            else:
                ask = item
        stream.waiting -= turn
        if inbox:
            self.busy[stream] = None
        return sounds, ask

    def _tick(self, work: list[tuple[Stream, list[Sound], Ask | None]]) -> list[tuple[Stream, Answer]]:
        answers: list[tuple[Stream, Answer]] = []
        for stream, sounds, _ in work:
            if sounds and not stream.over:
                answers += self._guarded(stream, self._heard, sounds)
        answers += self._push([stream for stream, *_ in work])
        for stream, _, ask in work:
            if ask is not None and not stream.over:
                answers += self._guarded(stream, self._asked, ask)
        return answers

    def _heard(self, stream: Stream, sounds: list[Sound]) -> list[Any]:
        for one in sounds:
            stream.ready.append((stream.resampler.push(sound.samples(one.data, stream.hello.format)), one.at))
        return []

    def _push(self, streams: list[Stream]) -> list[tuple[Stream, Answer]]:
        """The captions of rows that were stepped, in one step of as many blocks each as `_step` says.

        Who has more keeps the rest for the next tick, who has fewer keeps all.
        """
        blocks = {stream: self._blocks(stream) for stream in streams if stream.ready and not stream.over}
        step = _step(blocks)
        came: dict[int, _Came] = {}
        for stream, n in blocks.items():
            assert stream.row is not None
            stream.passed = 0 < n < step
            if stream.passed:
                self._again(stream)
                continue
            first, at = stream.take(self.listeners.short(stream.row))
            more, _ = stream.take((step - 1) * self.block if n > step else inf)
            came[stream.row] = stream, torch.from_numpy(_joined([first, more])), at
            if stream.ready:
                self._again(stream)
        return self._stepped(came)

    def _again(self, stream: Stream) -> None:
        """It has a turn in the next tick."""
        with self.wake:
            self.busy[stream] = None

    def _blocks(self, stream: Stream) -> int:
        """How many the samples that are ready make whole."""
        assert stream.row is not None
        beyond = sum(len(piece) for piece, _ in stream.ready) - self.listeners.short(stream.row)
        return 1 + beyond // self.block if beyond >= 0 else 0

    def _stepped(self, came: dict[int, _Came]) -> list[tuple[Stream, Answer]]:
        """The captions of a step. What is no sound fails for its stream, and the others hear theirs."""
        failed: list[tuple[Stream, Answer]] = []
        while came:
            try:
                captions = self.listeners.push({row: x for row, (_, x, _) in came.items()})
                break
            except NoSound as error:
                failed += self._failed(came.pop(error.row)[0], Problem("samples", error.what))
            except Exception as error:
                log.exception("a step failed")
                return failed + [
                    one for stream, _, _ in came.values() for one in self._failed(stream, _internal(error))
                ]
        else:
            return failed
        self.meters.ticks.inc()
        self.meters.rows.observe(len(came))
        self.meters.sound.inc(sum(len(x) for _, x, _ in came.values()) / self.rate)
        return failed + [(stream, Heard(captions[row], at)) for row, (stream, _, at) in came.items() if at is not None]

    def _asked(self, stream: Stream, ask: Ask) -> list[tuple[Stream, Answer]]:
        if ask == "join":
            return self._join(stream)
        if ask == "leave":
            self._leave(stream)
            return []
        at = perf_counter()
        if ask == "end":
            stream.ready.append((stream.resampler.finish(), at))
        answers = self._push([stream])
        if stream.over:
            return answers
        assert stream.row is not None
        if ask == "save":
            r = stream.resampler
            saved = Saved(self.listeners.save(stream.row), r.rate, r.heard, r.given, r.tail)
            return [*answers, (stream, SavedStream(sealed(saved, self.key), r.heard))]
        caption = self.listeners.finish(stream.row)
        self._leave(stream)
        return [(stream, Heard(caption, at))]

    def _join(self, stream: Stream) -> list[tuple[Stream, Answer]]:
        rate = stream.hello.rate
        if self.listeners.full:
            raise Problem("full", f"all {len(self.listeners.rows)} places are taken; try again later")
        if stream.hello.resume is None:
            stream.resampler = Resampler(rate, self.rate)
            stream.row = self.listeners.join()
        else:
            saved = opened(decoded(stream.hello.resume), self.key)
            if saved.rate != rate:
                raise Problem("resume", f"saved at {saved.rate} Hz, the hello says {rate}; send as before")
            stream.resampler = Resampler.resumed(rate, self.rate, saved.heard, saved.given, saved.tail)
            stream.row = self.listeners.resume(saved.listener)
        self.meters.listeners.inc()
        return [(stream, Ready(stream.resampler.heard, delay(rate, self.rate)))]

    def _leave(self, stream: Stream) -> None:
        stream.over = True
        stream.ready.clear()
        if stream.row is not None:
            self.listeners.leave(stream.row)
            self.meters.listeners.dec()
        stream.row = None

    def _guarded(self, stream: Stream, work: Callable[..., list[Any]], *more: Any) -> list[tuple[Stream, Answer]]:
        """What work(stream, *more) answers, or why it failed."""
        try:
            return work(stream, *more)
        except Problem as problem:
            return self._failed(stream, problem)
        except UserError as error:  # the listeners' own: a stream of another recogniser
            return self._failed(stream, Problem("resume", str(error)))
        except Exception as error:
            log.exception("a stream failed")
            return self._failed(stream, _internal(error))

    def _failed(self, stream: Stream, problem: Problem) -> list[tuple[Stream, Answer]]:
        self._leave(stream)
        return [(stream, problem)]


def _step(blocks: dict[Stream, int]) -> int:
    """How many blocks to step, of as many as each stream has: what half of those with any have, or more. A step of two
    takes less than two of one, and who falls behind has several. But nobody is passed over twice in a row.
    """
    some = sorted(n for n in blocks.values() if n)
    passed = [n for stream, n in blocks.items() if n and stream.passed]
    return min(passed, default=some[(len(some) - 1) // 2] if some else 0)


def _joined(pieces: list[Samples]) -> Samples:
    """One array of several; not a copy where all but one are empty, which is what nearly every tick has."""
    some = [piece for piece in pieces if len(piece)]
    return some[0] if len(some) == 1 else np.concatenate([np.zeros(0, np.float32), *some])


def _internal(error: Exception) -> Problem:
    return Problem("internal", f"the server failed ({type(error).__name__}); connect again, resume what was saved")
