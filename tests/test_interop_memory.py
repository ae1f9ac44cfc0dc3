"""fla's stacks over a matrix memory. Its kernels need a GPU: the peer is put together here of PyTorch's modules under
fla's names, around fla's own naive references; for the gated delta rule it is transformers' layer of OLMo hybrid.
"""

import json

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F
from transformers.models.olmo_hybrid import modeling_olmo_hybrid as olmo

import lamina
from interop_parts import assert_same, stirred
from lamina import UserError, interop
from lamina.bench.peers.delta_rule import file_of

pytestmark = pytest.mark.interop
D, D_FF, H, N_VOCAB, N_LAYERS, EPS = 32, 48, 4, 50, 3, 1e-5
SIZES = {"hidden_size": D, "num_hidden_layers": N_LAYERS, "num_heads": H, "vocab_size": N_VOCAB, "norm_eps": EPS}


def _heads(x):
    return x.unflatten(-1, (H, -1))


def _convolution(width):
    return nn.Conv1d(width, width, 4, groups=width, padding=3, bias=False)


def _convolved(conv, x):
    return F.silu(conv(x.mT)[..., : x.shape[1]].mT)


def _unit(x):
    """fla's l2norm."""
    return x * (x.square().sum(-1, keepdim=True) + 1e-6).rsqrt()


class _Mixer(nn.Module):
    def __init__(self, factor, *more):
        super().__init__()
        for name, width in {"q": D, "k": D, "v": factor * D, **dict(more)}.items():
            setattr(self, f"{name}_proj", nn.Linear(D, width, bias=False))
        self.o_proj = nn.Linear(factor * D, D, bias=False)


