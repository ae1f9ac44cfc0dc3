"""The U-Net of DDPM: shapes and counts, time and classes, the published network, sizes that do not go together."""

import math

import pytest
import torch

import lamina
from lamina import UserError
from lamina.core.cost import params
from lamina.layers.unet import Conv3, ImageAttention, ResidualBlock, TimeEmbedding, Up

SMALL = {"size": 8, "channels": (8, 12), "n_groups": 4}


def _made(**keys):
    """No weight at its start, where a block is its skip and the answer zero."""
    torch.manual_seed(0)
    model = lamina.create("ddpm", **SMALL | keys).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.05 * torch.randn_like(weight)
    return model


def test_the_weights_are_diffusers_and_the_papers():
    """As UNet2DModel has for the same sizes; 35.7 million for CIFAR-10 (Ho et al. 2020, appendix B)."""
    assert params(lamina.create("ddpm", d_in=3)) == 2_587_491
    with torch.device("meta"):
        keys = {"channels": (128, 256, 256, 256), "n_blocks": 2, "pad": "end", "n_groups": 32, "dropout": 0.1}
        assert params(lamina.create("ddpm", d_in=3, **keys)) == 35_746_307


@pytest.mark.parametrize(
    ("size", "keys"), [(8, {}), (28, {"channels": (8, 8, 12)}), ((4, 12), {"d_in": 3, "d_out": 6})]
)
def test_shapes(size, keys):
    model = _made(size=size, **keys)
    x, t = model.example()
    assert x.shape == (1, *model.image_shape)
    assert model(x, t).shape == (1, *model.d_out)
    wide = torch.randn(2, x.shape[1], 16, 8)  # another size than it was made for
    assert model(wide, torch.tensor([3, 7.5])).shape == (2, model.d_out[0], 16, 8)


def test_at_first_it_sees_no_noise_and_every_weight_learns_later():
    fresh = lamina.create("ddpm", **SMALL, n_classes=3)
    x, t, classes = torch.randn(4, 1, 8, 8), torch.arange(4), torch.arange(4)
    assert not fresh(x, t, classes).any()
    model = _made(n_classes=3)
    model(x, t, classes).square().sum().backward()
    assert [name for name, p in model.named_parameters() if not p.grad.abs().sum() > 0] == []


@torch.no_grad()
def test_rows_of_a_batch_are_alone_and_evaluation_is_repeatable():
    model = _made(dropout=0.5)
    x, t = torch.randn(3, 1, 8, 8), torch.tensor([0, 10, 999])
    y = model(x, t)
    assert torch.equal(model(x, t), y)
    for i in range(3):
        torch.testing.assert_close(model(x[i : i + 1], t[i : i + 1])[0], y[i], rtol=0, atol=1e-5)
    assert not torch.allclose(model.train()(x, t), y)


@torch.no_grad()
def test_time_is_read_and_may_be_a_fraction():
    model, x = _made(), torch.randn(1, 1, 8, 8).expand(3, 1, 8, 8)
    a, b, c = model(x, torch.tensor([10, 10.5, 500]))
    assert float((a - b).abs().max()) > 1e-4
    assert float((a - c).abs().max()) > float((a - b).abs().max())
    torch.testing.assert_close(model(x[:1], torch.tensor([10]))[0], a)


@torch.no_grad()
def test_waves_of_time_are_their_formula():
    time = TimeEmbedding(6, 6, shift=1).double()
    torch.nn.init.eye_(time.first.weight)
    time.first.bias.fill_(50)  # silu is the identity there
    torch.nn.init.eye_(time.second.weight)
    time.second.bias.fill_(-50)
    waves = [10000 ** (-i / 2) for i in range(3)]  # from 1 to 1/10000
    want = [*(math.sin(700 * w) for w in waves), *(math.cos(700 * w) for w in waves)]
    assert time(torch.tensor([700]))[0].tolist() == pytest.approx(want, abs=1e-9)


