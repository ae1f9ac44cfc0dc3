"""The claim genetic at a size of seconds, and the population that evolves towards a density."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Generator

from claim_parts import drawn, quiet
from lamina.reproduce import CLAIMS
from lamina.reproduce.genetic import cross_entropy, half_circles, wrong_side


def test_both_objectives_are_those_of_a_plain_network() -> None:
    x, side = half_circles(64, 0.1, Generator().manual_seed(0))
    assert x.mean(0).abs().max() < 0.3
    assert float(side.sum()) == 0
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(2, 5), torch.nn.Tanh(), torch.nn.Linear(5, 1))
    weights = torch.cat([net[0].weight.T.flatten(), net[0].bias, net[2].weight.flatten(), net[2].bias])[None]
    told = net(x).squeeze(1)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(told, (side > 0).float())
    torch.testing.assert_close(cross_entropy(weights, x, side, 5)[0], expected)
    hidden = net[0](x).sign()
    weights = weights.detach().requires_grad_()
    wrong = ((net[2](hidden).squeeze(1) > 0) != (side > 0)).double().mean()
    assert float(wrong_side(weights, x, side, 5)[0].detach()) == pytest.approx(float(wrong))
    (gradient,) = torch.autograd.grad(wrong_side(weights, x, side, 5).sum(), weights)
    assert bool((gradient == 0).all())


def test_the_claim_in_small(tmp_path: Path) -> None:
    claim = CLAIMS["genetic"]
    settings = claim.plan("ci").settings | {"points": 64, "evaluations": 3000, "level": 0.2}
    found = claim.trial(settings, 100, tmp_path, quiet)
    figures = found["figures"]
    assert found["needed"]["gradient"] < found["needed"]["genetic"] <= 3000
    assert figures["smooth"] == found["needed"]["genetic"] / found["needed"]["gradient"]
    assert figures["wrong"] < figures["stuck"]
    # the one at x of the order, 0..1, is expected to win 3 x^2 of P tournaments, so exp(-3 x^2) is its chance of none
    expected = 100 * math.sqrt(math.pi / 3) / 2 * math.erf(math.sqrt(3))
    assert figures["discarded"] == pytest.approx(expected, abs=4)
    for both in found["curves"].values():
        assert both["genetic"][-1][0] <= 3000 == both["gradient"][-1][0]
    drawn(claim, settings, found)
