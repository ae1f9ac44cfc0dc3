"""What a folder's tokenizer says of the tokens that a model must know of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["separator"]


def separator(folder: Path) -> int | None:
    """The id of [SEP], None where no tokenizer lies in the folder or it has none."""
    vocabulary = folder / "vocab.txt"
    if vocabulary.is_file():
        words = vocabulary.read_text(encoding="utf-8").splitlines()
        return words.index("[SEP]") if "[SEP]" in words else None
    file = folder / "tokenizer.json"
    if not file.is_file():
        return None
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    added = {row["content"]: row["id"] for row in found.get("added_tokens", [])}
    known = found.get("model", {}).get("vocab", {})
    return added.get("[SEP]", known.get("[SEP]") if isinstance(known, dict) else None)
