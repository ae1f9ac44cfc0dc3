"""Denoising: its loss by hand, a perfect denoiser of a known Gaussian, guidance, seeds, keys that a run keeps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from denoise_parts import Knows, Tiny, frames, images, task
from lamina import data, models
from lamina.core import UserError
from lamina.data import CannotTake
from lamina.layers import GRU
from lamina.tasks import Averaged, Denoise, denoise
from lamina.train import Order, evaluate, fit, load_run, train_run


def _knows(deviation: float, means: tuple[float, ...] = (0.3,), n_classes: int = 0, **keys: object) -> Denoise:
    dataset = images(shape=(1, 1, 1), n_classes=max(2, n_classes))
    found = task(dataset, Knows(deviation, means, n_classes), **keys)
    found.backbone.kept = found.schedule.kept
    found.clip = False  # a Gaussian has no ends
    return found.double()


@pytest.mark.parametrize("prediction", ["epsilon", "x0", "v"])
def test_the_simple_loss_is_the_squared_error_of_what_was_asked(prediction):
    dataset, batch = images(), images().train.rows(slice(0, 8))
    found = task(dataset, Tiny(), prediction=prediction).train()
    torch.manual_seed(7)
    total, count = found.loss(batch)
    torch.manual_seed(7)
    t, noise, x0 = torch.randint(50, (8,)), torch.randn(8, 1, 4, 4), 2 * batch["x"] - 1
    abar = torch.cumprod(1 - torch.linspace(0.002, 0.4, 50, dtype=torch.float64), 0)[t].float()[:, None, None, None]
    told = found.backbone(abar.sqrt() * x0 + (1 - abar).sqrt() * noise, t)
    asked = {"epsilon": noise, "x0": x0, "v": abar.sqrt() * noise - (1 - abar).sqrt() * x0}[prediction]
    assert float(count) == 8 * 16
    assert float(total.detach()) == pytest.approx(float((told - asked).detach().square().sum()), rel=1e-5)


@pytest.mark.parametrize("prediction", ["epsilon", "x0", "v"])
def test_the_variational_loss_weighs_by_the_loss_of_signal(prediction):
    """The KL of x_0 is (SNR_{t-1} - SNR_t) / 2 times its squared error (Kingma et al. 2021), T times as t is drawn."""
    dataset, batch = images(), images().train.rows(slice(0, 8))
    found = task(dataset, Tiny(), prediction=prediction, loss="variational", schedule="cosine").train()
    for seed in range(50):  # until no row has t = 0, which has no such term
        torch.manual_seed(seed)
        if int((t := torch.randint(50, (8,))).min()) > 0:
            break
    noise, x0 = torch.randn(8, 1, 4, 4), 2 * batch["x"] - 1
    torch.manual_seed(seed)
    total, _ = found.loss(batch)
    kept = found.schedule.kept
    x = found.schedule.noised(x0, t, noise)
    guess = found.schedule.x0(prediction, found.backbone(x, t), x, t)
    snr = kept / (1 - kept)
    weight = 50 * (snr[t] - snr[t + 1]) / 2
    want = (weight * (guess - x0).double().square().flatten(1).sum(1)).sum()
    assert float(total.detach()) == pytest.approx(float(want.detach()), rel=1e-3)


@pytest.mark.parametrize("how", [{}, {"steps": 1000, "eta": 0.0}, {"steps": 1000, "eta": 0.5}, {"steps": 250}])
@pytest.mark.parametrize("deviation", [0.2, 1.0])
def test_with_the_exact_score_samples_have_the_datas_mean_and_variance(how, deviation):
    found = _knows(deviation, noise_steps=1000, variance="large" if deviation == 1.0 else "small")
    samples = 2 * found.sample(4000, seed=1, **how) - 1
    assert samples.shape == (4000, 1, 1, 1)
    near = 4 / 4000**0.5  # four standard errors
    assert float(samples.mean()) == pytest.approx(0.3, abs=near * deviation + 0.01)
    assert float(samples.std()) == pytest.approx(deviation, rel=near)


def test_more_steps_come_nearer():
    """DDIM of n steps on N(0.3, 0.2^2) is linear: the deviation that it reaches, from two first noises."""
    found = _knows(0.2, noise_steps=1000)
    off = []
    for steps in (5, 20, 100, 1000):
        samples = 2 * found.sample(64, seed=0, steps=steps) - 1
        first = torch.randn(64, 1, 1, 1, generator=torch.Generator().manual_seed(0)).double()
        slope = float((samples[1] - samples[0]) / (first[1] - first[0]))
        off.append(abs(slope - 0.2))
    assert off == sorted(off, reverse=True)
    assert off[-1] < 0.01 * 0.2


def test_guidance_is_the_papers_formula():
    dataset = images(n_classes=3)
    found = task(dataset, Tiny(n_classes=3)).double()
    x, classes = torch.randn(5, 1, 4, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 1, 0])
    t, none = torch.full((5,), 20), torch.full((5,), 3)
    told, free = found.backbone(x, t, classes), found.backbone(x, t, none)
    torch.testing.assert_close(found._guided(x, 20, classes, 1.5), 2.5 * told - 1.5 * free)
    torch.testing.assert_close(found._guided(x, 20, classes, 0.0), told)
    torch.testing.assert_close(found._guided(x, 20, classes, -1.0), free)
    torch.testing.assert_close(found.tell(x, t, none), found.tell(x, t, None))


def test_guidance_moves_samples_away_from_what_is_common():
    """Classes at -0.4 and 0.4, all of them at 0: with w = 1 the mean of a class is about twice as far out."""
    found = _knows(0.2, (-0.4, 0.4, 0.0), n_classes=2, noise_steps=200)
    for w, low, high in ((0.0, 0.38, 0.42), (1.0, 0.76, 0.84), (-1.0, -0.02, 0.02)):
        samples = 2 * found.sample(600, seed=0, steps=50, guidance=w, classes=[1] * 600) - 1
        assert low < float(samples.mean()) < high
    mixed = 2 * found.sample(600, seed=0, steps=50) - 1  # the classes in turn
    assert float(mixed[0::2].mean()) < -0.3
    assert float(mixed[1::2].mean()) > 0.3


def test_the_same_seed_gives_the_same_samples():
    found = task(images(), Tiny())
    found.train()
    state = torch.get_rng_state()
    one, same, other = found.sample(7, seed=3), found.sample(7, seed=3), found.sample(7, seed=4)
    assert found.training
    assert torch.equal(torch.get_rng_state(), state)  # nobody else's draws move
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert one.shape == (7, 1, 4, 4)
    assert 0 <= float(one.min()) < float(one.max()) <= 1


def test_every_step_is_shown():
    found, seen = task(images(), Tiny()), []
    samples = found.sample(3, seed=0, steps=10, on_step=lambda *what: seen.append(what))
    assert [(done, of) for done, of, _, _ in seen] == [(i, 10) for i in range(1, 11)]
    assert torch.equal(seen[-1][2], samples)
    torch.testing.assert_close(seen[-1][3], samples)  # the last step is what was found
    assert all(float(x0.min()) >= 0 and float(x0.max()) <= 1 for *_, x0 in seen)


def test_large_numbers_are_sampled_in_parts(monkeypatch):
    found = task(images(n_classes=3), Tiny(n_classes=3)).double()
    whole = found.sample(11, seed=0, steps=5, guidance=1.0)
    monkeypatch.setattr(denoise, "AT_ONCE", 4)
    torch.testing.assert_close(found.sample(11, seed=0, steps=5, guidance=1.0), whole)


def test_scores_do_not_hang_on_batches_or_on_the_generator():
    found, dataset = task(images(n_classes=3), Tiny(n_classes=3)), images(n_classes=3)
    torch.manual_seed(0)
    one = evaluate(found, dataset.dev, 7)
    torch.manual_seed(1)
    assert evaluate(found, dataset.dev, 40) == pytest.approx(one, rel=1e-6)
    t, noise = found._fixed(dataset.dev.x, dataset.dev.x)
    assert 10 < len(t.unique()) <= 40
    assert abs(float(noise.mean())) < 4 / noise.numel() ** 0.5


def test_a_tenth_of_the_classes_is_dropped_in_training_alone(monkeypatch):
    found, seen = task(images(2000), Tiny(n_classes=3)), []
    tell = found.tell
    monkeypatch.setattr(found, "tell", lambda x, t, classes: (seen.append(classes), tell(x, t, classes))[1])
    batch = images(2000).train.rows(slice(None))
    torch.manual_seed(0)
    for mode in (True, False):
        found.train(mode)(batch)
    assert float((seen[0] == 3).float().mean()) == pytest.approx(0.1, abs=0.03)
    assert torch.equal(seen[0][seen[0] < 3], batch["y"][seen[0] < 3])
    assert torch.equal(seen[1], batch["y"])


def test_frames_are_denoised_by_any_sequence_model():
    dataset = frames()
    torch.manual_seed(0)
    found = task(dataset, GRU(12, 12), schedule="cosine", prediction="v")
    before = evaluate(found, dataset.dev)
    fit(found, dataset, steps=150, lr=1e-2, seed=0, batch_size=16)
    assert evaluate(found, dataset.dev) < 0.8 * before
    samples = found.sample(40, seed=0, classes=[0, 1, 2, 3] * 10)
    assert samples.shape == (40, 6, 3)
    assert float(samples.mean()) == pytest.approx(5, abs=1.2)  # the data's own range: mean 5, deviation 2
    assert 1 < float(samples.std()) < 3


def test_its_classes_and_time_reach_a_sequence_model():
    found = task(frames(), GRU(12, 12))
    x = torch.randn(2, 6, 3)
    told = found.tell(x, torch.tensor([3, 3]), torch.tensor([0, 0]))
    assert not torch.allclose(told, found.tell(x, torch.tensor([40, 40]), torch.tensor([0, 0])))
    assert not torch.allclose(told, found.tell(x, torch.tensor([3, 3]), torch.tensor([2, 2])))


def test_a_run_keeps_the_keys_of_its_task(tmp_path: Path, monkeypatch):
    dataset = frames()
    monkeypatch.setitem(data.DATA, "mels", lambda: dataset)
    own = {"noise_steps": 20, "schedule": "cosine", "prediction": "v", "loss": "variational"}
    keys = {"d_model": 8, "n_layers": 1, **own}
    order = Order("lstm", keys, "mels", steps=8, lr=1e-3, batch_size=8, ema=0.9)
    facts = train_run(order, dataset, tmp_path / "run")
    assert facts["result"]["metric"] == "denoising error"
    run = load_run(tmp_path / "run")
    assert isinstance(run.task, Denoise)
    assert run.task.keys.model_dump() == {"betas": None, "variance": "small", **own}
    assert evaluate(run.task, dataset.dev) == pytest.approx(facts["result"]["dev"], rel=1e-9)
    assert models.load(tmp_path / "run").config.model_dump()["d_model"] == 8
    assert run.task.sample(2, seed=0).shape == (2, 6, 3)
    other = Order("lstm", {**keys, "noise_steps": 30}, "mels", steps=8, lr=1e-3, batch_size=8, ema=0.9)
    with pytest.raises(UserError, match="holds another run"):
        train_run(other, dataset, tmp_path / "run")
    assert isinstance(order.build(dataset), Averaged)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"predicton": "v"}, "lstm: unknown key 'predicton'; did you mean 'prediction'"),
        ({"prediction": "noise"}, "denoise: prediction='noise'"),
        ({"noise_steps": 100, "betas": [1e-4, 0.02]}, r"after 100 steps alpha-bar is 0\.36"),
        ({"noise_steps": 1}, "denoise: noise_steps=1"),
        ({"schedule": "cosine", "betas": [1e-4, 0.02]}, "the cosine schedule has none to set"),
    ],
)
def test_wrong_keys_are_one_line(keys, message):
    with pytest.raises(UserError, match=message):
        Order("lstm", keys, "mels").build(frames())


def test_what_cannot_denoise_says_why():
    dataset = frames()
    with pytest.raises(CannotTake, match="asks for the noise in each frame"):
        Order("mlp", {}, "mels").build(dataset)
    with pytest.raises(CannotTake, match="asks at each frame, but it gives 32 frames for 64"):
        Order("conformer", {"subsample": 2}, "mels").build(dataset)
    with pytest.raises(UserError, match="companions"):
        Order("lstm", {"n_layers": 3}, "mels", companions=1).build(dataset)
    with pytest.raises(UserError, match="the data have 3 classes; give n_classes=3 or 0"):
        task(images(n_classes=3), Tiny(n_classes=5))


@pytest.mark.parametrize(
    ("n_classes", "how", "message"),
    [
        (0, {"guidance": 1.0}, "was trained without classes"),
        (0, {"classes": [0, 1]}, "was trained without classes"),
        (3, {"classes": [0, 4]}, "each 0 to 3"),
        (3, {"classes": [0]}, "give 2"),
        (3, {"steps": 51}, "give 1 to 50"),
    ],
)
def test_what_cannot_be_sampled_is_refused(n_classes, how, message):
    with pytest.raises(UserError, match=message):
        task(images(n_classes=3), Tiny(n_classes=n_classes)).sample(2, seed=0, **how)
