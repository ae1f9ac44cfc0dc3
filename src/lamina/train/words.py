"""What was trained on words, put to use on texts: a run, or others' folder with its tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from lamina.core import Seq
from lamina.core.config import UserError
from lamina.data.labelled import token_rows
from lamina.data.vocabulary import MASK, Vocabulary
from lamina.interop.bert import Bert
from lamina.tasks import Classify, MaskedLM
from lamina.train.opened import opened
from lamina.train.run import load_words

__all__ = ["Classifier", "Filler"]

AT_ONCE = 64  # texts


@dataclass(frozen=True)
class Filler:
    """Tells the words behind [MASK]. tell: tokens [B,T] -> logits [B,T,n_vocab]."""

    tell: Callable[[Seq], Seq]
    vocabulary: Vocabulary

    @classmethod
    def read(cls, folder: str | Path) -> Filler:
        """From a run of masked language modelling, or a BERT that was saved with that head."""
        folder, model = opened(folder)
        if model is None:
            task, vocabulary, facts = load_words(folder)
            if isinstance(task, MaskedLM):
                return cls(task.tell, vocabulary)
            raise UserError(f"{folder}: was trained to {facts['data']['task']}, not to tell words; give a run of mlm")
        bert, vocabulary = _bert(folder, model)
        if bert.d_out != bert.source["vocab_size"]:
            raise UserError(f"{folder}: has no head that tells words; give one that BertForMaskedLM saved")
        return cls(bert, vocabulary)

    @torch.no_grad()
    def fill(self, text: str, k: int) -> list[list[tuple[str, float]]]:
        """For each [MASK] of the text its k likeliest pieces of words with their probabilities."""
        row = self.vocabulary.row(self.vocabulary.pieces([text])[0])
        hidden = [at for at, number in enumerate(row) if number == self.vocabulary.mask]
        if not hidden:
            raise UserError(f"the text holds no {MASK}; write {MASK} in place of the word that is to be told")
        p = self.tell(Seq.of(torch.tensor([row]))).values[0, hidden].softmax(-1)
        likely = p[:, : len(self.vocabulary)].topk(min(k, len(self.vocabulary)))
        both = zip(likely.indices.tolist(), likely.values.tolist(), strict=True)
        return [[(self.vocabulary.word(n), p) for n, p in zip(*pair, strict=True)] for pair in both]


@dataclass(frozen=True)
class Classifier:
    """Tells the class of a text. logits: tokens [B,T] -> [B,n_classes]; a text is cut behind `length` tokens."""

    logits: Callable[[Seq], Tensor]
    vocabulary: Vocabulary
    labels: tuple[str, ...]
    length: int

    @classmethod
    def read(cls, folder: str | Path) -> Classifier:
        """From a run on texts with labels, or a BERT that was saved with a head on the sentence."""
        folder, model = opened(folder)
        if model is None:
            task, vocabulary, facts = load_words(folder)
            if isinstance(task, Classify):
                logits = lambda x: task({"x": x.values, "lengths": x.lengths()})  # noqa: E731
                return cls(logits, vocabulary, tuple(facts["data"]["labels"]), facts["data"]["shape"][0])
            raise UserError(f"{folder}: was trained on {facts['data']['task']}, which has no classes; fine-tune it: "
                            f"lamina train {facts['order']['model']} FILE.tsv --from {folder}")  # fmt: skip
        bert, vocabulary = _bert(folder, model)
        if "classifier.weight" not in bert.shapes or bert.sentence is None:
            raise UserError(f"{folder}: has no head of classes; give one that BertForSequenceClassification saved")
        named = bert.source.get("id2label", {})
        labels = tuple(str(named.get(str(i), f"LABEL_{i}")) for i in range(bert.sentence.out_features))
        return cls(bert.sentences, vocabulary, labels, bert.source["max_position_embeddings"])

    @torch.no_grad()
    def classify(self, texts: Sequence[str]) -> list[dict[str, float]]:
        """The probability of each label, likeliest first, for each text."""
        pieces = self.vocabulary.pieces(texts)
        found = []
        for at in range(0, len(pieces), AT_ONCE):
            some = pieces[at : at + AT_ONCE]
            x, lengths = token_rows(some, min(self.length, 2 + max(map(len, some))), self.vocabulary)
            for p in self.logits(Seq.ragged(x.long(), lengths)).softmax(-1).tolist():
                found.append(dict(sorted(zip(self.labels, p, strict=True), key=lambda pair: -pair[1])))
        return found


def _bert(folder: Path, model: nn.Module) -> tuple[Bert, Vocabulary]:
    if not isinstance(model, Bert):
        raise UserError(f"{folder}: holds a {getattr(model, 'family', '') or model.name}, no BERT with its head")
    return model, Vocabulary.read(folder)
