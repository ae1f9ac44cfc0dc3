"""The moving average of the weights: its formula, that it is what is scored and kept, and its resume."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from lamina import data
from lamina.core import UserError
from lamina.tasks import Averaged
from lamina.train import Order, evaluate, fit, load_run, train_run

ORDER = Order("gru", {"d_model": 8, "n_layers": 1}, "digits", steps=12, lr=1e-2, batch_size=32, ema=0.7)


@pytest.fixture(scope="module")
def digits() -> data.DataSet:
    return data.load("digits")


def _fit(digits: data.DataSet, **how: object) -> tuple[Averaged, list[list[torch.Tensor]]]:
    task = ORDER.build(digits)
    assert isinstance(task, Averaged)
    course = [[p.detach().clone() for p in task.alone.parameters()]]
    keep = lambda *_: course.append([p.detach().clone() for p in task.alone.parameters()])  # noqa: E731
    fit(task, digits, steps=12, lr=1e-2, seed=0, batch_size=32, on_step=keep, **how)  # type: ignore[arg-type]
    return task, course


def test_it_is_the_exponential_average_of_the_course(digits):
    task, course = _fit(digits)
    want = [p.double() for p in course[0]]
    for t, weights in enumerate(course[1:]):
        decay = min(0.7, (1 + t) / (10 + t))
        want = [decay * a + (1 - decay) * w.double() for a, w in zip(want, weights, strict=True)]
    for kept, own, average, last in zip(
        task.average.parameters(), task.alone.parameters(), want, course[-1], strict=True
    ):
        torch.testing.assert_close(kept.double(), average, rtol=0, atol=1e-6)
        assert torch.equal(kept, own)  # put in place at the end
        assert not torch.equal(last, own)


def test_training_goes_as_without_it_and_the_average_is_scored(digits):
    task, course = _fit(digits, eval_every=6)
    plain = Order(**{**vars(ORDER), "ema": 0.0}).build(digits)
    fit(plain, digits, steps=12, lr=1e-2, seed=0, batch_size=32)
    assert all(torch.equal(a, b) for a, b in zip(course[-1], plain.parameters(), strict=True))
    assert evaluate(task, digits.dev) == evaluate(task.alone, digits.dev) != evaluate(plain, digits.dev)


def test_a_run_keeps_the_average_alone_and_resumes_bit_equal(digits, tmp_path: Path):
    def stop(step: int, loss: float) -> None:
        if step == 7:
            raise KeyboardInterrupt

    how = {"out": tmp_path / "a", "checkpoint_every": 5, "on_step": stop}
    with pytest.raises(KeyboardInterrupt):
        fit(ORDER.build(digits), digits, steps=12, lr=1e-2, seed=0, batch_size=32, **how)
    again, whole = ORDER.build(digits), ORDER.build(digits)
    fit(again, digits, steps=12, lr=1e-2, seed=0, batch_size=32, out=tmp_path / "a", checkpoint_every=5)
    fit(whole, digits, steps=12, lr=1e-2, seed=0, batch_size=32, out=tmp_path / "b")
    assert all(torch.equal(a, b) for a, b in zip(again.state_dict().values(), whole.state_dict().values(), strict=True))

    facts = train_run(ORDER, digits, tmp_path / "run")
    run = load_run(tmp_path / "run")
    assert facts["order"]["ema"] == 0.7
    assert facts["result"]["params"] == sum(p.numel() for p in run.task.parameters())
    assert not [name for name in run.task.state_dict() if "average" in name]
    assert evaluate(run.task, digits.dev) == pytest.approx(facts["result"]["dev"], abs=1e-12)
    for name, tensor in run.task.state_dict().items():
        assert torch.equal(tensor, dict(whole.alone.state_dict())[name])
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "done"


@pytest.mark.parametrize("decay", [1.0, -0.5, 1.5])
def test_a_decay_that_is_none_is_refused(digits, decay):
    with pytest.raises(UserError, match="must lie above 0 and below 1"):
        Order(**{**vars(ORDER), "ema": decay}).build(digits)
