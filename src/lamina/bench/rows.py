"""All rows of the table: the ops, with a state and of one frame, then the layers and models made of them."""

from __future__ import annotations

from lamina.bench.encoder_rows import encoder_rows
from lamina.bench.frame_rows import frame_rows
from lamina.bench.layer_rows import layer_rows
from lamina.bench.op_rows import op_rows
from lamina.bench.row import Row
from lamina.bench.translate_rows import translate_rows

__all__ = ["all_rows", "model_rows"]


def all_rows() -> tuple[Row, ...]:
    return (*op_rows(), *frame_rows(), *model_rows())


def model_rows() -> tuple[Row, ...]:
    return (*layer_rows(), *encoder_rows(), *translate_rows())