class _Delta(_Mixer):
    def __init__(self, factor, short_conv):
        super().__init__(factor, ("b", H))
        self.short_conv, self.o_norm = short_conv, nn.RMSNorm(factor * D // H, EPS)
        if short_conv:
            self.q_conv1d, self.k_conv1d, self.v_conv1d = (_convolution(w) for w in (D, D, factor * D))

    def forward(self, x):
        q, k, v = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        if self.short_conv:
            q, k, v = _convolved(self.q_conv1d, q), _convolved(self.k_conv1d, k), _convolved(self.v_conv1d, v)
        else:
            q, k, v = F.silu(q), F.silu(k), F.silu(v)
        q, k, v = (_heads(p).transpose(1, 2) for p in (q, k, v))
        rule = file_of("fla", "ops/delta_rule/naive.py").delta_rule_recurrence
        o, _ = rule(_unit(q), _unit(k), v, self.b_proj(x).sigmoid().transpose(1, 2))
        return self.o_proj(self.o_norm(o.transpose(1, 2)).flatten(2))


class _Retention(_Mixer):
    def __init__(self, affine):
        super().__init__(2, ("g", 2 * D))
        self.g_norm_swish_gate = nn.RMSNorm(2 * D // H, EPS, elementwise_affine=affine)

    def forward(self, x):
        half = D // H // 2
        angle = torch.arange(x.shape[1])[:, None] * 10000.0 ** (-torch.arange(half) / half)

        def turned(p):
            a, b = _heads(p).transpose(1, 2).chunk(2, -1)
            return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1)

        retention = file_of("fla", "ops/retention/naive.py").naive_retention
        o = retention(turned(self.q_proj(x)), turned(self.k_proj(x)), _heads(self.v_proj(x)).transpose(1, 2))
        return self.o_proj(self.g_norm_swish_gate(o.transpose(1, 2)).flatten(2) * F.silu(self.g_proj(x)))


class _Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate_proj, self.up_proj = nn.Linear(D, D_FF, bias=False), nn.Linear(D, D_FF, bias=False)
        self.down_proj = nn.Linear(D_FF, D, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class _Block(nn.Module):
    def __init__(self, mixer):
        super().__init__()
        self.attn_norm, self.attn, self.mlp_norm, self.mlp = nn.RMSNorm(D, EPS), mixer, nn.RMSNorm(D, EPS), _Mlp()

    def forward(self, x):
        x = x + self.attn(self.attn_norm(x))
        return x + self.mlp(self.mlp_norm(x))


class _OlmoBlock(nn.Module):
    """transformers' layer, whose norms and mixer have other names."""

    def __init__(self, key_heads):
        super().__init__()
        config = transformers.OlmoHybridConfig(
            vocab_size=N_VOCAB, hidden_size=D, intermediate_size=D_FF, num_hidden_layers=2, num_attention_heads=H,
            linear_key_head_dim=6, linear_value_head_dim=12, linear_num_key_heads=key_heads, rms_norm_eps=EPS,
            layer_types=["linear_attention", "full_attention"], pad_token_id=0, eos_token_id=1,
        )  # fmt: skip
        self.layer = olmo.OlmoHybridLinearAttentionDecoderLayer(config, 0)

    def forward(self, x):
        return self.layer(x)


class _Model(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.embeddings = nn.Embedding(N_VOCAB, D)
        self.layers = nn.ModuleList(make() for _ in range(N_LAYERS))
        self.norm = nn.RMSNorm(D, EPS)

    def forward(self, tokens):
        seen = [self.embeddings(tokens)]
        for layer in self.layers:
            seen.append(layer(seen[-1]))
        return self.norm(seen[-1]), seen[1:]


class _Lm(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.model, self.lm_head = _Model(make), nn.Linear(D, N_VOCAB, bias=False)

    def forward(self, tokens):
        frames, seen = self.model(tokens)
        return self.lm_head(frames), seen


def _in_fla_names(weights, key_heads):
    found, keys = {}, 6 * key_heads
    for name, weight in weights.items():
        name = name.replace("layer.input_layernorm", "attn_norm").replace("layer.post_attention_layernorm", "mlp_norm")
        name = name.replace("layer.linear_attn", "attn").replace("layer.mlp", "mlp")
        if name.endswith("attn.conv1d.weight"):
            for part, some in zip("qkv", weight.split([keys, keys, 12 * H]), strict=True):
                found[name.replace("conv1d", f"{part}_conv1d")] = some.contiguous()
        else:
            found[name] = weight
    return found


CASES = {
    "deltanet": (lambda: _Block(_Delta(1, True)), {"model_type": "delta_net"}),
    "deltanet, no convolution": (lambda: _Block(_Delta(2, False)),
                                 {"model_type": "delta_net", "use_short_conv": False, "expand_v": 2.0}),
    "gated": (lambda: _OlmoBlock(H), {"model_type": "gated_deltanet", "head_dim": 6, "allow_neg_eigval": True}),
    "gated, keys shared": (lambda: _OlmoBlock(2), {"model_type": "gated_deltanet", "head_dim": 6, "num_heads": 2,
                                                   "num_v_heads": H, "allow_neg_eigval": True}),
    "retnet": (lambda: _Block(_Retention(True)), {"model_type": "retnet"}),
    "retnet, no weights in its norm": (lambda: _Block(_Retention(False)),
                                       {"model_type": "retnet", "elementwise_affine": False}),
}  # fmt: skip


def _saved(case, folder, *, head=True, **more):
    make, keys = CASES[case]
    peer = stirred((_Lm if head else _Model)(make))
    weights = peer.state_dict()
    if case.startswith("gated"):
        weights = _in_fla_names(weights, keys.get("num_heads", H))
    folder.mkdir(parents=True)
    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(SIZES | keys | more))
    return peer, weights


@pytest.mark.parametrize("head", [True, False])
@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_same_numbers_as_a_whole_and_as_a_stream(case, head, tmp_path):
    peer, weights = _saved(case, tmp_path / "theirs", head=head)
    model, tokens = lamina.load(tmp_path / "theirs"), torch.randint(N_VOCAB, (4, 20))
    want, hidden = peer(tokens)
    assert_same(model, tokens, want, hidden, [3, 5])
    interop.export(model, tmp_path / "ours")
    again = load_file(tmp_path / "ours" / "model.safetensors")
    assert set(again) == set(weights)
    for name, weight in weights.items():
        assert torch.equal(again[name], weight)
    assert json.loads((tmp_path / "ours" / "config.json").read_text())["model_type"] == CASES[case][1]["model_type"]


@pytest.mark.parametrize(
    ("case", "keys", "message"),
    [
        ("deltanet", {"attn": {"layers": [1]}}, "attn={'layers': [1]} is not built here, only None"),
        ("deltanet", {"qk_norm": "sum"}, "qk_norm='sum' is not built here, only 'l2'"),
        ("deltanet", {"use_gate": True}, "use_gate=True is not built here, only False"),
        ("gated", {"expand_v": 1.5}, "expand_v=1.5 is not built here, only whole numbers"),
        ("gated", {"output_gate_activation": "sigmoid"}, "output_gate_activation='sigmoid' is not built here"),
        ("retnet", {"feature_map": "relu"}, "feature_map='relu' is not built here, only None"),
        (
            "retnet",
            {"model_type": "qwen3_next"},
            "model_type 'qwen3_next' is not built here: layer_types: every fourth",
        ),
        ("retnet", {"model_type": "olmo_hybrid"}, "model_type 'olmo_hybrid' is not built here: layer_types: every fou"),
    ],
)
def test_variants_that_are_not_ours_are_refused(case, keys, message, tmp_path):
    _saved(case, tmp_path / "theirs", **keys)
    with pytest.raises(UserError) as error:
        lamina.load(tmp_path / "theirs")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
