"""Conformer: its delays, and the same numbers as torchaudio's and transformers' on each utterance alone."""

import importlib.util
from fractions import Fraction

import pytest
import torch

import lamina
from lamina.core import NotStreamable, Seq, StreamSpec
from lamina.core.config import UserError

LENGTHS = torch.tensor([20, 13, 7])
SIZES = {"d_model": 16, "n_heads": 4, "d_ff": 32, "n_layers": 2, "kernel": 5}
OFFLINE = {"left": None, "right": None, "conv_right": 2, "rotary": False}  # as the peers are


@pytest.mark.parametrize(
    ("keys", "spec"),
    [
        ({}, StreamSpec()),
        ({"chunk": 16}, StreamSpec(block=16)),
        ({"right": 3, "n_layers": 3}, StreamSpec(delay=9)),
        ({"kernel": 31, "conv_right": 15}, StreamSpec(delay=30)),
        ({"subsample": 4, "right": 1}, StreamSpec(4, Fraction(1, 4), 2)),
        ({"subsample": 2, "chunk": 4}, StreamSpec(8, Fraction(1, 2))),
    ],
)
def test_delays_add_up(keys, spec):
    assert lamina.create("conformer", **keys).stream_spec() == spec


def test_offline_it_says_why_it_does_not_stream():
    with pytest.raises(NotStreamable, match="attention over the whole input has no bounded state"):
        lamina.create("conformer", **OFFLINE).stream_spec()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"kernel": 3, "conv_right": 5}, "right=5 must lie in 0..kernel-1=2"),
        ({"chunk": 8, "right": 2}, "chunk=8 goes with a left of its own and right=0, not 64 and 2"),
        ({"chunk": 8, "left": None}, "chunk=8 goes with a left of its own"),
        ({"n_heads": 3}, "d_model=64 is not a multiple of n_heads=3"),
        ({"subsample": 3}, "subsample=3"),
    ],
)
def test_what_cannot_be_built_says_why(keys, message):
    with pytest.raises(UserError) as error:
        lamina.create("conformer", **keys)
    assert message in str(error.value)


def test_a_block_is_the_formula():
    model = lamina.create("conformer", **SIZES | {"n_layers": 1}, **OFFLINE, conv_norm="layer").double()
    x = torch.randn(1, 9, 16, dtype=torch.float64)
    half, attention, convolution, other, norm = (layer for _, layer in model.children_in_order())

    def inner(layer, v):
        """The residual's body alone."""
        return layer(Seq.of(v)).values - v

    v = x
    norm_of, ffn = half.body._modules["1"]._modules["0"].norm, half.body._modules["1"]._modules["1"]
    w1, w2 = ffn._modules["0"].linear, ffn._modules["2"].linear
    torch.testing.assert_close(inner(half, v), 0.5 * w2(torch.nn.functional.silu(w1(norm_of(v)))))
    v = v + inner(half, v)
    v = v + inner(attention, v)
    parts = convolution._modules["1"]._modules
    a, b = parts["1"].linear(parts["0"].norm(v)).chunk(2, -1)
    kernel = parts["3"].conv
    mixed = torch.nn.functional.conv1d(
        (a * b.sigmoid()).transpose(1, 2), kernel.weight, kernel.bias, padding=2, groups=16
    ).transpose(1, 2)
    want = parts["6"].linear(torch.nn.functional.silu(parts["4"].norm(mixed)))
    torch.testing.assert_close(inner(convolution, v), want)
    v = v + want
    v = v + inner(other, v)
    torch.testing.assert_close(model(Seq.of(x)).values, norm.norm(v))


