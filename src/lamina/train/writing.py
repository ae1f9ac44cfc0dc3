"""Writing: a language model, and the way from a text to its tokens and back: bytes, or others' sub-words."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lamina.core import Layer
from lamina.core.config import UserError
from lamina.data.vocabulary import Vocabulary
from lamina.interop import Pretrained
from lamina.tasks import LanguageModel
from lamina.train.opened import opened
from lamina.train.run import load_language_model

__all__ = ["Writing"]


class Spelling(Protocol):
    """tokens of a text, and the text of tokens as they come: what is whole at once, the rest at the end."""

    unit: str

    def tokens(self, text: str) -> list[int]: ...
    def tell(self, tokens: Sequence[int]) -> str: ...
    def rest(self) -> str: ...


class Bytes:
    """A token is a byte; an unfinished character waits for its rest."""

    unit = "bytes"

    def __init__(self) -> None:
        self.decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def tokens(self, text: str) -> list[int]:
        return list(text.encode(errors="surrogateescape"))  # a byte of the shell's that is no UTF-8 stays

    def tell(self, tokens: Sequence[int]) -> str:
        return self.decoder.decode(bytes(tokens))

    def rest(self) -> str:
        return self.decoder.decode(b"", final=True)


class Pieces:
    """Sub-words: how one is spelled may hang on those before it, so all are spelled and what is new is given."""

    unit = "sub-words"

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary, self.seen, self.given = vocabulary, list[int](), ""

    def tokens(self, text: str) -> list[int]:
        return self.vocabulary.pieces([text])[0]

    def tell(self, tokens: Sequence[int]) -> str:
        self.seen += tokens
        whole = self.vocabulary.spelled(self.seen)
        return "" if whole.endswith("\N{REPLACEMENT CHARACTER}") else self._new(whole)

    def rest(self) -> str:
        return self._new(self.vocabulary.spelled(self.seen))

    def _new(self, whole: str) -> str:
        found, self.given = whole[len(self.given) :], whole
        return found


@dataclass(frozen=True)
class Writing:
    """model: tells the next token. end: the token that ends a text, None where there is none."""

    model: LanguageModel | Layer
    spelling: Spelling
    end: int | None = None

    @classmethod
    def read(cls, folder: str | Path) -> Writing:
        """From a run of a language model on bytes, or others' folder (or its name on the Hub) with tokenizer.json."""
        folder, model = opened(folder)
        if model is None:
            return cls(load_language_model(folder), Bytes())
        if not isinstance(model, Pretrained) or model.d_out != model.n_vocab:
            raise UserError(f"{folder}: tells no next token; give a run of a language model, or others' with its head")
        model.stream_spec()
        end = model.source.get("eos_token_id")
        vocabulary = Vocabulary.read(folder, needs=())
        return cls(model, Pieces(vocabulary), int(end) if isinstance(end, int) else None)
