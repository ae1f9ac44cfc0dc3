"""BLEU: how much translations share with references, by sacrebleu, so that the number can be compared with others'."""

from __future__ import annotations

from collections.abc import Sequence

from lamina.core.config import UserError

__all__ = ["bleu"]


def bleu(translations: Sequence[str], references: Sequence[str], *, words: bool = False) -> float:
    """Corpus BLEU, 0..100 (Papineni et al. 2002; Post 2018, arXiv:1804.08771), tokens by sacrebleu's 13a.

    words: the texts are words divided by spaces already.
    """
    try:
        from sacrebleu import corpus_bleu
    except ImportError:
        raise UserError("BLEU needs sacrebleu, which is not installed; run: pip install 'lamina[text]'") from None
    if len(translations) != len(references):
        raise UserError(f"{len(translations)} translations, {len(references)} references; give one for each")
    how = {"tokenize": "none", "force": True} if words else {"tokenize": "13a"}
    return float(corpus_bleu(list(translations), [list(references)], **how).score)
