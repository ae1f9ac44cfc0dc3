"""The layers: each under the contract of lamina.core, each a formula and the lines that are the formula."""

from lamina.layers.additive import AdditiveDecoder
from lamina.layers.attention import CausalAttention, ChunkAttention, WindowAttention
from lamina.layers.conv import Conv, Subsample
from lamina.layers.cross import CrossAttention, CrossDecoder
from lamina.layers.delta import DeltaNet
from lamina.layers.embedding import Embedding, LearnedPosition, SegmentEmbedding
from lamina.layers.encoder_decoder import EncoderDecoder
from lamina.layers.ffn import FeedForward, SwiGLU
from lamina.layers.frontend import Frames, LogMel, MelSpectrum
from lamina.layers.memory_attention import MemoryAttention
from lamina.layers.mixers import MIXERS, Mixer
from lamina.layers.norm import BatchNorm, LayerNorm, RMSNorm, TimeNorm
from lamina.layers.pointwise import GLU, Activation, Dropout, Linear, Scale, Standardise
from lamina.layers.quantizer import ProductQuantizer
from lamina.layers.recurrent import GRU, LSTM, RNN
from lamina.layers.retention import GatedRetention, LinearAttention, Retention
from lamina.layers.running import RunningNorm
from lamina.layers.short_conv import ShortConv
from lamina.layers.sinusoid import Sinusoid
from lamina.layers.span_mask import SpanMask
from lamina.layers.ssm import Mamba
from lamina.layers.unpadded import Unpadded
from lamina.layers.waveform import ConvPosition, FeatureEncoder, WeightNormConv

__all__ = [
    "GLU", "GRU", "LSTM", "MIXERS", "RNN", "Activation", "AdditiveDecoder", "BatchNorm", "CausalAttention",
    "ChunkAttention", "Conv", "ConvPosition", "CrossAttention", "CrossDecoder", "DeltaNet", "Dropout", "Embedding",
    "EncoderDecoder", "FeatureEncoder", "FeedForward", "Frames", "GatedRetention", "LayerNorm", "LearnedPosition",
    "Linear", "LinearAttention", "LogMel", "Mamba", "MelSpectrum", "MemoryAttention", "Mixer", "ProductQuantizer",
    "RMSNorm", "Retention", "RunningNorm", "Scale", "SegmentEmbedding", "ShortConv", "Sinusoid", "SpanMask",
    "Standardise", "Subsample", "SwiGLU", "TimeNorm", "Unpadded", "WeightNormConv", "WindowAttention",
]  # fmt: skip
