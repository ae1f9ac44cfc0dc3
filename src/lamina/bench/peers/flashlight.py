"""flashlight-text's beam search in C++, without a language model."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby

from torch import Tensor

__all__ = ["decoder"]


def decoder(n_out: int, beam: int) -> Callable[[Tensor], list[int]]:
    """log_p [T,n_out] float32 -> labels, by LexiconFreeDecoder with ZeroLM, the paths of a hypothesis added up.

    beam_threshold 50 is what torchaudio gives it.
    """
    from flashlight.lib.text.decoder import CriterionType, LexiconFreeDecoder, LexiconFreeDecoderOptions, ZeroLM

    options = LexiconFreeDecoderOptions(
        beam_size=beam, beam_size_token=n_out, beam_threshold=50, lm_weight=0, sil_score=0, log_add=True,
        criterion_type=CriterionType.CTC,
    )  # fmt: skip
    theirs = LexiconFreeDecoder(options, ZeroLM(), -1, 0, [])

    def decode(log_p: Tensor) -> list[int]:
        best = theirs.decode(log_p.data_ptr(), *log_p.shape)[0]
        return [label for label, _ in groupby(best.tokens) if label > 0]

    return decode
