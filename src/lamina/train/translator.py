"""Translator: what was trained on pairs of texts, or Marian's folder, put to use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lamina.core import Seq
from lamina.core.config import UserError
from lamina.data.pairs import LONGEST, source_rows
from lamina.interop.marian import Marian
from lamina.interop.marian_words import MarianWords
from lamina.tasks import Teller, Translate, search
from lamina.tasks.align import alignment
from lamina.train.opened import opened
from lamina.train.run import load_words

__all__ = ["Translator"]

AT_ONCE = 32  # texts, of like lengths


@dataclass(frozen=True)
class Translator:
    """Source texts to target texts. words: pieces(texts) -> numbers, spelled(numbers) -> text, such as a Vocabulary.

    end: the word that ends a source. longest: words of a source, and of a target.
    """

    teller: Teller
    words: Any
    end: int
    longest: int

    @classmethod
    def read(cls, folder: str | Path) -> Translator:
        """From a run on pairs, or a folder of MarianMT (or its name on the Hub) with its SentencePiece models."""
        folder, model = opened(folder)
        if model is None:
            task, words, facts = load_words(folder)
            if isinstance(task, Translate):
                return cls(task.teller(words.start, words.separator), words, words.separator, LONGEST)
            raise UserError(
                f"{folder}: was trained on {facts['data']['name']}, which has no pairs of texts; "
                f"train one with `lamina train transformer_seq2seq pairs:FILE.tsv`"
            )
        if not isinstance(model, Marian):
            raise UserError(f"{folder}: holds a {getattr(model, 'family', '') or model.name}, which does not translate")
        places = int(model.source["max_position_embeddings"])
        return cls(model.teller(), MarianWords(folder), int(model.source["eos_token_id"]), places)

    def translate(self, texts: Sequence[str], *, beams: int = 4, length_penalty: float = 0.6) -> list[str]:
        """The likeliest target of each text, by beam search; sorted by length, so that little padding is computed."""
        if not texts:
            return []
        x, lengths = source_rows(self.words.pieces(texts), self.end, self.longest)
        order, found = lengths.argsort(stable=True), [""] * len(texts)
        for rows in order.split(AT_ONCE):
            source = Seq.ragged(x[rows, : int(lengths[rows].max())].long(), lengths[rows])
            most = min(self.longest, 2 * source.mask.shape[1] + 10)
            told = search(self.teller, source, beams=beams, most=most, length_penalty=length_penalty)
            for row, words in zip(rows.tolist(), told, strict=True):
                found[row] = self.words.spelled(words)
        return found

    def align(self, text: str, target: str) -> tuple[list[str], list[str], dict[str, Tensor]]:
        """The pieces of the source and of the target, ends included, and where each attention looked: [H,U,S].

        Of a run; Marian's vocabularies of the two sides are two, and a target's pieces are not its source's.
        """
        source = source_rows(self.words.pieces([text]), self.end, self.longest)[0][0].long()
        words = [*self.words.pieces([target])[0], self.teller.end]
        maps = alignment(self.teller, source, torch.tensor([self.teller.begin, *words[:-1]]))
        spelled = [[self.words.spelled([n]).strip() or "end" for n in row] for row in (source.tolist(), words)]
        return spelled[0], spelled[1], maps
