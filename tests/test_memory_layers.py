"""The layers with a constant state against their formulas, written frame by frame in another way."""

import math

import pytest
import torch
import torch.nn.functional as F

from lamina import Seq, run_steps
from lamina.core import state
from lamina.layers import DeltaNet, GatedRetention, LinearAttention, Mamba, Retention, ShortConv

B, T, D, H = 2, 9, 8, 2


def frames(width=D):
    return torch.randn(B, T, width, dtype=torch.float64)


def assert_near(got, want, atol=1e-12):
    torch.testing.assert_close(got, want, rtol=0, atol=atol)


def turned(x, t, rates):
    """Neighbouring pairs of x [...,K] turned by t * rates, as a matrix product with each 2x2 rotation."""
    pairs = x.unflatten(-1, (-1, 2))
    angle = t * rates
    turn = torch.stack([torch.stack([angle.cos(), -angle.sin()], -1), torch.stack([angle.sin(), angle.cos()], -1)], -2)
    return torch.einsum("iab,...ib->...ia", turn, pairs).flatten(-2)


def rms(x, eps):
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt()


@pytest.mark.parametrize("factor", [1, 2])
@pytest.mark.parametrize("kind", [Retention, GatedRetention])
def test_retention_is_a_decayed_sum_over_the_past(kind, factor):
    """The parallel form, with the key scaled as the paper has it: a norm behind a scale is one with another eps."""
    layer, x = kind(D, H, value_factor=factor).double(), frames()
    q, k, v, g, logits = (x @ layer.project.weight.t()).split(
        [D, D, factor * D, factor * D, layer.project.weight.shape[0] - 2 * D - 2 * factor * D], -1
    )
    q, k, v = (a.unflatten(-1, (H, -1)) for a in (q, k, v))
    rates = torch.tensor([1.0, 1e-4], dtype=torch.float64)  # K = 4: 10000^0 and 10000^-1
    q, k = (torch.stack([turned(a[:, t], t, rates) for t in range(T)], 1) for a in (q, k * 4**-0.5))
    if kind is Retention:
        decay = torch.tensor([1 - 2**-5, 1 - 2**-6], dtype=torch.float64).expand(B, T, H)
    else:
        decay = torch.sigmoid(logits) ** (1 / 16)
    o = torch.zeros_like(v)
    for t in range(T):
        for s in range(t + 1):
            score = (q[:, t] * k[:, s]).sum(-1) * decay[:, s + 1 : t + 1].prod(1)
            o[:, t] += score[..., None] * v[:, s]
    want = (rms(o, 1e-6).flatten(2) * g * g.sigmoid()) @ layer.out.weight.t()
    assert_near(layer(Seq.of(x)).values, want)


def test_linear_attention_is_a_weighted_mean():
    layer, x = LinearAttention(D, H, eps=0.0).double(), frames()
    q, k, v = (a.unflatten(-1, (H, -1)) for a in (x @ layer.project.weight.t()).chunk(3, -1))
    q, k = (torch.where(a > 0, a + 1, a.exp()) for a in (q, k))
    weights = torch.einsum("bthk,bshk->bhts", q, k).tril()
    want = torch.einsum("bhts,bshv->bthv", weights / weights.sum(-1, keepdim=True), v).flatten(2)
    assert_near(layer(Seq.of(x)).values, want @ layer.out.weight.t())


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("beta_max", [1.0, 2.0])
def test_delta_net_is_a_product_of_householder_like_matrices(gated, beta_max):
    layer, x = DeltaNet(D, H, gated=gated, beta_max=beta_max).double(), frames()
    torch.nn.init.normal_(layer.norm)
    parts = (x @ layer.project.weight.t()).split([D, D, D, H, *([H, D] if gated else [])], -1)
    q, k, v = (F.silu(a).unflatten(-1, (H, -1)) for a in parts[:3])
    q, k = q / q.norm(dim=-1, keepdim=True), k / k.norm(dim=-1, keepdim=True)
    beta = beta_max / (1 + (-parts[3]).exp())
    fade = torch.ones_like(beta)
    if gated:
        fade = (-layer.A_log.exp() * (1 + (parts[4] + layer.dt_bias).exp()).log()).exp()
    S, outputs = torch.zeros(B, H, 4, 4, dtype=torch.float64), []
    for t in range(T):
        outer = k[:, t, :, :, None] * k[:, t, :, None, :]
        keep = torch.eye(4, dtype=torch.float64) - beta[:, t, :, None, None] * outer
        write = beta[:, t, :, None, None] * k[:, t, :, :, None] * v[:, t, :, None, :]
        S = fade[:, t, :, None, None] * (keep @ S) + write
        outputs.append(torch.einsum("bhkv,bhk->bhv", S, q[:, t]))
    o = (rms(torch.stack(outputs, 1), 4e-5) * layer.norm).flatten(2)
    want = o * F.silu(parts[5]) if gated else o
    assert_near(layer(Seq.of(x)).values, want @ layer.out.weight.t())


