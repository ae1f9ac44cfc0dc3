"""Listeners: many streams of sound stepped together, each a row of one batch that stays where it is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, cast

import torch
from torch import Tensor

from lamina.core import Seq, State, UserError
from lamina.core import state as trees
from lamina.speech.decode import BestPath, Decoder, DecoderState, Label, Word
from lamina.speech.recogniser import Recogniser
from lamina.speech.telling import Telling, Transcript

__all__ = ["Caption", "Listeners", "NoSound"]

LOUDEST = 8.0  # samples beyond it are no samples in -1..1, but perhaps whole numbers sent as float


class NoSound(UserError):
    """What a row was given is no sound; nothing of the push was heard."""

    def __init__(self, row: int, what: str) -> None:
        super().__init__(f"row {row}: {what}")
        self.row, self.what = row, what


@dataclass(frozen=True)
class Caption:
    """What a listener has heard by now.

    stable: what will not change; provisional: what is likely to follow; words: of the stable text, the last of which
    may still grow; ended: the stream has; seconds: of sound heard; ends: behind so many characters of the stable text
    utterances have ended, told as soon as the silence behind them is heard.
    """

    stable: str
    provisional: str
    words: tuple[Word, ...]
    ended: bool
    seconds: float
    ends: tuple[int, ...] = ()


@dataclass
class _Row:
    """A stream: the decoder's state, what it has told, samples short of a block, and how many were heard."""

    decoding: DecoderState
    telling: Telling
    waiting: list[Tensor] = field(default_factory=list)
    waits: int = 0
    heard: int = 0
    told: Transcript | None = None  # the stable text, until there are more labels


