"""MODELS: every structure by name, from Elman's recurrence of 1990 on; a mixer's name is the stack around it."""

from inspect import cleandoc

from lamina.layers import MIXERS
from lamina.models.alexnet import ALEXNET
from lamina.models.bert import BERT
from lamina.models.conformer import CONFORMER
from lamina.models.ddpm import DDPM
from lamina.models.dsn import DSN
from lamina.models.gan import GAN
from lamina.models.hybrid import ATTENTION_LSTM, HYBRID
from lamina.models.lenet import LENET
from lamina.models.mamba import MAMBA
from lamina.models.memory import DELTANET, GATED_RETENTION, LINEAR_ATTENTION, RETNET
from lamina.models.mlp import MLP
from lamina.models.model import Knob
from lamina.models.recurrent import GRU, LSTM, RNN
from lamina.models.seq2seq import SEQ2SEQ
from lamina.models.stack import ResidualStack, residual_stack, row_of_mixer
from lamina.models.transformer import TRANSFORMER
from lamina.models.transformer_seq2seq import TRANSFORMER_SEQ2SEQ
from lamina.models.wav2vec2 import WAV2VEC2
from lamina.models.yoco import YOCO

__all__ = ["MIXER_ROWS", "MODELS"]

MIXER_ROWS = {
    name: row_of_mixer(
        name,
        name,
        ResidualStack,
        residual_stack,
        (Knob("d_model", 8, 8), Knob("d_ff", 8)),
        cleandoc(mixer.layer.__doc__ or ""),
        f"{mixer.paper}, {mixer.year}",
        kind="mixer",
    )
    for name, mixer in MIXERS.items()
}
# a name that is both is the model: create("lstm") is the plain stack of the paper
MODELS = MIXER_ROWS | {
    row.name: row
    for row in (
        MLP, RNN, LSTM, GRU, LENET, TRANSFORMER, LINEAR_ATTENTION, RETNET, MAMBA, GATED_RETENTION, DELTANET, YOCO,
        HYBRID, ATTENTION_LSTM, CONFORMER, BERT, SEQ2SEQ, TRANSFORMER_SEQ2SEQ, ALEXNET, DSN, GAN, DDPM, WAV2VEC2,
    )
}  # fmt: skip
