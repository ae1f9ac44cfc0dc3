"""The adversarial task around sequence structures: their copy tells, turns, resume, samples, what it cannot take."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import lamina
from lamina import data
from lamina.core import UserError
from lamina.data import CannotTake, DataSet, Split
from lamina.tasks import Adversarial, make
from lamina.tasks.fidelity import frechet
from lamina.train import fit

HOW = {"steps": 4, "lr": 1e-2, "seed": 0, "batch_size": 8}
SEQUENCE = SimpleNamespace(name="mine", view="sequence")


def waves(n: int = 60, frames: int = 12) -> DataSet:
    """Sines of two numbers a frame, at phases of their own: [n,frames,2], about 3."""
    phase = 6.3 * torch.rand(n, 1, 1, generator=torch.Generator().manual_seed(0))
    t = torch.arange(frames)[None, :, None] * torch.tensor([0.5, 1.0])
    x = 3 + (t + phase).sin()
    part = Split(x, torch.zeros(n, dtype=torch.int64))
    return DataSet("waves", "audio", "adversarial", part, part, part, "made here", n_classes=1)


def task_of(dataset: DataSet, name: str = "gru", taps: int = 0) -> Adversarial:
    torch.manual_seed(0)
    task = make(dataset, SEQUENCE, lamina.create(name, d_model=8, n_layers=1), taps=taps)
    assert isinstance(task, Adversarial)
    return task


@pytest.mark.parametrize("name", ["gru", "transformer", "mamba", "deltanet"])
def test_any_structure_plays_against_its_own_copy(name):
    waved = waves()
    task = task_of(waved, name)
    assert task.critic is not None
    mine, copy = task.backbone.state_dict(), task.critic.body.state_dict()
    assert {k: v.shape for k, v in mine.items()} == {k: v.shape for k, v in copy.items()}
    assert any(not torch.equal(v, copy[k]) for k, v in mine.items())  # with weights of its own
    moved = []
    players = (
        [*task.stem.parameters(), *task.backbone.parameters(), *task.head.parameters()],
        task.critic.parameters(),
    )
    players = [list(player) for player in players]
    before = [[p.detach().clone() for p in player] for player in players]

    def look(step: int, _: float) -> None:
        nonlocal before
        now = [[p.detach().clone() for p in player] for player in players]
        moved.append(
            [any(not torch.equal(a, b) for a, b in zip(x, y, strict=True)) for x, y in zip(before, now, strict=True)]
        )
        before = now

    history = fit(task, waved, **HOW, on_step=look)
    assert moved == [[False, True], [True, False]] * 2
    assert not history.diverged
    assert 0 <= history.dev[-1][1] <= 1


def test_samples_are_sequences_in_the_datas_own_range():
    waved = waves()
    task = task_of(waved, taps=3)
    made = task.sample(7, seed=1)
    assert made.shape == (7, 12, 2)
    assert torch.equal(made, task.sample(7, seed=1))
    assert not torch.equal(made, task.sample(7, seed=2))
    with torch.no_grad():
        for parameter in task.head.parameters():
            parameter.zero_()
    assert task.sample(2, seed=0) == pytest.approx(float(waved.train.x.mean()), abs=1e-5)  # a standardised 0
    with pytest.raises(UserError, match="classes: this model has none"):
        task.sample(2, seed=0, classes=[0, 0])


def test_half_of_the_noise_is_the_same_at_all_frames():
    noise = task_of(waves())._noise(5)
    assert noise.shape == (5, 12, 16)
    assert torch.equal(noise[:, :1, :8].expand(-1, 12, -1), noise[:, :, :8])
    assert (noise[:, 1:, 8:] != noise[:, :-1, 8:]).all()


def test_resume_after_the_very_first_update_is_bit_equal(tmp_path: Path):
    class Killed(Exception):
        pass

    def stop(step: int, _: float) -> None:
        if step == 2:
            raise Killed

    waved = waves()
    how = {**HOW, "steps": 6, "checkpoint_every": 1}
    with pytest.raises(Killed):
        fit(task_of(waved), waved, **how, out=tmp_path, on_step=stop)
    again, whole = task_of(waved), task_of(waved)
    fit(again, waved, **how, out=tmp_path)
    fit(whole, waved, **{**HOW, "steps": 6})
    assert all(torch.equal(a, b) for a, b in zip(again.state_dict().values(), whole.state_dict().values(), strict=True))


@pytest.mark.slow
def test_it_learns_waves():
    waved = waves(200)
    torch.manual_seed(0)
    task = make(waved, SEQUENCE, lamina.create("gru", d_model=16, n_layers=1))
    assert isinstance(task, Adversarial)

    def apart() -> float:
        return frechet(waved.train.x.flatten(1), task.sample(500, seed=1).flatten(1))

    before = apart()
    fit(task, waved, steps=2500, lr=1e-2, seed=0, batch_size=32)
    assert apart() < before / 3


def test_what_it_cannot_take_is_one_line():
    waved = waves()
    ragged = replace(waved, train=Split(waved.train.x, waved.train.y, torch.full((60,), 12)))
    with pytest.raises(CannotTake, match="makes examples of one length; waves's lengths differ"):
        task_of(ragged)
    with pytest.raises(CannotTake, match="waves asks for all frames of new ones"):
        make(waved, SimpleNamespace(name="mlp", view="frame"), lamina.create("mlp", d_model=24))
    with pytest.raises(UserError, match="companions: hidden outputs cannot play; leave them out"):
        make(waved, SEQUENCE, lamina.create("gru", d_model=8, n_layers=3), companions=1)
    assert data.check(waved) is waved
