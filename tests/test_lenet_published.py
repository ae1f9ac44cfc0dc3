"""LeNet-5 as published: its weights layer by layer, the table of C3, the sub-sampling, the squash, the codes."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

import lamina
from lamina import data
from lamina.compare.budget import solve
from lamina.core.cost import params
from lamina.models.lenet_published import C3, Codes, SubSample, TableConv, squash
from lamina.train import Order


def test_the_papers_weights_layer_by_layer() -> None:
    model = lamina.create("lenet", variant="published")
    found = {name: params(layer) for name, layer in model.named_children()}
    assert found == {"c1": 156, "s2": 12, "c3": 1516, "s4": 32, "c5": 48_120, "f6": 10_164, "output": 0}
    assert params(model) == 60_000


def test_the_table_has_60_pairs_and_no_two_rows_alike() -> None:
    assert [len(row) for row in C3] == [3] * 6 + [4] * 9 + [6]
    assert len({tuple(sorted(row)) for row in C3}) == 16
    assert [sum(k in row for row in C3) for k in range(6)] == [10] * 6  # each map of S2 is seen ten times


@torch.no_grad()
def test_a_map_is_the_sum_over_its_row_of_the_table() -> None:
    layer = TableConv(C3, 5).double()
    for weight in layer.parameters():
        torch.nn.init.normal_(weight)
    x = torch.randn(2, 6, 14, 14, dtype=torch.float64)
    y, at = layer(x), 0
    assert y.shape == (2, 16, 10, 10)
    for c, row in enumerate(C3):
        kernels = layer.weight[at : at + len(row)]
        want = F.conv2d(x[:, list(row)], kernels[None], layer.bias[c : c + 1])[:, 0]
        torch.testing.assert_close(y[:, c], want, rtol=1e-12, atol=1e-12)
        at += len(row)
    assert at == len(layer.weight) == 60


@torch.no_grad()
def test_sub_sampling_adds_four_and_has_two_weights_a_map() -> None:
    layer = SubSample(3).double()
    layer.weight.copy_(torch.tensor([0.1, -0.2, 0.3])[:, None, None])
    layer.bias.copy_(torch.tensor([0.0, 0.5, -1.0])[:, None, None])
    x = torch.randn(1, 3, 4, 6, dtype=torch.float64)
    y = layer(x)
    assert y.shape == (1, 3, 2, 3)
    four = x[0, 1, 2, 4] + x[0, 1, 2, 5] + x[0, 1, 3, 4] + x[0, 1, 3, 5]
    assert float(y[0, 1, 1, 2]) == pytest.approx(float(1.7159 * torch.tanh((-0.2 * four + 0.5) * 2 / 3)), rel=1e-6)


def test_the_squash_keeps_plus_and_minus_one() -> None:
    x = torch.tensor([-1.0, 0.0, 1.0, 100.0])
    torch.testing.assert_close(squash(x), torch.tensor([-1.0, 0.0, 1.0, 1.7159]), rtol=0, atol=1e-4)


def test_logits_are_minus_the_squared_distance_to_fixed_codes() -> None:
    output = Codes(10)
    assert output.codes.shape == (10, 84)
    assert set(output.codes.flatten().tolist()) == {-1.0, 1.0}
    assert torch.equal(output.codes, Codes(10).codes)  # of a seed, not of the global generator
    apart = torch.cdist(output.codes, output.codes) ** 2 / 4 + 84 * torch.eye(10)
    assert float(apart.min()) > 20  # bits in which the nearest two codes differ
    assert torch.equal(output(output.codes).argmax(1), torch.arange(10))
    torch.testing.assert_close(output(output.codes).diagonal(), torch.zeros(10))


def test_each_key_says_which_network() -> None:
    assert lamina.create("lenet").config.variant == "modern"
    for keys, message in (
        ({"variant": "publshed"}, "unknown variant 'publshed'; did you mean 'published'?"),
        ({"variant": "published", "channels": 6}, "lenet: unknown key 'channels'"),
        ({"variant": "published", "activation": "relu"}, "lenet: unknown key 'activation'"),
    ):
        with pytest.raises(lamina.UserError) as error:
            lamina.create("lenet", **keys)
        assert message in str(error.value)


def test_it_is_saved_with_its_codes(tmp_path) -> None:
    model = lamina.create("lenet", variant="published", n_classes=4).eval()
    lamina.save(model, tmp_path)
    again = lamina.load(tmp_path).eval()
    x = torch.randn(2, 1, 32, 32)
    assert torch.equal(model(x), again(x))
    assert torch.equal(model.output.codes, again.output.codes)


def test_its_size_is_fixed() -> None:
    digits = data.load("digits")
    found = solve("lenet", digits, 60_000, {"variant": "published"})
    assert (found.params, found.keys) == (60_000, {"variant": "published"})
    assert not solve("lenet", digits, 30_000, {"variant": "published"}).feasible


def test_it_learns_digits() -> None:
    from lamina.train import evaluate, fit

    digits = data.load("digits")
    task = Order("lenet", {"variant": "published"}, "digits", seed=100).build(digits)
    fit(task, digits, steps=60, lr=3e-3, seed=100, batch_size=32)
    assert evaluate(task, digits.dev) > 0.7  # chance is 0.1
