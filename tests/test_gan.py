"""GAN: its losses by hand, whose weights move at which update, resume, samples, what the monitor reports."""

from __future__ import annotations

import json
from itertools import pairwise
from math import log
from pathlib import Path

import pytest
import torch
from torch import nn

import lamina
from lamina import data
from lamina.cli import main
from lamina.core import UserError
from lamina.data import CannotTake, DataSet, Split
from lamina.tasks import Adversarial, Averaged
from lamina.tasks.adversarial import BEGUN, FRESH, discriminator_loss, generator_loss, gradient_penalty
from lamina.train import Order, evaluate, fit, load_run, train_run

KEYS = {"channels": 4, "d_noise": 3}
HOW = {"steps": 6, "lr": 1e-2, "seed": 0, "batch_size": 16}
LOSSES = ("non_saturating", "minimax", "hinge", "wasserstein")


@pytest.fixture(scope="module")
def digits() -> DataSet:
    return data.load("digits")


def order(**keys: object) -> Order:
    return Order("gan", {**KEYS, **keys}, "digits", **HOW, ema=0.0)


def task_of(digits: DataSet, **keys: object) -> Adversarial:
    task = order(**keys).build(digits)
    assert isinstance(task, Adversarial)
    return task


def gan_of(task: Adversarial) -> nn.Module:
    return task.backbone


# losses ---------------------------------------------------------------------------------------------------------------


def test_at_the_optimum_the_discriminator_pays_log_4():
    even = torch.zeros(3)
    assert discriminator_loss("minimax", even, even).tolist() == pytest.approx([log(4)] * 3)
    assert generator_loss("minimax", even).tolist() == pytest.approx([-log(2)] * 3)
    assert generator_loss("non_saturating", even).tolist() == pytest.approx([log(2)] * 3)


def test_losses_by_hand():
    """s(log 3) = 3/4 and s(-log 3) = 1/4."""
    real, made = torch.tensor([log(3.0)]), torch.tensor([-log(3.0)])
    for kind in ("minimax", "non_saturating"):
        assert float(discriminator_loss(kind, real, made)) == pytest.approx(-2 * log(3 / 4), rel=1e-6)
        assert float(discriminator_loss(kind, made, real)) == pytest.approx(-2 * log(1 / 4), rel=1e-6)
    assert float(generator_loss("minimax", made)) == pytest.approx(log(3 / 4), rel=1e-6)
    assert float(generator_loss("non_saturating", made)) == pytest.approx(-log(1 / 4), rel=1e-6)
    assert float(discriminator_loss("wasserstein", real, made)) == pytest.approx(-2 * log(3))
    assert float(generator_loss("wasserstein", made)) == float(generator_loss("hinge", made)) == pytest.approx(log(3))


def test_the_hinge_asks_for_a_margin_of_1_and_no_more():
    real, made = torch.tensor([2.0, 1.0, 0.5, -1.0]), torch.tensor([-2.0, -1.0, -0.5, 1.0])
    assert discriminator_loss("hinge", real, made).tolist() == [0.0, 0.0, 1.0, 4.0]


def test_non_saturating_learns_where_minimax_does_not():
    sure = torch.tensor([-20.0], requires_grad=True)  # certainly made, says the discriminator
    slopes = [float(torch.autograd.grad(generator_loss(k, sure).sum(), sure)[0]) for k in ("minimax", "non_saturating")]
    assert abs(slopes[0]) < 1e-8
    assert slopes[1] == pytest.approx(-1)


