"""The families: FAMILIES by the model_type of their config.json, FILES by the names of a state dict alone."""

from __future__ import annotations

from lamina.interop.bert import BERT
from lamina.interop.decoder import GPT2, LLAMA
from lamina.interop.family import Family
from lamina.interop.mamba import MAMBA
from lamina.interop.recurrent import RECURRENT

__all__ = ["FAMILIES", "FILES", "REFUSED"]

FAMILIES: dict[str, Family] = {family.name: family for family in (BERT, GPT2, LLAMA, MAMBA)}
FILES: tuple[Family, ...] = (RECURRENT,)  # the first that recognises a file has it
REFUSED: dict[str, str] = {}
