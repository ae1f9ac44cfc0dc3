"""Listeners: many streams of sound stepped together, each a row of one batch that stays where it is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import cast

import torch
from torch import Tensor

from lamina.core import Seq, State, UserError
from lamina.core import state as trees
from lamina.speech.decode import BestPath, Decoder, DecoderState, Label, Word
from lamina.speech.recogniser import Recogniser
from lamina.speech.telling import Telling, Transcript

__all__ = ["Caption", "Listeners"]


@dataclass(frozen=True)
class Caption:
    """What a listener has heard by now.

    stable: what will not change; provisional: what is likely to follow; words: of the stable text, the last of which
    may still grow; ended: the stream has; seconds: of sound heard.
    """

    stable: str
    provisional: str
    words: tuple[Word, ...]
    ended: bool
    seconds: float


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

    def join(self) -> int:
        """A row for a new listener; UserError where all are taken."""
        if None not in self.rows:
            raise UserError(f"all {len(self.rows)} rows are taken; let one leave first")
        row = self.rows.index(None)
        self._begin(row)
        return row

    def leave(self, row: int) -> None:
        """Gives the row back, whatever it was hearing."""
        self._row(row)
        self.rows[row] = None

    def push(self, sounds: dict[int, Tensor]) -> dict[int, Caption]:
        """More samples in -1..1, [n] float, of some rows; their captions. UserError for NaN, before any is heard."""
        self._check(sounds)
        for row, sound in sounds.items():
            one = self._row(row)
            one.waiting.append(sound)
            one.waits += len(sound)
            one.heard += len(sound)
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
        return Caption(told.text, "", told.words, True, one.heard / self.recogniser.rate)

    def caption(self, row: int) -> Caption:
        """What the row has heard by now."""
        one = self._row(row)
        told = one.told = one.told or one.telling.now()
        more = one.telling.beyond(told.text, self.decoder.pending(one.decoding))
        return Caption(told.text, more, told.words, False, one.heard / self.recogniser.rate)

    def save(self, row: int) -> bytes:
        """The stream as bytes, at any sample of it; `resume` goes on with it, here or in another process."""
        one = self._row(row)
        facts = {
            "recogniser": self.recogniser.digest, "decoder": _form(one.decoding), "heard": one.heard,
            "text": one.telling.text, "words": [asdict(word) for word in one.telling.words],
            "open": [asdict(label) for label in one.telling.open],
        }  # fmt: skip
        written = torch.tensor(list(json.dumps(facts).encode()), dtype=torch.uint8)
        tree: State = {"layer": trees.gather(self.state, [row]), "decoding": dict(one.decoding),
                       "sound": _joined(one.waiting), "facts": written}  # fmt: skip
        return trees.to_bytes(tree)

    def resume(self, data: bytes) -> int:
        """A row for a stream that `save` wrote; its text is that of the stream without the break. UserError for bytes
        of anything else, or of another recogniser or decoder.
        """
        tree = trees.from_bytes(data)
        if not {"layer", "decoding", "sound", "facts"} <= tree.keys():
            raise UserError("saved stream: not one that Listeners.save wrote")
        facts = json.loads(bytes(cast(Tensor, tree["facts"]).tolist()))
        decoding = cast(DecoderState, tree["decoding"])
        for what, mine in (("recogniser", self.recogniser.digest), ("decoder", _form(self.decoder.init_state()))):
            if facts[what] != mine:
                raise UserError(f"saved stream: is of another {what}; resume it with the one that heard it")
        row, sound = self.join(), cast(Tensor, tree["sound"])
        heard = [Word(**word) for word in facts["words"]], [Label(**one) for one in facts["open"]]
        telling = Telling(self.recogniser.units, self.recogniser.seconds, facts["text"], *heard)
        self.rows[row] = _Row(decoding, telling, [sound], len(sound), facts["heard"])
        trees.put(self.state, torch.tensor([row]), cast(State, tree["layer"]))
        return row

    def _begin(self, row: int) -> None:
        telling = Telling(self.recogniser.units, self.recogniser.seconds)
        self.rows[row] = _Row(self.decoder.init_state(), telling)
        trees.put(self.state, torch.tensor([row]), self.fresh)

    def _row(self, row: int) -> _Row:
        one = self.rows[row] if 0 <= row < len(self.rows) else None
        if one is None:
            raise UserError(f"row {row}: nobody is there; join first")
        return one

    def _check(self, sounds: dict[int, Tensor]) -> None:
        for row, sound in sounds.items():
            self._row(row)
            if sound.dim() != 1 or not sound.is_floating_point():
                raise UserError(f"row {row}: samples of shape {list(sound.shape)} {sound.dtype}; give [n], float")
        if sounds and not bool(torch.cat(list(sounds.values())).isfinite().all()):
            row = next(row for row, sound in sounds.items() if not bool(sound.isfinite().all()))
            raise UserError(f"row {row}: holds NaN or inf; send samples in -1..1")

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
            if labels:
                one.telling.add(labels)
                one.told = None


def _form(state: DecoderState) -> dict[str, list[int]]:
    """The shapes of a decoder's state, by which it is known."""
    return {name: list(tensor.shape) for name, tensor in state.items()}


def _joined(sounds: list[Tensor]) -> Tensor:
    return torch.cat(sounds) if sounds else torch.zeros(0)


def _taken(one: _Row, n: int) -> Tensor:
    """The first n of the samples that wait."""
    sound = one.waiting[0] if len(one.waiting) == 1 else torch.cat(one.waiting)
    one.waits -= n
    one.waiting = [sound[n:].clone()] if one.waits else []  # not a view, which would keep all that was pushed
    return sound[:n]