def _torchaudio():
    """torchaudio's Conformer, read from its own file: the package asks for an older torch's library."""
    folder = importlib.util.find_spec("torchaudio")
    if folder is None:
        pytest.skip("torchaudio is not installed; one of its files is enough: pip install --no-deps torchaudio")
    path = f"{folder.submodule_search_locations[0]}/models/conformer.py"
    spec = importlib.util.spec_from_file_location("torchaudio_conformer", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Conformer(16, 4, 32, 2, 5).eval()


def _transformers(positions):
    """transformers' encoder layers, [B,T,D] -> [B,T,D] with its lengths as a mask, and what gives their positions."""
    if importlib.util.find_spec("transformers") is None:
        pytest.skip("transformers is not installed; pip install 'lamina[bench]'")
    from transformers import Wav2Vec2ConformerConfig
    from transformers.models.wav2vec2_conformer import modeling_wav2vec2_conformer as theirs

    config = Wav2Vec2ConformerConfig(
        hidden_size=16, num_attention_heads=4, intermediate_size=32, conv_depthwise_kernel_size=5, hidden_act="swish",
        position_embeddings_type=positions,
    )  # fmt: skip
    config._attn_implementation = "eager"
    layers = torch.nn.ModuleList(theirs.Wav2Vec2ConformerEncoderLayer(config) for _ in range(2)).eval()
    return layers, theirs.Wav2Vec2ConformerRelPositionalEmbedding(config) if positions else lambda x: None


def _settled(peer):
    """Running means and variances as if it had been trained."""
    for name, buffer in peer.named_buffers():
        if "running_mean" in name:
            buffer.normal_(0, 0.1)
        elif "running_var" in name:
            buffer.uniform_(0.5, 1.5)
    return peer


@torch.no_grad()
def test_equals_torchaudio_on_each_utterance_alone_which_leaks_in_a_batch():
    theirs, ours = _settled(_torchaudio()), lamina.create("conformer", **SIZES, **OFFLINE).eval()
    weights = [value for name, value in theirs.state_dict().items() if "num_batches" not in name]
    named = zip(ours.state_dict().items(), weights, strict=True)  # both lists have the same order
    ours.load_state_dict({name: value.reshape(own.shape) for (name, own), value in named})
    x = torch.randn(3, 20, 16)
    y, in_batch = ours(Seq.ragged(x, LENGTHS)).values, theirs(x, LENGTHS)[0]
    leaks = []
    for row, n in enumerate(LENGTHS.tolist()):
        alone = theirs(x[row : row + 1, :n], LENGTHS[row : row + 1])[0][0]
        assert float((y[row, :n] - alone).abs().max()) <= 1e-5 * float(alone.abs().max())
        leaks.append(float((in_batch[row, :n] - alone).abs().max() / alone.abs().max()))
    assert leaks[0] < 1e-5
    assert min(leaks[1:]) > 1e-2  # its convolution reads the padding's first frames


@pytest.mark.parametrize("positions", [None, "relative"])
@torch.no_grad()
def test_equals_transformers_on_each_utterance_alone(positions):
    theirs, places = _transformers(positions)
    ours = lamina.create("conformer", **SIZES, **OFFLINE, relative=bool(positions)).eval()
    _settled(theirs)
    state = {}
    for n, layer in enumerate(theirs):
        at, attention, conv = 5 * n, layer.self_attn, layer.conv_module
        for i, (norm, ffn) in ((0, (layer.ffn1_layer_norm, layer.ffn1)), (3, (layer.ffn2_layer_norm, layer.ffn2))):
            inside = {"0.norm": norm, "1.0.linear": ffn.intermediate_dense, "1.2.linear": ffn.output_dense}
            state |= {f"{at + i}.body.1.{name}.{k}": v for name, m in inside.items() for k, v in m.state_dict().items()}
        every = (attention.linear_q, attention.linear_k, attention.linear_v)
        state |= {f"{at + 1}.body.1.0.norm.{k}": v for k, v in layer.self_attn_layer_norm.state_dict().items()}
        state |= {f"{at + 1}.body.1.1.qkv.{k}": torch.cat([getattr(m, k) for m in every]) for k in ("weight", "bias")}
        state |= {f"{at + 1}.body.1.1.out.{k}": v for k, v in attention.linear_out.state_dict().items()}
        if positions:
            state[f"{at + 1}.body.1.1.relative.project.weight"] = attention.linear_pos.weight
            for name, bias in (("u", attention.pos_bias_u), ("v", attention.pos_bias_v)):
                state[f"{at + 1}.body.1.1.relative.{name}"] = bias.normal_()
        state |= {f"{at + 2}.1.0.norm.{k}": v for k, v in conv.layer_norm.state_dict().items()}
        state[f"{at + 2}.1.1.linear.weight"] = conv.pointwise_conv1.weight[..., 0]
        state[f"{at + 2}.1.3.conv.weight"] = conv.depthwise_conv.weight
        state |= {f"{at + 2}.1.4.{k}": v for k, v in conv.batch_norm.state_dict().items() if "num_batches" not in k}
        state[f"{at + 2}.1.6.linear.weight"] = conv.pointwise_conv2.weight[..., 0]
        state |= {f"{at + 4}.norm.{k}": v for k, v in layer.final_layer_norm.state_dict().items()}
    biases = {k: torch.zeros_like(v) for k, v in ours.state_dict().items() if k not in state}
    assert all(
        k.endswith((".1.1.linear.bias", ".1.3.conv.bias", ".1.6.linear.bias")) for k in biases
    )  # theirs have none
    ours.load_state_dict(state | biases)
    x = torch.randn(3, 20, 16)
    y = ours(Seq.ragged(x, LENGTHS)).values
    for row, n in enumerate(LENGTHS.tolist()):
        alone = x[row : row + 1, :n]
        for layer in theirs:
            alone = layer(alone, relative_position_embeddings=places(alone))
        assert float((y[row, :n] - alone[0]).abs().max()) <= 1e-5 * float(alone.abs().max())
