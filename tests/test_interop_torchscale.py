"""torchscale's RetNet: its layers put together here under its decoder's names, since the decoder itself asks for
releases of fairscale and timm that no longer import.
"""

from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import lamina
from interop_parts import assert_same, stirred
from lamina import Seq, UserError, interop

pytestmark = pytest.mark.interop
D, D_FF, H, N_VOCAB, N_LAYERS = 32, 48, 4, 50, 3


class _Layer(nn.Module):
    def __init__(self, eps, value_factor):
        from torchscale.component.gate_linear_unit import GLU
        from torchscale.component.multiscale_retention import MultiScaleRetention
        from torchscale.component.rms_norm import RMSNorm

        super().__init__()
        args = SimpleNamespace(multiway=False, layernorm_eps=eps)
        self.retention = MultiScaleRetention(args, D, value_factor * D, H)
        self.retention_layer_norm, self.final_layer_norm = RMSNorm(D, eps), RMSNorm(D, eps)
        self.ffn = GLU(D, D_FF, "swish", 0.0, 0.0)

    def forward(self, x, places, cache):
        x = x + self.retention(self.retention_layer_norm(x), places, incremental_state=cache)
        return x + self.ffn(self.final_layer_norm(x))


class _Decoder(nn.Module):
    def __init__(self, eps=1e-12, value_factor=2):
        from torchscale.component.rms_norm import RMSNorm

        super().__init__()
        self.embed_tokens = nn.Embedding(N_VOCAB, D)
        self.layers = nn.ModuleList(_Layer(eps, value_factor) for _ in range(N_LAYERS))
        self.layer_norm, self.output_projection = RMSNorm(D, eps), nn.Linear(D, N_VOCAB, bias=False)
        self.retnet_rel_pos = nn.Module()
        angle = (1.0 / 10000 ** torch.linspace(0, 1, D // H // 2)).repeat_interleave(2)
        self.retnet_rel_pos.register_buffer("angle", angle)
        self.retnet_rel_pos.register_buffer("decay", torch.log(1 - 2 ** (-5 - torch.arange(H).float())))

    def forward(self, tokens):
        """The recurrent form, one token after another: logits, and what every layer gives."""
        caches, seen = [{} for _ in self.layers], []
        for t in range(tokens.shape[1]):
            angle = self.retnet_rel_pos.angle * t
            places = (angle.sin(), angle.cos()), self.retnet_rel_pos.decay.exp()
            seen.append([self.embed_tokens(tokens[:, t : t + 1])])
            for layer, cache in zip(self.layers, caches, strict=True):
                seen[-1].append(layer(seen[-1][-1], places, cache))
        _, *hidden = [torch.cat(at, 1) for at in zip(*seen, strict=True)]
        return self.output_projection(self.layer_norm(hidden[-1])), hidden


@pytest.mark.parametrize(("root", "value_factor"), [("", 2), ("decoder.", 1)])
@torch.no_grad()
def test_same_numbers_there_and_back(root, value_factor, tmp_path):
    peer = stirred(_Decoder(value_factor=value_factor))
    weights = {f"{root}{name}": t for name, t in peer.state_dict().items()}
    torch.save({"model": weights, "args": None}, tmp_path / "theirs.pt")
    model, tokens = lamina.load(tmp_path / "theirs.pt", activation="swish", eps=1e-12), torch.randint(N_VOCAB, (4, 20))
    want, hidden = peer(tokens)
    assert_same(model, tokens, want, hidden)
    interop.export(model, tmp_path / "ours.safetensors")
    again = load_file(tmp_path / "ours.safetensors")
    assert set(weights) - set(again) == {f"{root}retnet_rel_pos.angle", f"{root}retnet_rel_pos.decay"}
    for name, weight in again.items():
        assert torch.equal(weight, weights[name])


@torch.no_grad()
def test_what_its_forms_divide_by_shows_at_its_usual_eps(tmp_path):
    """Its recurrent form divides what it keeps by a running scale that the norm's eps does not follow: the formula has
    none, so at eps 1e-6 the two differ, and the more the longer a row is.
    """
    peer = stirred(_Decoder(1e-6))
    with torch.no_grad():
        for name, weight in peer.named_parameters():
            if "retention.k_proj" in name or "retention.v_proj" in name:
                weight *= 0.1  # small outputs, beside which eps is seen
    torch.save(peer.state_dict(), tmp_path / "theirs.pt")
    tokens = torch.randint(N_VOCAB, (1, 20))
    ours = lamina.load(tmp_path / "theirs.pt", activation="swish")(Seq.of(tokens)).values
    away = (ours - peer(tokens)[0]).abs().amax(-1)[0] / ours.abs().max()
    assert float(away[0]) <= 1e-5 < 1e-4 < float(away.max()) < 0.5


@pytest.mark.parametrize(
    ("options", "gone", "message"),
    [
        ({}, "", "a torchscale_retnet checkpoint does not say its activation; give lamina.load activation=..."),
        ({"activation": "gelu"}, "", "activation='gelu' is not built here, only 'swish'"),
        ({"activation": "swish", "epz": 1}, "", "unknown option 'epz'; did you mean 'eps'?"),
        ({"activation": "swish"}, "layer_norm.weight", "norms behind the sums (decoder_normalize_before=False"),
        ({"activation": "swish"}, "retnet_rel_pos.decay", "holds no retnet_rel_pos.decay, whose length"),
        ({"activation": "swish"}, "layers.1.ffn.gate.weight", "holds no 'layers.1.ffn.gate.weight'"),
    ],
)
def test_what_it_does_not_say_must_be_told(options, gone, message, tmp_path):
    weights = {name: t for name, t in _Decoder().state_dict().items() if name != gone}
    torch.save(weights, tmp_path / "theirs.pt")
    with pytest.raises(UserError) as error:
        lamina.load(tmp_path / "theirs.pt", **options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
