"""Vocabulary: text cut into sub-words, each with a number; learned from one's own text or read from a folder."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lamina.core.config import UserError

__all__ = ["TOKENIZER", "Vocabulary"]

TOKENIZER, WORDS = "tokenizer.json", "vocab.txt"
PAD, UNKNOWN, START, SEPARATOR, MASK = SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
CHARACTERS = 1000  # the most frequent ones, a quarter of the size at most; rarer ones are [UNK]


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Words and pieces of words by WordPiece (Schuster & Nakajima 2012), as BERT reads them: "[CLS] a [SEP] b [SEP]".

    tokenizer is one of the library `tokenizers`, which has those three and [MASK].
    """

    tokenizer: Any

    @classmethod
    def learn(cls, texts: Sequence[str], size: int) -> Vocabulary:
        """At most `size` pieces, lower case, from these texts; the same texts give the same numbers."""
        tokenizer = _plain({}, lowercase=True)
        seen = Counter(c for text in texts for c in tokenizer.normalizer.normalize_str(text) if not c.isspace())
        letters = sorted(sorted(seen, key=lambda c: (-seen[c], c))[: min(CHARACTERS, size // 4)])
        # the library numbers what it meets in the order of a hash table, another at every run: so all letters, also
        # inside of words, come first, as if they were special
        known = [*SPECIAL, *(f"##{c}" for c in letters)]
        trainer = _library().trainers.WordPieceTrainer(
            vocab_size=size,
            special_tokens=known,
            initial_alphabet=letters,
            limit_alphabet=len(letters),
            show_progress=False,
        )
        tokenizer.train_from_iterator(texts, trainer)
        return cls(_plain(tokenizer.get_vocab(), lowercase=True))

    @classmethod
    def learn_bytes(cls, texts: Iterable[str], size: int) -> Vocabulary:
        """At most `size` pieces of pairs of bytes (Sennrich et al. 2016, arXiv:1508.07909): `spelled` gives every text
        back as it was, whatever its language and its case.
        """
        lib = _library()
        tokenizer = lib.Tokenizer(lib.models.BPE())
        tokenizer.pre_tokenizer = lib.pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = lib.decoders.ByteLevel()
        trainer = lib.trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=list(SPECIAL),
            initial_alphabet=sorted(lib.pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        tokenizer.train_from_iterator(texts, trainer)
        return cls(tokenizer)

    @classmethod
    def of_words(cls, words: Sequence[str]) -> Vocabulary:
        """Whole words that are known beforehand, divided by spaces."""
        return cls(_plain({word: i for i, word in enumerate([*SPECIAL, *words])}, lowercase=False))

    @classmethod
    def read(cls, folder: Path, needs: Sequence[str] = (START, SEPARATOR, MASK)) -> Vocabulary:
        """tokenizer.json of a folder, or BERT's older vocab.txt, a word a line. needs: what it must have."""
        file, words = folder / TOKENIZER, folder / WORDS
        if not file.is_file() and not words.is_file():
            raise UserError(f"{folder}: holds no {TOKENIZER}, so its words cannot be read; put it beside config.json")
        if file.is_file():
            try:
                tokenizer = _library().Tokenizer.from_file(str(file))
            except Exception as error:  # the library raises nothing narrower
                raise UserError(f"{file}: is no tokenizer that can be read ({error}); save it again") from None
            tokenizer.no_padding()
            tokenizer.no_truncation()
        else:
            file = words
            said = folder / "tokenizer_config.json"
            lowercase = json.loads(said.read_text()).get("do_lower_case", True) if said.is_file() else True
            lines = words.read_text(encoding="utf-8").splitlines()
            tokenizer = _plain({word: i for i, word in enumerate(lines)}, lowercase=lowercase)
        for token in needs:
            if tokenizer.token_to_id(token) is None:
                raise UserError(f"{file}: has no {token}, so it is not BERT's; give a folder whose tokenizer has it")
        return cls(tokenizer)

    @classmethod
    def of(cls, text: str) -> Vocabulary:
        """The one whose tokenizer.json holds that text."""
        return cls(_library().Tokenizer.from_str(text))

    def text(self) -> str:
        """What its tokenizer.json holds."""
        return str(self.tokenizer.to_str(pretty=True))

    def save(self, folder: Path) -> None:
        """Writes tokenizer.json, which `transformers` reads too."""
        (folder / TOKENIZER).write_text(self.text(), encoding="utf-8")

    def __len__(self) -> int:
        return int(self.tokenizer.get_vocab_size())

    @cached_property
    def mask(self) -> int:
        return int(self.tokenizer.token_to_id(MASK))

    @cached_property
    def start(self) -> int:
        return int(self.tokenizer.token_to_id(START))

    @cached_property
    def separator(self) -> int:
        return int(self.tokenizer.token_to_id(SEPARATOR))

    @cached_property
    def special(self) -> Tensor:
        """The numbers that stand for no word, [n] int64."""
        found = (self.tokenizer.token_to_id(token) for token in SPECIAL)
        return torch.tensor([number for number in found if number is not None])

    @cached_property
    def ordinary(self) -> Tensor:
        """All other numbers, [n] int64."""
        every = torch.arange(len(self))
        return every[~torch.isin(every, self.special)]

    def pieces(self, texts: Iterable[str]) -> list[list[int]]:
        """The numbers of each text, no special ones but those that it spells."""
        return [found.ids for found in self.tokenizer.encode_batch(list(texts), add_special_tokens=False)]

    def row(self, first: list[int], second: list[int] | None = None) -> list[int]:
        """[CLS] first [SEP], and second [SEP] where there is one."""
        return [self.start, *first, self.separator, *([] if second is None else [*second, self.separator])]

    def spelled(self, numbers: Sequence[int]) -> str:
        """The text that pieces make, special ones left out."""
        return str(self.tokenizer.decode(list(numbers)))

    def word(self, number: int) -> str:
        """One piece as it is written; the inside of a word begins with ##."""
        return str(self.tokenizer.id_to_token(number))


def _plain(numbers: dict[str, int], lowercase: bool) -> Any:
    """A tokenizer of exactly these pieces."""
    lib = _library()
    model = lib.models.WordPiece(numbers, unk_token=UNKNOWN) if numbers else lib.models.WordPiece(unk_token=UNKNOWN)
    tokenizer = lib.Tokenizer(model)
    tokenizer.normalizer = lib.normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = lib.pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = lib.decoders.WordPiece()
    if not numbers:
        return tokenizer
    tokenizer.add_special_tokens([token for token in SPECIAL if token in numbers])
    if START in numbers and SEPARATOR in numbers:
        ends = [(START, numbers[START]), (SEPARATOR, numbers[SEPARATOR])]
        pair = f"{START} $A {SEPARATOR} $B:1 {SEPARATOR}:1"
        tokenizer.post_processor = lib.processors.TemplateProcessing(f"{START} $A {SEPARATOR}", pair, ends)
    return tokenizer


def _library() -> Any:
    try:
        import tokenizers
        from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers  # noqa: F401
    except ImportError:
        raise UserError("sub-words need tokenizers, which is not installed; run: pip install 'lamina[text]'") from None
    return tokenizers
