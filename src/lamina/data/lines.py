"""A text file as it stands, or the one line that says why not."""

from __future__ import annotations

from pathlib import Path

from lamina.core.config import UserError

__all__ = ["read_text"]


def read_text(path: Path, give: str) -> str:
    """What the file holds, in UTF-8; UserError where it is missing or holds something else. give: what is wanted."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; give {give}")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
