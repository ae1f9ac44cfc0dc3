"""Units: the labels of a recogniser as pieces of text, characters or SentencePiece's."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

from lamina.core.config import UserError

__all__ = ["Units"]

BEGINS = "▁"  # SentencePiece's mark of a space, U+2581


@dataclass(frozen=True)
class Units:
    """Labels <-> text. Label i is pieces[i-1]; 0 is the blank of CTC, which is no piece.

    Pieces are characters, or those of a SentencePiece unigram model (Kudo & Richardson 2018, arXiv:1808.06226), whose
    bytes `model` are: it cuts a text into its likeliest pieces, and "▁" begins a word.
    """

    pieces: tuple[str, ...]
    model: bytes = field(default=b"", repr=False)

    @classmethod
    def characters(cls, texts: Sequence[str]) -> Self:
        """The characters of these texts, sorted."""
        return cls(tuple(sorted(set("".join(texts)))))

    @classmethod
    def learn(cls, texts: Sequence[str], n: int) -> Self:
        """At most n SentencePiece pieces of these texts, their characters among them; the same texts give the same
        pieces.
        """
        lib, made = _library(), io.BytesIO()
        try:
            lib.SentencePieceTrainer.train(
                sentence_iterator=iter(texts), model_writer=made, vocab_size=n + 1, model_type="unigram",
                character_coverage=1.0,
                normalization_rule_name="identity", hard_vocab_limit=False, num_threads=1,
                bos_id=-1, eos_id=-1, unk_id=0, minloglevel=2,
            )  # fmt: skip
        except RuntimeError as error:
            raise UserError(f"{n} pieces cannot be learned from {len(texts)} texts ({_reason(error)}); "
                            "choose another number, or 0 for characters") from None  # fmt: skip
        model = made.getvalue()
        cutter = lib.SentencePieceProcessor(model_proto=model)
        return cls(tuple(cutter.id_to_piece(i) for i in range(1, len(cutter))), model)

    def encode(self, text: str) -> list[int]:
        """The labels of a text; UserError that names every character that no piece has."""
        strange = sorted(set(text) - self._known)
        if strange:
            raise UserError(f"{text!r}: the recogniser knows no {', '.join(map(repr, strange))}; "
                            f"its characters are {''.join(sorted(self._known))!r}")  # fmt: skip
        return [self._numbers[c] for c in text] if not self.model else self._cutter.encode(text)  # type: ignore[no-any-return]

    def decode(self, labels: Sequence[int]) -> str:
        """The text of labels; blanks are left out. With SentencePiece without the space before its first word."""
        text = "".join(self.pieces[label - 1] for label in labels if label)
        return text.replace(BEGINS, " ").removeprefix(" ") if self.model else text

    def starts_word(self, label: int) -> bool:
        """Whether a word begins with this label: a space, or a piece that begins with "▁"."""
        return label > 0 and self.pieces[label - 1][0] in (" ", BEGINS)

    def describe(self) -> dict[str, Any]:
        """As plain JSON; see `of`."""
        return {"pieces": list(self.pieces), "model": base64.b64encode(self.model).decode()}

    @classmethod
    def of(cls, facts: dict[str, Any]) -> Self:
        """What `describe` described."""
        return cls(tuple(facts["pieces"]), base64.b64decode(facts.get("model", "")))

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {piece: 1 + i for i, piece in enumerate(self.pieces)}

    @cached_property
    def _known(self) -> set[str]:
        """The characters that can be written."""
        return set("".join(self.pieces).replace(BEGINS, " ") if self.model else self.pieces)

    @cached_property
    def _cutter(self) -> Any:
        return _library().SentencePieceProcessor(model_proto=self.model)


def _library() -> Any:
    try:
        import sentencepiece
    except ImportError:
        raise UserError(
            "pieces of words need sentencepiece, which is not installed; run: pip install 'lamina[text]'"
        ) from None
    return sentencepiece


def _reason(error: RuntimeError) -> str:
    """The library's words behind the place in its source."""
    return str(error).rpartition("] ")[2].strip().rstrip(".") or "no reason given"
