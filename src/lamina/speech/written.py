"""Transcripts in writing: text, JSON, and subtitles as SubRip and WebVTT have them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from lamina.speech.decode import Word
from lamina.speech.telling import PAUSE, Transcript

__all__ = ["FORMATS", "cues"]

LONGEST, WIDEST = 6.0, 80  # seconds and characters of one: two lines of 40, as broadcasters have them


def cues(words: Sequence[Word]) -> list[tuple[float, float, str]]:
    """Words as subtitles, (start, end, text): cut at pauses, and before they are too long or too wide to be read."""
    rows: list[list[Word]] = []
    for word in words:
        row = rows[-1] if rows else []
        wide = sum(len(one.text) + 1 for one in row) + len(word.text)
        if not row or word.start - row[-1].end >= PAUSE or word.end - row[0].start > LONGEST or wide > WIDEST:
            rows.append([word])
        else:
            row.append(word)
    return [(row[0].start, row[-1].end, " ".join(word.text for word in row)) for row in rows]


def _text(told: Transcript, facts: dict[str, Any]) -> str:
    return f"{told.text}\n"


def _json(told: Transcript, facts: dict[str, Any]) -> str:
    words = [{key: round(x, 3) if key != "text" else x for key, x in asdict(word).items()} for word in told.words]
    return json.dumps({**facts, "text": told.text, "words": words}, ensure_ascii=False) + "\n"


def _srt(told: Transcript, facts: dict[str, Any]) -> str:
    rows = enumerate(cues(told.words), 1)
    return "".join(f"{n}\n{_clock(a, ',')} --> {_clock(b, ',')}\n{text}\n\n" for n, (a, b, text) in rows)


def _vtt(told: Transcript, facts: dict[str, Any]) -> str:
    escaped = ((a, b, text.replace("&", "&amp;").replace("<", "&lt;")) for a, b, text in cues(told.words))
    return "WEBVTT\n\n" + "".join(f"{_clock(a, '.')} --> {_clock(b, '.')}\n{text}\n\n" for a, b, text in escaped)


def _clock(seconds: float, point: str) -> str:
    """3661.5 -> 01:01:01,500."""
    ms = round(1000 * seconds)
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}{point}{ms % 1000:03}"


FORMATS: dict[str, Callable[[Transcript, dict[str, Any]], str]] = {
    "text": _text, "json": _json, "srt": _srt, "vtt": _vtt,
}  # fmt: skip
"""By name: what makes text of a transcript, and of facts such as the file's name where there is room for them."""