@pytest.mark.parametrize("kernel", [0, 4])
@pytest.mark.parametrize("selective", [True, False])
def test_mamba_is_its_recurrence(selective, kernel):
    layer, x = Mamba(D, 3, short_conv=kernel, selective=selective).double(), frames()
    u, z = (x @ layer.in_proj.weight.t()).chunk(2, -1)
    if kernel:
        past = F.pad(u, (0, 0, 3, 0))
        u = layer.conv1d.bias + sum(past[:, i : i + T] * layer.conv1d.weight[:, 0, i] for i in range(4))
    u = u * u.sigmoid()
    if selective:
        d = (u @ layer.x_proj.weight.t())[..., :1]
        write, read = (u @ layer.x_proj.weight.t())[..., 1:].chunk(2, -1)
        dt = (1 + (d @ layer.dt_proj.weight.t() + layer.dt_proj.bias).exp()).log()
    else:
        write, read = layer.B.expand(B, T, 3), layer.C.expand(B, T, 3)
        dt = (1 + layer.dt_bias.exp()).log().expand(B, T, 2 * D)
    h, outputs = torch.zeros(B, 2 * D, 3, dtype=torch.float64), []
    for t in range(T):
        h = torch.exp(-layer.A_log.exp() * dt[:, t, :, None]) * h + (dt[:, t] * u[:, t])[..., None] * write[:, t, None]
        outputs.append((h * read[:, t, None]).sum(-1) + layer.D * u[:, t])
    want = (torch.stack(outputs, 1) * F.silu(z)) @ layer.out_proj.weight.t()
    assert_near(layer(Seq.of(x)).values, want)


def test_mamba_starts_as_the_paper_says():
    layer = Mamba(64)
    dt = F.softplus(layer.dt_proj.bias.detach())
    assert 1e-3 <= float(dt.min()) <= float(dt.max()) <= 1e-1
    assert layer.A_log[5].tolist() == pytest.approx([math.log(n) for n in range(1, 17)])
    assert layer.A_log.no_weight_decay
    assert layer.D.no_weight_decay
    shapes = {name: list(p.shape) for name, p in layer.named_parameters()}
    assert shapes == {
        "A_log": [128, 16], "D": [128], "in_proj.weight": [256, 64], "conv1d.weight": [128, 1, 4], "conv1d.bias": [128],
        "x_proj.weight": [36, 128], "dt_proj.weight": [128, 4], "dt_proj.bias": [128], "out_proj.weight": [64, 128],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("layer", "size"),
    [
        (Retention(64), 64 * 16 * 4 + 8),
        (Retention(64, value_factor=2), 2 * 64 * 16 * 4 + 8),
        (GatedRetention(64, 2), 64 * 32 * 4 + 8),
        (LinearAttention(64), 4 * 16 * 17 * 4),
        (DeltaNet(64, gated=True), 64 * 16 * 4),
        (Mamba(64), 128 * (16 + 3) * 4),
        (ShortConv(64), 3 * 64 * 4),
    ],
)
def test_states_are_as_large_as_the_docstrings_say(layer, size):
    assert state.nbytes(layer.init_state(1)) == size
    _, new = layer.step(Seq.of(torch.randn(1, 300, 64)), layer.init_state(1))
    assert state.nbytes(new) == size