class Listeners:
    """Up to `rows` streams of one recogniser.

        row = listeners.join()
        captions = listeners.push({row: samples, other: samples})     # [n] each, any n; one step for all with a block
        last = listeners.finish(row)                                  # the row is then as if it had just joined
        listeners.leave(row)

    A row's text does not hang on the other rows, nor on how its samples were cut. `state` is one tree for all rows; a
    step writes those with a block to hear, where they lie (`Layer.step_rows`). Nothing a row holds grows with its age
    but its text.
    """

    def __init__(self, recogniser: Recogniser, rows: int, decoder: Decoder | None = None) -> None:
        if rows < 1:
            raise UserError(f"Listeners: rows={rows} must be at least 1")
        self.recogniser, self.layer, self.decoder = recogniser, recogniser.layer, decoder or BestPath()
        self.spec = self.layer.stream_spec()
        self.fresh = self.layer.init_state(1)
        self.state = trees.map_tensors(lambda t: t.repeat(rows, *[1] * (t.dim() - 1)), self.fresh)
        self.rows: list[_Row | None] = [None] * rows

    @property
    def full(self) -> bool:
        """Whether all rows are taken."""
        return None not in self.rows

    def join(self) -> int:
        """A row for a new listener; UserError where all are taken."""
        row = self._free()
        self._begin(row)
        return row

    def leave(self, row: int) -> None:
        """Gives the row back, whatever it was hearing."""
        self._row(row)
        self.rows[row] = None

    def push(self, sounds: dict[int, Tensor]) -> dict[int, Caption]:
        """More samples in -1..1, [n] float, of some rows; their captions. NoSound for NaN and for samples far beyond
        -1..1, before any row hears its own.
        """
        sounds = self._checked(sounds)
        for row, sound in sounds.items():
            one = self._row(row)
            one.waiting.append(sound)
            one.waits += sound.numel()  # len() of a tensor takes Python a microsecond
            one.heard += sound.numel()
        self._advance(list(sounds))
        return {row: self.caption(row) for row in sounds}

    @torch.no_grad()
    def finish(self, row: int) -> Caption:
        """The end of a stream: all that is left of it; the row then begins anew."""
        one = self._row(row)
        behind = self.spec.flush_frames + -(one.waits + self.spec.flush_frames) % self.spec.block
        sound = _joined(one.waiting)
        x = Seq.cat([Seq.of(sound[None, :, None]), Seq.absent(1, behind, (1,), sound)])
        y = self.layer.step_rows(x, self.state, torch.tensor([row]))
        self._decode([one], y)
        one.telling.add(self.decoder.finish(one.decoding))
        told = one.telling.now()
        self._begin(row)
        return Caption(told.text, "", told.words, True, one.heard / self.recogniser.rate, told.ends)

    def caption(self, row: int) -> Caption:
        """What the row has heard by now."""
        one = self._row(row)
        told = one.told = one.told or one.telling.now()
        more = one.telling.beyond(told.text, self.decoder.pending(one.decoding))
        return Caption(told.text, more, told.words, False, one.heard / self.recogniser.rate, told.ends)

    def short(self, row: int) -> int:
        """Samples that the row needs to its next step, 1 or more."""
        return self.spec.block - self._row(row).waits

    def save(self, row: int) -> bytes:
        """The stream as bytes, at any sample of it; `resume` goes on with it, here or in another process."""
        one = self._row(row)
        facts = {
            "recogniser": self.recogniser.digest, "decoder": self.decoder.digest, "heard": one.heard,
            "text": one.telling.text, "words": [vars(word) for word in one.telling.words],
            "open": [vars(label) for label in one.telling.open], "ends": one.telling.ends,
        }  # fmt: skip
        written = torch.frombuffer(bytearray(json.dumps(facts).encode()), dtype=torch.uint8)
        tree: State = {"layer": trees.gather(self.state, [row]), "decoding": dict(one.decoding),
                       "sound": _joined(one.waiting), "facts": written}  # fmt: skip
        return trees.to_bytes(tree)

    def resume(self, data: bytes) -> int:
        """A row for a stream that `save` wrote; its text is that of the stream without the break. UserError for bytes
        of anything else, or of another recogniser or decoder.
        """
        tree = trees.from_bytes(data)
        try:
            one = self._read(tree)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError("saved stream: not one that Listeners.save wrote; begin a new stream") from None
        row = self._free()
        self.rows[row] = one
        trees.put(self.state, torch.tensor([row]), cast(State, tree["layer"]))
        return row

    def _read(self, tree: State) -> _Row:
        """The row of a saved tree whose tensors are all of the kind that this recogniser and this decoder write."""
        facts: dict[str, Any] = json.loads(cast(Tensor, tree["facts"]).numpy().tobytes())
        for what, mine in (("recogniser", self.recogniser.digest), ("decoder", self.decoder.digest)):
            if facts[what] != mine:
                raise UserError(f"saved stream: is of another {what}; resume it with the one that heard it")
        decoding, sound = cast(DecoderState, tree["decoding"]), cast(Tensor, tree["sound"])
        mine = {"layer": self.fresh, "decoding": dict(self.decoder.init_state()), "sound": torch.zeros(len(sound))}
        if _form({name: tree[name] for name in mine}) != _form(cast(State, mine)) or len(sound) >= self.spec.block:
            raise ValueError
        words, labels = [Word(**word) for word in facts["words"]], [Label(**label) for label in facts["open"]]
        telling = Telling(self.recogniser.units, self.recogniser.seconds, facts["text"], words, labels, facts["ends"])
        return _Row(decoding, telling, [sound], len(sound), facts["heard"])

    def _free(self) -> int:
        if self.full:
            raise UserError(f"all {len(self.rows)} rows are taken; let one leave first")
        return self.rows.index(None)

    def _begin(self, row: int) -> None:
        telling = Telling(self.recogniser.units, self.recogniser.seconds)
        self.rows[row] = _Row(self.decoder.init_state(), telling)
        trees.put(self.state, torch.tensor([row]), self.fresh)

    def _row(self, row: int) -> _Row:
        one = self.rows[row] if 0 <= row < len(self.rows) else None
        if one is None:
            raise UserError(f"row {row}: nobody is there; join first")
        return one

    def _checked(self, sounds: dict[int, Tensor]) -> dict[int, Tensor]:
        """The sounds in float32; looked through together, and one by one only where a row's is none."""
        for row, sound in sounds.items():
            self._row(row)
            if sound.dim() != 1 or not sound.is_floating_point():
                raise UserError(f"row {row}: samples of shape {list(sound.shape)} {sound.dtype}; give [n], float")
        sounds = {row: sound.float() for row, sound in sounds.items()}
        if sounds and _loudest(torch.cat(list(sounds.values()))) > LOUDEST:
            row, loudest = next((row, most) for row, x in sounds.items() if (most := _loudest(x)) > LOUDEST)
            what = "holds NaN or inf" if loudest == inf else f"has a sample of {loudest:.3g}"
            raise NoSound(row, f"{what}; send samples in -1..1")
        return sounds

    @torch.no_grad()
    def _advance(self, rows: list[int]) -> None:
        """Steps of as many blocks as every row in them has, until none has one."""
        block = self.spec.block
        while rows := [row for row in rows if self._row(row).waits >= block]:
            ready = [self._row(row) for row in rows]
            n = min(one.waits // block for one in ready) * block
            x = torch.stack([_taken(one, n) for one in ready])[..., None]
            self._decode(ready, self.layer.step_rows(Seq.of(x), self.state, torch.tensor(rows)))

    def _decode(self, ready: Sequence[_Row], y: Seq) -> None:
        """What the rows' real frames come to."""
        log_p = y.values.log_softmax(-1)
        if y.dense or bool(y.mask.all()):
            found = self.decoder.step_each(log_p, [one.decoding for one in ready])
        else:  # a delay at the start, the end of a stream
            each = zip(ready, log_p, y.mask, strict=True)
            found = [self.decoder.step(row[real], one.decoding) for one, row, real in each]
        for one, (labels, one.decoding) in zip(ready, found, strict=True):
            one.telling.add(labels)
            if one.telling.silent(self.decoder.settled(one.decoding)) or labels:
                one.told = None


def _form(state: State) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (tensor.shape, tensor.dtype) for name, tensor in trees.flatten(state).items()}


def _loudest(sound: Tensor) -> float:
    """The largest magnitude; inf where there is NaN."""
    most = float(sound.abs().max()) if sound.numel() else 0.0
    return most if most == most else inf


def _joined(sounds: list[Tensor]) -> Tensor:
    return torch.cat(sounds) if sounds else torch.zeros(0)


def _taken(one: _Row, n: int) -> Tensor:
    """The first n of the samples that wait."""
    sound = one.waiting[0] if len(one.waiting) == 1 else torch.cat(one.waiting)
    one.waits -= n
    one.waiting = [sound[n:].clone()] if one.waits else []  # not a view, which would keep all that was pushed
    return sound[:n]
