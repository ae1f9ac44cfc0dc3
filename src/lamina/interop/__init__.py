"""Checkpoints that others trained: a Hugging Face folder or a state dict becomes a lamina model, and back."""

from lamina.interop.family import Family, Pretrained
from lamina.interop.hub import TOKENIZER, local
from lamina.interop.read import load
from lamina.interop.registry import FAMILIES, FILES
from lamina.interop.write import blocks, export, export_heard, export_parts

__all__ = [
    "FAMILIES", "FILES", "TOKENIZER", "Family", "Pretrained", "blocks", "export", "export_heard", "export_parts",
    "load", "local",
]  # fmt: skip