@pytest.mark.parametrize("kind", [Retention, GatedRetention, LinearAttention, DeltaNet, Mamba])
def test_a_short_convolution_is_a_factor_of_every_mixer(kind):
    """With the taps 0, .., 0, 1 it changes nothing; with others it does."""
    plain, mixed = kind(D, short_conv=0), kind(D, short_conv=3)
    weights = dict(plain.named_parameters())
    conv = next(m for m in mixed.modules() if isinstance(m, ShortConv))
    with torch.no_grad():
        for name, p in mixed.named_parameters():
            if name in weights:
                p.copy_(weights[name])
        for p in conv.parameters():
            p.zero_()
        conv.weight[..., -1] = 1
    x = Seq.of(torch.randn(2, 12, D))
    assert_near(mixed(x).values, plain(x).values, 1e-6)
    torch.nn.init.normal_(conv.weight)
    assert not torch.allclose(mixed(x).values, plain(x).values, atol=1e-2)


def test_retention_knows_distance_in_a_stream_of_ten_million_frames():
    """Two frames after a pause of 1e7 real ones answer as at the beginning, the old memory having faded."""
    layer = Retention(D, H)
    young = layer.init_state(1)
    old = {**young, "t": young["t"] + 10_000_000}
    x = Seq.of(torch.randn(1, 5, D))
    assert_near(layer.step(x, old)[0].values, layer.step(x, young)[0].values, 2e-5)


def test_parity_is_tracked_with_a_negative_eigenvalue():
    """beta = 2 reflects: k k^T writes of the same unit key flip the sign that is read back, beta <= 1 cannot."""
    layer = DeltaNet(4, 1, beta_max=2.0).double()
    with torch.no_grad():
        layer.project.weight.zero_()
        layer.project.weight[4, 0] = layer.project.weight[0, 0] = 40.0  # q and k: e_0
        layer.project.weight[12, 0] = 40.0  # sigmoid(40): beta is 2
    x = Seq.of(torch.tensor([[[1.0, 0, 0, 0]]], dtype=torch.float64).expand(1, 4, 4))
    S = torch.zeros(1, 1, 4, 4, dtype=torch.float64)
    S[..., 0, 1] = 1.0
    signs = []
    for t in range(4):
        _, new = layer.step(x.slice(t, t + 1), {"S": S})
        S = new["S"]
        signs.append(S[0, 0, 0, 1].item())
    assert signs == pytest.approx([-1, 1, -1, 1], abs=1e-9)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Retention(10, 4), "Retention: d_model=10 is not a multiple of n_heads=4"),
        (lambda: GatedRetention(12, 4), "GatedRetention: positions turn pairs; d_model/n_heads=3 is odd"),
        (lambda: LinearAttention(8, 2, value_factor=0), "value_factor=0 must be at least 1"),
        (lambda: DeltaNet(8, 2, beta_max=3.0), "beta_max=3.0 must lie in 0..2"),
        (lambda: Mamba(8, d_state=0), "d_state=0"),
        (lambda: ShortConv(8, 0), "kernel=0 must be at least 1"),
    ],
)
def test_bad_arguments_say_what_and_why(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_prefill_is_one_long_step():
    for layer in (Retention(D, H), GatedRetention(D, H), LinearAttention(D, H), DeltaNet(D, H, gated=True), Mamba(D)):
        x = Seq.of(torch.randn(2, 70, D))
        y, after = layer.step(x, layer.init_state(2))
        assert_near(y.values, run_steps(layer, x).values, 2e-5)
        _, parts = layer.step(x.slice(0, 65), layer.init_state(2))
        for t in range(65, 70):
            _, parts = layer.step(x.slice(t, t + 1), parts)
        for name, tensor in state.flatten(after).items():
            assert_near(state.flatten(parts)[name], tensor, 2e-4)
