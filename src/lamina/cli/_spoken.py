"""What is said of a recogniser: words and characters that are wrong, in a line each."""

from __future__ import annotations

from typing import Any

__all__ = ["spoken"]


def spoken(found: dict[str, Any], source: str) -> list[str]:
    """The lines of `speech.score`'s {"wer", "cer", "normaliser", "utterances"}; none of what has no such. source: of
    the data, which says where voices are synthetic.
    """
    if "wer" not in found:
        return []
    rows = (("WER", "words", found["wer"]), ("CER", "characters", found["cer"]))
    lines = [_line(name, what, errors) for name, what, errors in rows]
    texts = f"of {found['utterances']:,} utterances, best path; texts by normaliser {found['normaliser']}"
    return [*lines, texts, f"sounds: {source}"]


def _line(name: str, what: str, errors: dict[str, Any]) -> str:
    kinds = ", ".join(f"{errors[kind]:,} {kind}" for kind in ("substitutions", "insertions", "deletions"))
    rate, low, high = (f"{100 * errors[key]:.3g}" for key in ("rate", "low", "high"))
    return f"{name} {rate} % (95 %: {low} to {high}): {kinds} in {errors['reference']:,} {what}"
