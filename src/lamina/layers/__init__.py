"""The layers: each under the contract of lamina.core, each a formula and the lines that are the formula."""

from lamina.layers.attention import ChunkAttention, WindowAttention
from lamina.layers.conv import Conv, Subsample
from lamina.layers.embedding import Embedding
from lamina.layers.ffn import FeedForward, SwiGLU
from lamina.layers.mixers import MIXERS, Mixer
from lamina.layers.norm import BatchNorm, LayerNorm, RMSNorm
from lamina.layers.pointwise import GLU, Activation, Dropout, Linear
from lamina.layers.recurrent import GRU, LSTM, RNN

__all__ = [
    "GLU", "GRU", "LSTM", "MIXERS", "RNN", "Activation", "BatchNorm", "ChunkAttention", "Conv", "Dropout", "Embedding",
    "FeedForward", "LayerNorm", "Linear", "Mixer", "RMSNorm", "Subsample", "SwiGLU", "WindowAttention",
]  # fmt: skip
