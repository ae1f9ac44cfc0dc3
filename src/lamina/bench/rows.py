"""All rows of the table: ops, with a state and of one frame, layers and models made of them; what generates."""

from __future__ import annotations

from lamina.bench.encoder_rows import encoder_rows
from lamina.bench.frame_rows import frame_rows
from lamina.bench.layer_rows import layer_rows
from lamina.bench.op_rows import op_rows
from lamina.bench.row import Row
from lamina.bench.translate_rows import translate_rows
from lamina.bench.unet_rows import unet_rows

__all__ = ["all_rows", "generate_rows", "model_rows"]


def all_rows() -> tuple[Row, ...]:
    return (*op_rows(), *frame_rows(), *model_rows())


def model_rows() -> tuple[Row, ...]:
    return (*layer_rows(), *encoder_rows(), *translate_rows())


def generate_rows() -> tuple[Row, ...]:
    return unet_rows()