@torch.no_grad()
def test_classes_and_no_class():
    model, x, t = _made(n_classes=3), torch.randn(1, 1, 8, 8).expand(4, 1, 8, 8), torch.full((4,), 20)
    y = model(x, t, torch.arange(4))
    assert torch.equal(model(x, t), y[3:].expand(4, -1, -1, -1))  # None is the class 3
    assert min(float((y[i] - y[j]).abs().max()) for i in range(4) for j in range(i)) > 1e-4
    with pytest.raises(ValueError, match="classes are given, but n_classes=0"):
        _made()(x, t, torch.arange(4))
    with pytest.raises(ValueError, match="no row for no class; give classes"):
        _made(n_classes=3, no_class=False)(x, t)


@torch.no_grad()
def test_blocks_are_their_formulas():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, 6, 8, generator=g)
    up, first = Up(8), torch.nn.functional.interpolate(x.permute(0, 3, 1, 2), scale_factor=2)
    torch.testing.assert_close(
        up(x).permute(0, 3, 1, 2), torch.nn.functional.conv2d(first, up.weight, up.bias, padding=1)
    )
    end = Conv3(8, 8, 2, end=True)
    padded = torch.nn.functional.pad(x.permute(0, 3, 1, 2), (0, 1, 0, 1))
    want = torch.nn.functional.conv2d(padded, end.weight, end.bias, stride=2)
    torch.testing.assert_close(end(x).permute(0, 3, 1, 2), want)
    attend = ImageAttention(8, 4, 2, 1e-6)
    assert torch.equal(attend(x), x + attend.out.bias)  # its last weights start at zero
    block = ResidualBlock(8, 8, 2, 1e-6, 0.0)
    assert torch.equal(block(x, torch.randn(2, 8)), x + block.conv2.bias)


@torch.no_grad()
def test_without_gradients_the_same_numbers():
    """Sampling takes shorter ways."""
    model = _made(channels=(16, 32), n_blocks=2, attention=(0, 1))
    for batch in (1, 3):
        x, t = torch.randn(batch, 1, 8, 8), torch.arange(batch)
        with torch.enable_grad():
            want = model(x, t)
        torch.testing.assert_close(model(x, t), want, rtol=0, atol=1e-5 * float(want.detach().abs().max()))


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"size": 9}, "ddpm: size=9 is halved 1 times; give a multiple of 2"),
        ({"size": 28, "channels": (8, 8, 8, 8)}, "ddpm: size=28 is halved 3 times; give a multiple of 8"),
        ({"attention": (2,)}, "ddpm: attention=2: there are the levels 0 to 1"),
        ({"attention_up": (-1,)}, "ddpm: attention_up=-1: there are the levels 0 to 1"),
        ({"channels": (8, 10)}, r"ddpm: channels\[1\]=10 make no n_groups=4; give a multiple"),
        ({"d_head": 5}, r"ddpm: channels\[1\]=12 make no heads of d_head=5; give a multiple"),
        ({"channels": (9, 12), "n_groups": 3}, r"ddpm: channels\[0\]=9: sines and cosines come in pairs"),
        ({"channels": (8, 0)}, r"ddpm: channels=\[8, 0\]"),
        ({"pad": "start"}, "ddpm: pad='start'"),
        ({"n_block": 2}, "ddpm: unknown key 'n_block'; did you mean 'n_blocks'?"),
    ],
)
def test_sizes_that_do_not_go_together(keys, line):
    with pytest.raises(UserError, match=line) as error:
        lamina.create("ddpm", **SMALL | keys)
    assert "\n" not in str(error.value)


def test_images_that_do_not_fit():
    model = _made()
    for shape in ((1, 1, 8, 7), (1, 3, 8, 8), (1, 8, 8)):
        with pytest.raises(ValueError, match="sides that are multiples of 2; pad or resize them"):
            model(torch.zeros(shape), torch.zeros(1))