class Linear(nn.Module):
    """w.x, or |x|^2 / 2."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1) @ self.weight


def test_the_penalty_of_a_linear_critic_is_that_of_its_weights():
    critic = Linear(torch.tensor([3.0, 4.0, 0.0, 0.0]))
    real, made = torch.randn(5, 1, 2, 2), torch.randn(5, 1, 2, 2)
    found = gradient_penalty(critic, real, made, (), torch.rand(5))
    assert found.tolist() == pytest.approx([16.0] * 5)  # (5 - 1)^2, wherever
    found.sum().backward()  # it can be learned from: d/dw = 2 (|w| - 1) w / |w|, five times
    assert critic.weight.grad is not None
    assert critic.weight.grad.tolist() == pytest.approx([24.0, 32.0, 0.0, 0.0])


def test_the_penalty_looks_at_the_mixture_that_share_says():
    class Square(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1).square().sum(1) / 2

    real, made = torch.full((3, 1, 1, 1), 4.0), torch.zeros(3, 1, 1, 1)
    found = gradient_penalty(Square(), real, made, (), torch.tensor([1.0, 0.5, 0.0]))
    assert found.tolist() == pytest.approx([9.0, 1.0, 1.0])  # the slope is x itself: 4, 2, 0


# training -------------------------------------------------------------------------------------------------------------


def moved(digits: DataSet, steps: int, **keys: object) -> list[tuple[bool, bool]]:
    """Whether an update moved the generator and the discriminator, for each update."""
    task = task_of(digits, **keys)
    players = (gan_of(task).generator, gan_of(task).discriminator)
    now = lambda: [torch.cat([p.detach().flatten() for p in player.parameters()]) for player in players]  # noqa: E731
    course = [now()]
    fit(task, digits, **{**HOW, "steps": steps}, on_step=lambda *_: course.append(now()))
    return [tuple(not torch.equal(a, b) for a, b in zip(x, y, strict=True)) for x, y in pairwise(course)]


@pytest.mark.parametrize(("variant", "loss"), [("conv", "non_saturating"), ("mlp", "minimax"), ("conv", "hinge")])
def test_the_players_take_turns(digits, variant, loss):
    keys = {"variant": variant, "loss": loss, "d_ff": 10} if variant == "mlp" else {"loss": loss}
    plan = {k: v for k, v in {**KEYS, **keys}.items() if k != "channels" or variant == "conv"}
    task = Order("gan", plan, "digits", **HOW, ema=0.0).build(digits)
    assert isinstance(task, Adversarial)
    before = [p.detach().clone() for p in gan_of(task).generator.parameters()]
    fit(task, digits, **{**HOW, "steps": 1})
    assert all(torch.equal(a, b) for a, b in zip(before, gan_of(task).generator.parameters(), strict=True))
    if variant == "conv":
        assert moved(digits, 4, loss=loss) == [(False, True), (True, False)] * 2


def test_five_updates_of_the_critic_to_one_of_the_generator(digits):
    assert moved(digits, 12, loss="wasserstein") == ([(False, True)] * 5 + [(True, False)]) * 2


def test_the_idle_player_gets_no_gradient_but_the_turn_does(digits):
    task = task_of(digits).train()
    batch = digits.train.rows(slice(0, 8))
    for turn, (active, idle) in enumerate((("discriminator", "generator"), ("generator", "discriminator"))):
        task.zero_grad(set_to_none=True)
        total, count = task.criterion(task(batch), batch)
        total.backward()
        assert float(count) == 8
        assert all(p.grad is not None for p in getattr(gan_of(task), active).parameters()), turn
        assert all(p.grad is None and p.requires_grad for p in getattr(gan_of(task), idle).parameters()), turn
        task.stepped()


def test_the_generators_gradient_is_that_of_the_loss_through_the_discriminator(digits):
    """Weights set aside for a turn still carry the gradient on: against plain autograd."""
    task = task_of(digits, loss="minimax").train()
    task.stepped()
    gan, batch = gan_of(task), digits.train.rows(slice(0, 8))
    torch.manual_seed(5)
    task(batch).sum().backward()
    got = [p.grad.clone() for p in gan.generator.parameters()]
    gan.zero_grad()
    torch.manual_seed(5)
    noise = torch.randn(8, 3)
    (1 - torch.sigmoid(gan.discriminator(gan.generator(noise)))).log().sum().backward()
    for a, p in zip(got, gan.generator.parameters(), strict=True):
        torch.testing.assert_close(a, p.grad, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("killed", "loss"), [(1, "non_saturating"), (2, "non_saturating"), (4, "wasserstein")])
def test_resume_is_bit_equal_also_before_the_other_player_has_moved(digits, tmp_path: Path, killed, loss):
    class Killed(Exception):
        pass

    def stop(step: int, _: float) -> None:
        if step == killed + 1:
            raise Killed

    how = {**HOW, "steps": 8, "checkpoint_every": 1}
    with pytest.raises(Killed):
        fit(task_of(digits, loss=loss), digits, **how, out=tmp_path, on_step=stop)
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == [f"{killed:08d}"]
    again, whole = task_of(digits, loss=loss), task_of(digits, loss=loss)
    history = fit(again, digits, **how, out=tmp_path)
    wanted = fit(whole, digits, **{**HOW, "steps": 8})
    assert history.loss == wanted.loss
    assert int(again.turns.updates) == 8
    assert all(torch.equal(a, b) for a, b in zip(again.state_dict().values(), whole.state_dict().values(), strict=True))


def test_a_classes_images_are_told_from_another_classes(digits):
    task = task_of(digits, n_classes=10).train()
    gan, batch = gan_of(task), digits.train.rows(slice(0, 8))
    z = torch.randn(8, 3)
    gan.eval()
    assert not torch.equal(gan(z, torch.zeros(8, dtype=torch.int64)), gan(z, torch.ones(8, dtype=torch.int64)))
    images = batch["x"] * 2 - 1
    logits = [gan.discriminator(images, torch.full((8,), c)) for c in (3, 4)]
    features = gan.discriminator.body(images)
    classes = gan.discriminator.classes.weight
    torch.testing.assert_close(logits[0] - logits[1], features @ (classes[3] - classes[4]), rtol=1e-4, atol=1e-5)
    fit(task, digits, **HOW)
    asked = task.sample(4, seed=1, classes=[7, 7, 1, 1])
    assert torch.equal(asked, task.sample(4, seed=1, classes=torch.tensor([7, 7, 1, 1])))
    assert not torch.equal(asked, task.sample(4, seed=1))


# samples --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_samples_hang_on_the_seed_alone_and_are_images(digits, tmp_path: Path, ema):
    facts = train_run(Order(**{**vars(order()), "ema": ema}), digits, tmp_path / "run")
    task = load_run(tmp_path / "run").task
    assert isinstance(task, Adversarial)
    many = task.sample(FRESH + 7, seed=3)
    assert many.shape == (FRESH + 7, 1, 8, 8)
    assert many.min() >= 0
    assert many.max() <= 1
    torch.manual_seed(99)
    assert torch.equal(many, task.sample(FRESH + 7, seed=3))
    assert not torch.equal(many, task.sample(FRESH + 7, seed=4))
    assert task.sample(1, seed=3).shape == (1, 1, 8, 8)
    assert task.sample(0, seed=0).shape == (0, 1, 8, 8)
    assert evaluate(task, digits.dev) == pytest.approx(facts["result"]["dev"], abs=1e-12)
    assert facts["result"]["metric"] == "coverage"


def test_the_average_is_what_a_run_scores_and_samples(digits):
    task = Order(**{**vars(order()), "ema": 0.5}).build(digits)
    assert isinstance(task, Averaged)
    assert evaluate(task, digits.dev) == evaluate(task.average, digits.dev)
    fit(task, digits, **HOW)
    assert torch.equal(task.alone.sample(9, seed=0), task.average.sample(9, seed=0))
    assert Order("gan", KEYS, "digits").build(digits).decay == 0.999  # the model's own


class Copier(nn.Module):
    """A generator that knows images by heart."""

    def __init__(self, images: torch.Tensor) -> None:
        super().__init__()
        self.images, self.weight = images * 2 - 1, nn.Parameter(torch.zeros(1))

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.images[torch.arange(len(z)) % len(self.images)]


def test_coverage_of_the_dev_images_themselves_is_1_of_one_image_next_to_0_and_of_training_images_as_said(digits):
    task = task_of(digits)
    scores = {}
    for name, images in {"dev": digits.dev.x, "one": digits.dev.x[:1], "train": digits.train.x[1::2][:FRESH]}.items():
        gan_of(task).generator.body = Copier(images)
        scores[name] = evaluate(task, digits.dev)
        assert scores[name] == evaluate(task, digits.dev, batch_size=7)  # whatever the batches
    assert scores["dev"] == 1
    assert scores["one"] < 0.05
    assert scores["train"] == pytest.approx(1 - 0.5**5, abs=0.03)


# the monitor ----------------------------------------------------------------------------------------------------------


def test_a_generator_that_ignores_its_noise_is_reported_while_it_trains(digits, tmp_path: Path):
    class Deaf(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.image = nn.Parameter(torch.zeros(1, 8, 8))

        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return torch.tanh(self.image + 0 * z.sum()).expand(len(z), 1, 8, 8)

    said: list[tuple[int, str]] = []
    task = task_of(digits)
    gan_of(task).generator.body = Deaf()
    how = {**HOW, "steps": 240, "batch_size": 4}
    history = fit(task, digits, **how, eval_every=20, on_note=lambda step, words: said.append((step, words)))
    assert len(said) == 1  # once
    assert said[0][0] == BEGUN
    assert "ignores its noise" in said[0][1]
    assert history.notes == said
    assert type(history).of(json.loads(json.dumps(history.as_dict()))).notes == said


def test_a_healthy_start_is_not_reported(digits):
    assert fit(task_of(digits, d_noise=16), digits, **HOW, eval_every=2).notes == []


def test_fallen_coverage_and_a_discriminator_never_wrong_are_reported(digits):
    task, wasserstein = task_of(digits), task_of(digits, loss="wasserstein")
    for one in (task, wasserstein):
        gan_of(one).generator.body = Copier(digits.train.x)  # its images differ
    even = [(step, 0.7) for step in range(1, BEGUN + 1)]
    assert task.watch(even, [(50, 0.4), (100, 0.3)]) is None
    assert "losing kinds of images" in str(task.watch(even, [(50, 0.4), (100, 0.15)]))
    assert task.watch(even, [(50, 0.05), (100, 0.01)]) is None  # it had not begun
    won = [(step, 0.001 if step % 2 else 7.0) for step in range(1, BEGUN + 1)]  # odd updates are the discriminator's
    assert "never wrong" in str(task.watch(won, [(100, 0.4)]))
    lost = [(step, 7.0 if step % 2 else 0.001) for step in range(1, BEGUN + 1)]
    assert task.watch(lost, [(100, 0.4)]) is None
    assert wasserstein.watch(won, [(100, 0.4)]) is None


def test_train_says_it_and_keeps_it(digits, tmp_path: Path, capsys, monkeypatch):
    monkeypatch.setattr(Adversarial, "watch", lambda *_: "something is wrong")
    folder = tmp_path / "run"
    words = ["train", "gan", "digits", "--steps", "4", "--set", "channels=4", "--batch-size", "16", "--out"]
    with pytest.raises(SystemExit) as status:
        main([*words, str(folder)])
    assert status.value.code == 0
    assert capsys.readouterr().err.strip() == "step 1: something is wrong"
    assert json.loads((folder / "history.json").read_text())["notes"] == [[1, "something is wrong"]]


# errors ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"size": 10}, "size=10: input should be a multiple of 4"),
        ({"variant": "cnn"}, "unknown variant 'cnn'; did you mean 'conv'?"),
        ({"loss": "wgan"}, "loss='wgan': input should be"),
        ({"d_noize": 3}, "unknown key 'd_noize'; did you mean 'd_noise'?"),
        ({"variant": "mlp", "d_ff": 7}, "d_ff=7: input should be a multiple of 5"),
    ],
)
def test_wrong_keys_are_one_line_with_the_remedy(keys, words):
    with pytest.raises(UserError) as error:
        lamina.create("gan", **keys)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_images_of_another_size_are_refused(digits):
    with pytest.raises(CannotTake, match="makes images of 1x28x28; digits has 1x8x8"):
        task_of(digits, size=28)
    with pytest.raises(CannotTake, match="makes images"):
        Order("gan", {}, "adding").build(data.DATA["adding"](20, sizes=(100, 50, 50)))


def test_wrong_classes_are_refused(digits):
    with pytest.raises(UserError, match="this model has none; train a gan with n_classes=10"):
        task_of(digits).sample(2, seed=0, classes=[1, 2])
    for classes in ([1], [1, 10], [-1, 2]):
        with pytest.raises(UserError, match=r"give 2 of 0\.\.9, one an example"):
            task_of(digits, n_classes=10).sample(2, seed=0, classes=classes)


def test_one_image_is_enough_to_train_and_to_score(digits):
    one = Split(digits.train.x[:1], digits.train.y[:1])
    few = Split(digits.train.x[:8], digits.train.y[:8])
    alone = DataSet("one", "image", "classify", few, one, one, "made here", n_classes=10)
    task = task_of(alone)
    history = fit(task, alone, **{**HOW, "batch_size": 1})
    assert not history.diverged
    assert 0 <= history.dev[-1][1] <= 1


@pytest.mark.parametrize("shape", [(1, 12, 12), (3, 8, 8)])
def test_colours_and_sides_follow_the_data(shape):
    x = torch.rand(20, *shape, generator=torch.Generator().manual_seed(0))
    part = Split(x, torch.arange(20) % 2)
    made = DataSet("made", "image", "classify", part, part, part, "made here", n_classes=2)
    for variant in ({"channels": 4}, {"variant": "mlp", "d_ff": 10}):
        task = Order("gan", variant, "made", ema=0.0).build(made)
        assert isinstance(task, Adversarial)
        assert task.sample(3, seed=0).shape == (3, *shape)


def test_the_pair_of_2014_has_its_weights():
    """100 -> 1200 -> 1200 -> 784; 784 -> 240 x 5 -> 240 x 5 -> 1 (p)."""
    gan = lamina.create("gan", variant="mlp", d_noise=100)
    want = (101 * 1200 + 1201 * 1200 + 1201 * 784) + (785 * 1200 + 241 * 1200 + 241)
    assert sum(p.numel() for p in gan.parameters()) == want


def test_a_maxout_unit_is_the_largest_of_five_linear_maps():
    tell = lamina.create("gan", variant="mlp", size=2, d_ff=10, dropout=0.0).eval().discriminator.body
    x = torch.randn(3, 1, 2, 2)
    pieces = x.flatten(1) @ tell.first.weight.T + tell.first.bias
    hidden = torch.stack([pieces[:, :5].max(1).values, pieces[:, 5:].max(1).values], 1)
    pieces = hidden @ tell.second.weight.T + tell.second.bias
    want = torch.stack([pieces[:, :5].max(1).values, pieces[:, 5:].max(1).values], 1)
    torch.testing.assert_close(tell(x), want, rtol=1e-5, atol=1e-6)


def test_several_processes_are_refused(digits, monkeypatch):
    task = task_of(digits).train()
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    with pytest.raises(UserError, match="the players take turns in one process; start it without `accelerate launch`"):
        task(digits.train.rows(slice(0, 4)))
    with pytest.raises(UserError, match="companions: hidden outputs cannot play"):
        Order("gan", KEYS, "digits", companions=["generator.body.first"]).build(digits)
