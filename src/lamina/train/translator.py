"""Translator: what was trained on pairs of texts, put to use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lamina.core import Seq
from lamina.core.config import UserError
from lamina.data.pairs import source_rows
from lamina.data.vocabulary import Vocabulary
from lamina.tasks import Teller, Translate, search
from lamina.tasks.align import alignment
from lamina.train.run import load_words

__all__ = ["Translator"]

AT_ONCE = 32  # texts, of like lengths


@dataclass(frozen=True)
class Translator:
    """Source texts to target texts. most: words of a target."""

    teller: Teller
    vocabulary: Vocabulary
    most: int = 200

    @classmethod
    def read(cls, folder: str | Path) -> Translator:
        """From a run on pairs."""
        task, vocabulary, facts = load_words(folder)
        if not isinstance(task, Translate):
            raise UserError(
                f"{folder}: was trained on {facts['data']['name']}, which has no pairs of texts; "
                f"train one with `lamina train transformer_seq2seq pairs:FILE.tsv`"
            )
        return cls(task.teller(vocabulary.start, vocabulary.separator), vocabulary)

    def translate(self, texts: Sequence[str], *, beams: int = 4, length_penalty: float = 0.6) -> list[str]:
        """The likeliest target of each text, by beam search; sorted by length, so that little padding is computed."""
        if not texts:
            return []
        x, lengths = source_rows(texts, self.vocabulary)
        order, found = lengths.argsort(stable=True), [""] * len(texts)
        for rows in order.split(AT_ONCE):
            source = Seq.ragged(x[rows, : int(lengths[rows].max())].long(), lengths[rows])
            most = min(self.most, 2 * source.mask.shape[1] + 10)
            told = search(self.teller, source, beams=beams, most=most, length_penalty=length_penalty)
            for row, words in zip(rows.tolist(), told, strict=True):
                found[row] = self.vocabulary.spelled(words)
        return found

    def align(self, text: str, target: str) -> tuple[list[str], list[str], dict[str, Tensor]]:
        """The pieces of the source and of the target, ends included, and where each attention looked: [H,U,S]."""
        source = source_rows([text], self.vocabulary)[0][0].long()
        words = [*self.vocabulary.pieces([target])[0], self.teller.end]
        maps = alignment(self.teller, source, torch.tensor([self.teller.begin, *words[:-1]]))
        spelled = [[self.vocabulary.spelled([n]).strip() or "end" for n in row] for row in (source.tolist(), words)]
        return spelled[0], spelled[1], maps
