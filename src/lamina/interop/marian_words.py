"""The words of Marian's translators, in transformers' layout."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from lamina.core.config import UserError

__all__ = ["MarianWords"]


class MarianWords:
    """SentencePiece (Kudo & Richardson 2018, arXiv:1808.06226) cuts a source by source.spm and joins a target by
    target.spm; vocab.json numbers the pieces of both.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from sentencepiece import SentencePieceProcessor
        except ImportError:
            raise UserError(
                "Marian's words need sentencepiece, which is not installed; run: pip install 'lamina[text]'"
            ) from None
        files = [folder / name for name in ("source.spm", "target.spm", "vocab.json")]
        for file in files:
            if not file.is_file():
                raise UserError(
                    f"{folder}: holds no {file.name}, so its words cannot be read; put it beside config.json"
                )
        self.source, self.target = (SentencePieceProcessor(model_file=str(file)) for file in files[:2])
        self.numbers: dict[str, int] = json.loads(files[2].read_text(encoding="utf-8"))
        self.known = {number: piece for piece, number in self.numbers.items()}

    def pieces(self, texts: Iterable[str]) -> list[list[int]]:
        """The numbers of each source, without its end."""
        unknown = self.numbers["<unk>"]
        cut = self.source.encode(list(texts), out_type=str)
        return [[self.numbers.get(piece, unknown) for piece in row] for row in cut]

    def spelled(self, numbers: Sequence[int]) -> str:
        """The text that pieces of a target make."""
        return str(self.target.decode_pieces([self.known.get(number, "<unk>") for number in numbers]))
