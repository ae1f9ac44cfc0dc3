"""Hybrids: which mixers stand in which block, and what their keys do."""

import pickle

import pytest
import torch

import lamina
from lamina.compare.structure import both_ways, structure
from lamina.core import NotStreamable, Seq, check
from lamina.core.config import UserError
from lamina.layers import LSTM, ChunkAttention, Mamba, Retention, WindowAttention
from lamina.layers.mixers import MIXERS

KINDS = tuple(mixer.layer for mixer in MIXERS.values())


def _mixers(model):
    return [type(layer) for layer in model.modules() if isinstance(layer, KINDS)]


def test_the_list_goes_round():
    model = lamina.create("hybrid", mixers="lstm,retention", n_layers=5, d_model=16)
    assert _mixers(model) == [LSTM, Retention, LSTM, Retention, LSTM]
    assert _mixers(lamina.create("hybrid")) == [Mamba, WindowAttention]
    assert _mixers(lamina.create("hybrid", mixers="chunk_attention, lstm")) == [ChunkAttention, LSTM]


def test_attention_then_lstm_is_a_named_hybrid():
    named = lamina.create("attention_lstm", d_model=16)
    assert _mixers(named) == [WindowAttention, WindowAttention, LSTM]
    same = lamina.create("hybrid", mixers="attention,attention,lstm", d_model=16)
    same.load_state_dict(named.state_dict())
    x = Seq.of(torch.randn(2, 9, 16))
    assert torch.equal(named(x).values, same(x).values)


def test_keys_go_to_all_that_have_them_and_defaults_stay_with_each():
    model = lamina.create("hybrid", mixers="mamba,attention,chunk_attention", d_model=16, n_heads=2)
    mamba, window, chunk = (m for m in model.modules() if isinstance(m, KINDS))
    assert (window.n_heads, chunk.n_heads) == (2, 2)
    assert (window.left, chunk.left) == (128, 64)
    assert mamba.conv1d.kernel == 4
    assert window.conv is None
    model = lamina.create("hybrid", mixers="mamba,attention", d_model=16, short_conv=3, left=5)
    mamba, window = (m for m in model.modules() if isinstance(m, KINDS))
    assert (mamba.conv1d.kernel, window.conv.kernel, window.left) == (3, 3, 5)


def test_a_default_that_all_share_is_the_keys_own():
    config = lamina.create("attention_lstm").config
    assert (config.n_heads, config.left, config.short_conv) == (4, 128, 0)
    assert lamina.create("hybrid").config.short_conv is None  # mamba has 4, attention 0
    free = lamina.create("attention_lstm", left=None)  # all of the past, as the key says
    with pytest.raises(NotStreamable, match="attention over the whole past"):
        free.stream_spec()


def test_a_comparison_gives_all_mixers_a_short_convolution_or_none():
    assert both_ways("hybrid") == ("hybrid-conv", "hybrid+conv")
    assert both_ways("attention_lstm") == ("attention_lstm", "attention_lstm+conv")
    assert [structure(f"hybrid{sign}conv").keys for sign in "+-"] == [{"short_conv": 4}, {"short_conv": 0}]
    assert structure("hybrid").where == "each mixer with its own short convolution or none"


def test_a_lookahead_in_one_block_delays_the_whole():
    model = lamina.create("hybrid", mixers="lstm,attention,lstm", d_model=16, right=3)
    assert model.stream_spec().delay == 3


def test_configs_travel():
    config = lamina.create("hybrid", mixers="lstm,attention", left=7, norm="post").config
    assert pickle.loads(pickle.dumps(config)) == config
    again = lamina.create("hybrid", **config.model_dump())
    assert again.config == config


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"mixers": "attension,lstm"}, "mixers='attension,lstm': unknown mixer 'attension'; did you mean 'attention'"),
        ({"mixers": "lstm,"}, "hybrid: mixers='lstm,': unknown mixer ''"),
        ({"mixers": "lstm", "left": 3}, "hybrid: unknown key 'left'"),
        ({"n_layers": 0}, "n_layers=0: input should be greater than or equal to 1"),
        ({"mixers": "retention", "d_model": 12, "n_heads": 4}, "d_model/n_heads=3 is odd"),
    ],
)  # fmt: skip
def test_what_cannot_be_built_says_why(keys, message):
    with pytest.raises(UserError) as error:
        lamina.create("hybrid", **keys)
    assert message in str(error.value)


def test_chunk_attention_then_lstm_keeps_the_laws():
    model = lamina.create(
        "attention_lstm", mixers="chunk_attention,chunk_attention,lstm", d_model=8, n_heads=2, chunk=4, left=6
    )
    assert _mixers(model) == [ChunkAttention, ChunkAttention, LSTM]
    assert (model.stream_spec().block, model.stream_spec().delay) == (4, 0)
    laws = ("shapes", "padding", "batch", "causal", "chunks", "flush", "state", "save", "pure", "hold", "absent")
    assert {found.check: found.status for found in check.check_layer(model, laws)} == dict.fromkeys(laws, "passed")
