"""State dicts of PyTorch's TransformerEncoder and of a Conformer in torchaudio's layout, which is put together here:
no release of torchaudio goes with this PyTorch.
"""

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import lamina
from interop_parts import LENGTHS, MASK, assert_near, stirred
from lamina import NotStreamable, Seq, UserError, interop, run_steps

pytestmark = pytest.mark.interop
D, D_FF, H = 32, 48, 4


def _encoder(norm, last, activation="relu"):
    layer = nn.TransformerEncoderLayer(D, H, D_FF, activation=activation, batch_first=True, norm_first=norm == "pre")
    return stirred(nn.TransformerEncoder(layer, 3, nn.LayerNorm(D) if last else None, enable_nested_tensor=False))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("norm", ["pre", "post"])
@torch.no_grad()
def test_transformer_encoder_there_and_back(norm, last, causal, tmp_path):
    peer, x = _encoder(norm, last, "gelu" if last else "relu"), torch.randn(4, 20, D)
    torch.save(peer.state_dict(), tmp_path / "theirs.pt")
    options = {"n_heads": H, "norm": norm, "causal": causal, "activation": "gelu" if last else "relu"}
    model = lamina.load(tmp_path / "theirs.pt", **options)
    future = nn.Transformer.generate_square_subsequent_mask(20).isinf() if causal else None
    with lamina.taps(model, interop.blocks(model)) as seen:
        y = model(Seq(x, MASK))
    at = x
    for layer, ours in zip(peer.layers, seen.values(), strict=True):
        at = layer(at, src_mask=future, src_key_padding_mask=~MASK)
        assert_near(ours.values, at, MASK)
    want = peer(x, mask=future, src_key_padding_mask=~MASK)
    assert_near(y.values, want, MASK)
    if causal:
        assert_near(run_steps(model, Seq(x, MASK), [2, 3]).values, want, MASK)
    else:
        with pytest.raises(NotStreamable):
            model.stream_spec()
    interop.export(model, tmp_path / "ours.safetensors")
    again = load_file(tmp_path / "ours.safetensors")
    for name, weight in peer.state_dict().items():
        assert torch.equal(again[name], weight)


class _ConvModule(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer_norm = nn.LayerNorm(D)
        self.sequential = nn.Sequential(
            nn.Conv1d(D, 2 * D, 1), nn.GLU(1), nn.Conv1d(D, D, 7, padding=3, groups=D), nn.BatchNorm1d(D), nn.SiLU(),
            nn.Conv1d(D, D, 1), nn.Dropout(0.1),
        )  # fmt: skip

    def forward(self, x):
        return self.sequential(self.layer_norm(x).mT).mT


class _Half(nn.Module):
    def __init__(self):
        super().__init__()
        self.sequential = nn.Sequential(
            nn.LayerNorm(D), nn.Linear(D, D_FF), nn.SiLU(), nn.Dropout(0.1), nn.Linear(D_FF, D), nn.Dropout(0.1)
        )

    def forward(self, x):
        return x + self.sequential(x) / 2


class _ConformerLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.ffn1, self.ffn2, self.conv_module = _Half(), _Half(), _ConvModule()
        self.self_attn_layer_norm, self.final_layer_norm = nn.LayerNorm(D), nn.LayerNorm(D)
        self.self_attn = nn.MultiheadAttention(D, H, batch_first=True)

    def forward(self, x):
        x = self.ffn1(x)
        normal = self.self_attn_layer_norm(x)
        x = x + self.self_attn(normal, normal, normal, need_weights=False)[0]
        return self.final_layer_norm(self.ffn2(x + self.conv_module(x)))


class _Conformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.conformer_layers = nn.ModuleList(_ConformerLayer() for _ in range(3))

    def forward(self, x):
        """What every layer gives, each row alone: in a batch its convolutions would read the padding."""
        found = [torch.zeros_like(x) for _ in self.conformer_layers]
        for row, n in enumerate(LENGTHS):
            at = x[row : row + 1, :n]
            for layer, y in zip(self.conformer_layers, found, strict=True):
                at = layer(at)
                y[row, :n] = at[0]
        return found


@torch.no_grad()
def test_conformer_there_and_back(tmp_path):
    peer, x = stirred(_Conformer()), torch.randn(4, 20, D)
    for norm in (m for m in peer.modules() if isinstance(m, nn.BatchNorm1d)):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    torch.save(peer.state_dict(), tmp_path / "theirs.pt")
    model = lamina.load(tmp_path / "theirs.pt", n_heads=H)
    want = peer(x)
    with lamina.taps(model, interop.blocks(model)) as seen:
        y = model(Seq(x, MASK))
    for ours, theirs in zip(seen.values(), want, strict=True):
        assert_near(ours.values, theirs, MASK)
    assert_near(y.values, want[-1], MASK)
    interop.export(model, tmp_path / "ours.safetensors")
    again = load_file(tmp_path / "ours.safetensors")
    for name, weight in peer.state_dict().items():
        assert name.endswith("num_batches_tracked") or torch.equal(again[name], weight)


@pytest.mark.parametrize(
    ("weights", "options", "message"),
    [
        (_encoder("pre", True), {"n_heads": H}, "a transformer_encoder checkpoint does not say its norm"),
        (_encoder("pre", True), {"norm": "pre"}, "a transformer_encoder checkpoint does not say its n_heads"),
        (_encoder("pre", True), {"n_heads": H, "norm": "first"}, "norm='first' is not built here, only 'pre' or"),
        (_encoder("pre", True), {"n_heads": 5, "norm": "pre"}, "d_model=32 is not a multiple of n_heads=5"),
        (_encoder("pre", True), {"n_heads": H, "norm": "pre", "activation": "tanh"}, "activation='tanh' is not built"),
        (nn.TransformerDecoder(nn.TransformerDecoderLayer(D, H, D_FF), 1), {"n_heads": H, "norm": "post"},
         "a TransformerDecoder, whose layers see a memory, is not built here"),
        (_Conformer(), {}, "a torchaudio_conformer checkpoint does not say its n_heads"),
    ],
)  # fmt: skip
def test_what_it_does_not_say_must_be_told(weights, options, message, tmp_path):
    torch.save(weights.state_dict(), tmp_path / "theirs.pt")
    with pytest.raises(UserError) as error:
        lamina.load(tmp_path / "theirs.pt", **options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_norm_over_all_frames_is_refused(tmp_path):
    weights = {n: t for n, t in _Conformer().state_dict().items() if "running" not in n}
    torch.save(weights, tmp_path / "theirs.pt")
    with pytest.raises(UserError, match="use_group_norm=True, a norm over all frames of a row, is not built here"):
        lamina.load(tmp_path / "theirs.pt", n_heads=H)


def test_a_weight_that_is_gone(tmp_path):
    whole = _encoder("pre", True).state_dict()
    for gone in ("layers.0.linear1.weight", "layers.1.norm2.bias"):
        torch.save({n: t for n, t in whole.items() if n != gone}, tmp_path / "theirs.pt")
        with pytest.raises(UserError, match=rf"theirs\.pt: (has|holds) no '{gone}'") as error:
            lamina.load(tmp_path / "theirs.pt", n_heads=H, norm="pre")
        assert "config.json: has no" not in str(error.value)
