"""AlexNet: the published counts, the norm against a loop, groups, small sizes, torchvision's state dict, the claim."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import lamina
from claim_parts import drawn, quiet
from lamina import data, interop
from lamina.compare.budget import count, solve
from lamina.core.cost import params
from lamina.layers.image import ResponseNorm
from lamina.reproduce import CLAIMS

VARIANTS = ("two_towers", "one_tower")
PUBLISHED = {"width": 32, "d_ff": 4096, "image": 224, "n_classes": 1000}


def torchvisions(width: int, d_ff: int, n_classes: int) -> nn.Module:
    """torchvision.models.alexnet layer by layer, as its source lists it, at any width.

    torchvision itself cannot stand here: its wheels are built for CUDA and do not import beside a PyTorch for CPUs.
    """
    a, b, c, d = 2 * width, 6 * width, 12 * width, 8 * width
    net = nn.Module()
    net.features = nn.Sequential(
        nn.Conv2d(3, a, kernel_size=11, stride=4, padding=2), nn.ReLU(True), nn.MaxPool2d(kernel_size=3, stride=2),
        nn.Conv2d(a, b, kernel_size=5, padding=2), nn.ReLU(True), nn.MaxPool2d(kernel_size=3, stride=2),
        nn.Conv2d(b, c, kernel_size=3, padding=1), nn.ReLU(True), nn.Conv2d(c, d, kernel_size=3, padding=1),
        nn.ReLU(True), nn.Conv2d(d, d, kernel_size=3, padding=1), nn.ReLU(True),
        nn.MaxPool2d(kernel_size=3, stride=2),
    )  # fmt: skip
    net.avgpool = nn.AdaptiveAvgPool2d((6, 6))
    net.classifier = nn.Sequential(
        nn.Dropout(p=0.5), nn.Linear(d * 36, d_ff), nn.ReLU(True), nn.Dropout(p=0.5), nn.Linear(d_ff, d_ff),
        nn.ReLU(True), nn.Linear(d_ff, n_classes),
    )  # fmt: skip
    net.forward = lambda x: net.classifier(torch.flatten(net.avgpool(net.features(x)), 1))
    return net.eval()


@pytest.mark.parametrize(("variant", "weights"), [("two_towers", 60_965_224), ("one_tower", 61_100_840)])
def test_the_published_weights(variant: str, weights: int) -> None:
    with torch.device("meta"):
        model = lamina.create("alexnet", variant=variant, **PUBLISHED)
        assert params(model) == weights
        for side in (224, 227):
            assert model(torch.zeros(2, 3, side, side)).shape == (2, 1000)


def test_the_published_maps() -> None:
    """96 256 384 384 256 maps of 55, 27, 13, 13, 13; 9,216 values to the dense layers."""
    with torch.device("meta"):
        model = lamina.create("alexnet", **PUBLISHED)
        x, seen = torch.zeros(1, 3, 224, 224), []
        for layer in model.features:
            x = layer(x)
            if isinstance(layer, nn.Conv2d):
                seen.append((x.shape[1], x.shape[-1], layer.groups))
    assert seen == [(96, 55, 1), (256, 27, 2), (384, 13, 1), (384, 13, 2), (256, 13, 2)]
    assert x.numel() == 9216


@torch.no_grad()
def test_the_norm_is_the_papers_formula() -> None:
    x = 30 * torch.randn(2, 9, 3, 3, dtype=torch.float64)
    want = torch.empty_like(x)
    for i in range(9):
        low, high = max(0, i - 2), min(8, i + 2)
        squares = sum(x[:, j] ** 2 for j in range(low, high + 1))
        want[:, i] = x[:, i] / (2 + 1e-4 * squares) ** 0.75
    torch.testing.assert_close(ResponseNorm()(x), want, rtol=1e-12, atol=0)
    peer = nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)  # its alpha is over the mean of the five squares
    torch.testing.assert_close(peer(x), want, rtol=1e-12, atol=0)


def test_the_towers_meet_in_the_third_convolution_only() -> None:
    model = lamina.create("alexnet", width=2, dropout=0.0)
    convolutions = [layer for layer in model.features if isinstance(layer, nn.Conv2d)]
    for layer, apart in zip(convolutions, (False, True, False, True, True), strict=True):
        x = torch.randn(1, layer.in_channels, 5, 5, requires_grad=True)
        layer(x)[:, : layer.out_channels // 2].sum().backward()  # the first tower's maps
        assert bool((x.grad[:, layer.in_channels // 2 :] == 0).all()) is (apart and layer.groups == 2)


def test_biases_start_as_in_the_paper() -> None:
    for variant, ones in (("two_towers", [0, 1, 0, 1, 1, 1, 1, 0]), ("one_tower", [0] * 8)):
        model = lamina.create("alexnet", variant=variant)
        biases = [m.bias.detach() for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        assert [float(b.mean()) for b in biases] == ones
        assert all(float(b.std()) == 0 for b in biases)


@pytest.mark.parametrize("variant", VARIANTS)
def test_dropout_is_of_two_layers_and_of_training_only(variant: str) -> None:
    model = lamina.create("alexnet", variant=variant, dropout=0.5)
    assert [m.p for m in model.modules() if isinstance(m, nn.Dropout)] == [0.5, 0.5]
    kinds = [type(m).__name__ for m in model.classifier]
    assert kinds[0] == ("Linear" if variant == "two_towers" else "Dropout")
    x = torch.randn(2, 3, 32, 32)
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("image", [32, 224])
def test_every_size_gives_logits_and_gradients(variant: str, image: int) -> None:
    model = lamina.create("alexnet", variant=variant, width=2, d_ff=6, n_classes=5, image=image)
    y = model(torch.randn(3, 3, image, image))
    assert y.shape == (3, 5)
    y.logsumexp(1).sum().backward()
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in model.parameters())
    assert float(model.features[0].weight.grad.abs().sum()) > 0


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"variant": "three_towers"}, "alexnet: variant='three_towers': input should be 'two_towers' or 'one_tower'"),
        ({"width": 3}, "alexnet: width=3: input should be a multiple of 2"),
        ({"image": 64}, "alexnet: image=64: input should be 32 or 224"),
        ({"dropout": 1.0}, "alexnet: dropout=1.0: input should be less than 1"),
        ({"channels": 6}, "alexnet: unknown key 'channels'"),
    ],
)
def test_bad_keys_get_one_line(keys: dict, message: str) -> None:
    with pytest.raises(lamina.UserError) as error:
        lamina.create("alexnet", **keys)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_budget_finds_a_width() -> None:
    digits = data.load("digits")
    for budget in (60_000, 2_000_000):
        found = solve("alexnet", digits, budget)
        assert found.feasible
        assert abs(found.params / budget - 1) < 0.02
        assert found.keys["width"] % 2 == 0
        assert count("alexnet", found.keys, digits) == found.params


# ---- torchvision's state dict


@pytest.mark.parametrize("form", ["pth", "safetensors"])
@torch.no_grad()
def test_torchvisions_state_dict_there_and_back(form: str, tmp_path: Path) -> None:
    peer = torchvisions(4, 24, 7)
    for weight in peer.parameters():
        weight += 0.05 * torch.randn_like(weight)  # no weight at its start, so that nothing is hidden
    path = tmp_path / f"alexnet.{form}"
    if form == "pth":
        torch.save(peer.state_dict(), path)
    else:
        lamina.models.io.write_weights(path, peer.state_dict())
    model = lamina.load(path)
    assert not model.training
    assert (model.config.variant, model.config.width, model.config.d_ff, model.d_out) == ("one_tower", 4, 24, 7)
    for side in (224, 256):  # the adaptive pooling takes what is larger
        x = torch.randn(2, 3, side, side)
        want = peer(x)
        assert float((model(x) - want).abs().max()) <= 1e-5 * float(want.abs().max())
    interop.export(model, tmp_path / "back" / "ours.safetensors")
    again = torchvisions(4, 24, 7)
    again.load_state_dict(interop.files.read_weights(tmp_path / "back" / "ours.safetensors"))
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), peer.parameters(), strict=True))


def test_what_is_no_alexnet_is_refused(tmp_path: Path) -> None:
    weights = torchvisions(2, 6, 5).state_dict()
    path = tmp_path / "some.pth"
    bad = {
        r"its names \(other\.0\.weight, \.\.\.\) are none of those read so": {"other.0.weight": torch.zeros(2)},
        r"its names \(features\.0\.weight, \.\.\.\)": {**weights, "classifier.9.weight": torch.zeros(2)},
        r"not those of torchvision's alexnet \(size mismatch for features\.3\.weight": {
            **weights, "features.3.weight": torch.zeros(12, 4, 3, 3)
        },
    }  # fmt: skip
    for message, content in bad.items():
        torch.save(content, path)
        with pytest.raises(lamina.UserError, match=message) as error:
            lamina.load(path)
        assert "\n" not in str(error.value)


def test_only_torchvisions_form_is_written(tmp_path: Path) -> None:
    one = lamina.create("alexnet", variant="one_tower", width=2, d_ff=6, image=224)
    with pytest.raises(lamina.UserError, match=r"one file of weights; name it folder\.safetensors"):
        interop.export(one, tmp_path / "folder")
    for other in (lamina.create("alexnet"), lamina.create("alexnet", variant="one_tower")):
        with pytest.raises(lamina.UserError, match=r"use lamina\.save"):
            interop.export(other, tmp_path / "a.safetensors")


# ---- the claim


def test_the_claims_rules() -> None:
    for tier in ("ci", "full"):
        plan = CLAIMS["alexnet"].plan(tier)
        rules = {f.key: f.accept for f in plan.figures if f.accept}
        assert rules == {"sooner": "< 1", "gap": "< 1", "logits": "<= 0.0001"}
    assert plan.seeds == (0, 1, 2)
    assert plan.settings["data"] == "cifar10"
    assert plan.settings["whole"] == {"width": 32, "d_ff": 4096, "n_classes": 1000}


def test_the_experiment_at_a_small_size(tmp_path: Path) -> None:
    claim = CLAIMS["alexnet"]
    settings = claim.plan("ci").settings
    settings["soon"] |= {"side": 8, "channels": [6, 6, 8], "rates": {"relu": 0.05, "tanh": 0.05}, "passes": 6}
    settings["dropout"] |= {"images": 128, "width": 2, "d_ff": 16, "passes": 5}
    settings["whole"] |= {"width": 2, "d_ff": 8, "n_classes": 5}
    found = claim.trial(settings, 0, tmp_path, quiet)
    figures = found["figures"]
    for kind in ("relu", "tanh"):
        curve = found["soon"][kind]["curve"]
        assert [len(curve[0]), curve[0][0]] == [2, 0.0]
        assert (curve[-1][1] <= 25) is (figures[kind] is not None)
        assert all(error > 25 for _, error in curve[:-1])
    assert figures["sooner"] == pytest.approx(figures["relu"] / figures["tanh"])
    inside, outside = found["gaps"]["with"], found["gaps"]["without"]
    assert inside["gap"] == pytest.approx(inside["test"] - inside["train"])
    assert figures["gap"] == pytest.approx(inside["gap"] / outside["gap"])
    assert figures["with"] == pytest.approx(inside["test_error"] - inside["train_error"])
    assert [len(row) for row in inside["curve"]] == [3] * len(inside["curve"])
    assert figures["logits"] < 1e-5
    drawn(claim, settings, found)
