"""The training loop: schedule, determinism, divergence."""

from __future__ import annotations

import pytest
import torch

from lamina import data
from lamina.core import Pointwise, Seq, Serial, UserError
from lamina.data import AddingBatches
from lamina.layers import GRU, Linear
from lamina.train import adamw, evaluate, fit, learning_rate
from train_parts import QUICK, equal, parity, small


class Poison(Pointwise):
    """The identity until its `start`-th training call; from then on the values, or the gradients, are NaN."""

    def __init__(self, width: int, start: int, gradient: bool = False) -> None:
        super().__init__()
        self.d_in = self.d_out = width
        self.start, self.gradient, self.calls = start, gradient, 0

    def forward(self, x: Seq, memory: Seq | None = None) -> Seq:
        self.calls += self.training
        if self.calls < self.start or not self.training:
            return x
        if self.gradient:  # sqrt at 0: finite forwards, inf * 0 backwards
            return x.with_values(x.values + (x.values * 0).sqrt())
        return x.with_values(x.values * float("nan"))


# ---- schedule and optimizer


def test_the_rate_warms_up_then_falls_as_a_cosine() -> None:
    rates = [learning_rate(step, 200, 0.1) for step in range(200)]
    assert rates[:10] == pytest.approx([0.01 * (i + 1) for i in range(10)])
    assert rates[10] == pytest.approx(0.1)
    assert rates[105] == pytest.approx(0.05)
    assert 0 < rates[-1] < 1e-4
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert learning_rate(0, 1, 0.1) == 0.1


def test_biases_and_norms_do_not_decay() -> None:
    task = small(parity())
    task.head.weight.no_weight_decay = True
    decay = {id(p): g["weight_decay"] for g in adamw(task, 1e-3).param_groups for p in g["params"]}
    for name, p in task.named_parameters():
        assert decay[id(p)] == (0.01 if p.dim() > 1 and name != "head.weight" else 0.0), name
    assert len(decay) == len(list(task.parameters()))


def test_the_first_update_is_adams() -> None:
    """One step by hand: AdamW moves each weight by lr * (g/(|g| + eps) + decay * w) where g is the clipped gradient."""
    dataset = parity(8)
    task = small(dataset, build=lambda: Linear(4, 4))
    before = task.head.weight.detach().clone()
    loss, count = task.loss(dataset.train.rows(slice(None)))
    (loss / count).backward()
    g = task.head.weight.grad.clone()
    task.zero_grad()
    norm_free = g / (g.abs() + 1e-8)
    fit(task, dataset, steps=1, lr=0.01, seed=0, batch_size=8)
    assert torch.allclose(task.head.weight, before * (1 - 0.01 * 0.01) - 0.01 * norm_free, atol=1e-4)


# ---- the loop


def test_fit_learns_and_keeps_its_history() -> None:
    dataset = parity()
    task = small(dataset)
    state, seen = torch.get_rng_state(), []
    history = fit(
        task, dataset, steps=60, lr=1e-2, seed=0, batch_size=16, eval_every=20, on_step=lambda *at: seen.append(at)
    )
    assert torch.equal(torch.get_rng_state(), state)  # the caller's random numbers are untouched
    assert history.loss == seen
    assert [step for step, _ in history.loss] == list(range(1, 61))
    assert [step for step, _ in history.dev] == [20, 40, 60]
    assert history.loss[-1][1] < 0.5 * history.loss[0][1]
    assert history.dev[-1][1] == evaluate(task, dataset.dev) >= 0.9
    assert not history.diverged
    assert not task.training


def test_the_first_loss_is_that_of_the_first_batch() -> None:
    dataset = parity()
    task = small(dataset, build=lambda: GRU(6, 6))
    loss, count = task.loss(data.Batches(dataset.train, 8, 3)(0))
    history = fit(task, dataset, steps=1, lr=1e-2, seed=3, batch_size=8)
    assert history.loss[0][1] == pytest.approx((loss / count).item(), rel=1e-6)


def test_a_run_depends_on_its_seed_only() -> None:
    dataset = parity()
    one, two, three = small(dataset), small(dataset), small(dataset)
    first = fit(one, dataset, **QUICK)
    torch.randn(100)
    second = fit(two, dataset, **QUICK)
    third = fit(three, dataset, **(QUICK | {"seed": 1}))
    assert first.loss == second.loss
    assert first.dev == second.dev
    assert equal(one, two)
    assert first.loss != third.loss


def test_on_step_may_end_the_training() -> None:
    dataset = parity()
    history = fit(small(dataset), dataset, **QUICK, on_step=lambda step, loss: step == 5)
    assert len(history.loss) == 5
    assert [step for step, _ in history.dev] == [5]


def test_batches_may_be_made_on_the_fly() -> None:
    dataset = data.synthetic.adding(frames=8, sizes=(4, 64, 4))
    source = AddingBatches(frames=8, batch_size=32, seed=0)
    seen = []

    def batches(step: int) -> dict[str, torch.Tensor]:
        seen.append(step)
        return source(step)

    history = fit(small(dataset, build=lambda: GRU(8, 8)), dataset, **QUICK, batches=batches)
    assert seen == list(range(12))
    assert history.dev[-1][1] < 1.1  # below answering 0: the mean of the squared target is 7/6


@pytest.mark.parametrize("gradient", [False, True])
def test_a_nan_ends_the_run_before_it_reaches_the_weights(gradient: bool) -> None:
    dataset = parity()
    clean = small(dataset, build=lambda: Serial(GRU(6, 6), Poison(6, 99)))
    fit(clean, dataset, **(QUICK | {"steps": 12}), on_step=lambda step, _: step == 4)
    task = small(dataset, build=lambda: Serial(GRU(6, 6), Poison(6, 5, gradient)))
    history = fit(task, dataset, **QUICK)
    assert history.diverged
    assert [step for step, _ in history.loss] == [1, 2, 3, 4, 5]
    assert history.dev == []
    assert equal(task, clean)  # the weights of the last good step
    if not gradient:
        assert history.loss[-1][1] != history.loss[-1][1]


@pytest.mark.parametrize(("key", "value"), [("steps", 0), ("lr", -1.0), ("lr", float("nan")), ("batch_size", 0)])
def test_settings_that_cannot_be(key: str, value: float) -> None:
    dataset = parity()
    with pytest.raises(UserError, match=f"{key} must be above 0"):
        fit(small(dataset), dataset, **(QUICK | {key: value}))
