"""Noise schedules and the steps back: against diffusers' schedulers, and against the formulas' own consequences."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from lamina.core import UserError
from lamina.tasks.diffusion import Schedule

SCHEDULES = {"linear": Schedule.linear, "cosine": Schedule.cosine}
THEIRS = {"linear": "linear", "cosine": "squaredcos_cap_v2"}
PREDICTIONS = {"epsilon": "epsilon", "x0": "sample", "v": "v_prediction"}


def _normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _scheduler(kind: str, schedule: str, mine: Schedule, **how: object):
    """diffusers' scheduler, its table of alpha-bar checked and then taken at float64."""
    import diffusers  # three seconds, for those who compare

    found = getattr(diffusers, kind)(beta_schedule=THEIRS[schedule], **how)
    theirs = found.alphas_cumprod.double()
    torch.testing.assert_close(mine.kept[1:], theirs, rtol=2e-4, atol=1e-7)  # theirs is float32, rounded 1000 times
    found.alphas_cumprod = mine.kept[1:].clone()
    return found


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_noise_and_velocity_are_those_of_diffusers(schedule):
    mine = SCHEDULES[schedule](1000)
    theirs = _scheduler("DDPMScheduler", schedule, mine)
    x0, noise, t = _normal(6, 2, 3, 3), _normal(6, 2, 3, 3, seed=1), torch.tensor([0, 1, 10, 500, 998, 999])
    near = {"rtol": 1e-12, "atol": 1e-12}
    torch.testing.assert_close(mine.noised(x0, t, noise), theirs.add_noise(x0, noise, t), **near)
    torch.testing.assert_close(mine.target("v", x0, t, noise), theirs.get_velocity(x0, noise, t), **near)


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("variance", ["small", "large"])
@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_ancestral_step_is_that_of_diffusers(schedule, prediction, variance, clip):
    mine = SCHEDULES[schedule](1000)
    kinds = {"prediction_type": PREDICTIONS[prediction], "variance_type": f"fixed_{variance}"}
    for spacing in ("leading", "linspace", "trailing"):
        theirs = _scheduler("DDPMScheduler", schedule, mine, clip_sample=clip, timestep_spacing=spacing, **kinds)
        for n in (1000, 50, 7):
            theirs.set_timesteps(n)
            times = theirs.timesteps.tolist()
            for at in {0, 1, n // 2, n - 2, n - 1}:
                t, before = times[at], [*times, -1][at + 1]
                if variance == "large" and before == -1 and t > 0:
                    continue  # they end with noise of the variance beta; here the last step is the mean
                x, told = _normal(2, 3, 4, 4, seed=at), _normal(2, 3, 4, 4, seed=at + 1)
                noise = _normal(2, 3, 4, 4, seed=99)
                want = theirs.step(told, t, x, generator=torch.Generator().manual_seed(99)).prev_sample
                x0 = mine.x0(prediction, told, x, t)
                got = mine.ancestral(x, x0.clamp(-1, 1) if clip else x0, t, before, noise, variance)
                torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_ddim_step_is_that_of_diffusers(schedule, prediction, eta):
    mine = SCHEDULES[schedule](1000)
    for clip in (False, True):
        theirs = _scheduler(
            "DDIMScheduler", schedule, mine, clip_sample=clip, timestep_spacing="trailing", set_alpha_to_one=True,
            prediction_type=PREDICTIONS[prediction],
        )  # fmt: skip
        for n in (1000, 50, 8):
            theirs.set_timesteps(n)
            times = mine.times(n)
            assert times == theirs.timesteps.tolist()
            for at in (0, n // 2, n - 1):
                t, before = times[at], [*times, -1][at + 1]
                x, told = _normal(2, 3, 4, 4, seed=at), _normal(2, 3, 4, 4, seed=at + 1)
                noise = _normal(2, 3, 4, 4, seed=99)
                want = theirs.step(told, t, x, eta=eta, use_clipped_model_output=clip, variance_noise=noise).prev_sample
                x0 = mine.x0(prediction, told, x, t)
                got = mine.ddim(x, x0.clamp(-1, 1) if clip else x0, t, before, noise, eta)
                torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
def test_the_times_are_the_trailing_ones(spacing):
    mine = Schedule.linear(1000)
    theirs = _scheduler("DDIMScheduler", "linear", mine, timestep_spacing=spacing)
    same = []
    for n in (1, 2, 3, 7, 10, 50, 333, 1000):
        theirs.set_timesteps(n)
        same.append(mine.times(n) == theirs.timesteps.tolist())
    assert all(same) == (spacing == "trailing")


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_predictions_say_the_same_example_and_noise(schedule):
    mine = SCHEDULES[schedule](100)
    x0, noise, t = _normal(5, 3), _normal(5, 3, seed=1), torch.tensor([0, 1, 50, 98, 99])
    x = mine.noised(x0, t, noise)
    for prediction in PREDICTIONS:
        told = mine.target(prediction, x0, t, noise)
        found = mine.x0(prediction, told, x, t)
        torch.testing.assert_close(found, x0, rtol=1e-7, atol=1e-7)  # cosine's last signal is 2e-5
        torch.testing.assert_close(mine.epsilon(found, x, t), noise, rtol=1e-9, atol=1e-9)


def test_noise_step_by_step_is_noise_at_once():
    """x_t from x_{t-1} by q(x_t | x_{t-1}), 200 times: mean and variance of q(x_t | x_0)."""
    mine = Schedule.linear(200)
    mean, variance = 1.0, 0.0
    for t in range(200):
        alpha = float(mine.kept[t + 1] / mine.kept[t])
        mean, variance = alpha**0.5 * mean, alpha * variance + 1 - alpha
        one = torch.ones(1, 1, dtype=torch.float64)
        assert float(mine.noised(one, t, 0 * one)) == pytest.approx(mean, rel=1e-12)
        assert float(mine.noised(0 * one, t, one)) == pytest.approx(variance**0.5, rel=1e-12)


def test_the_posterior_is_bayes():
    """q(x_{t-1} | x_t, x_0) by completing the square of q(x_t | x_{t-1}) q(x_{t-1} | x_0)."""
    mine = Schedule.linear(50)
    x, x0 = _normal(4, 2), _normal(4, 2, seed=1)
    for t in (1, 20, 49):
        a, b = mine.kept[t + 1], mine.kept[t]
        alpha = a / b
        precision = alpha / (1 - alpha) + 1 / (1 - b)
        mean = (alpha.sqrt() / (1 - alpha) * x + b.sqrt() / (1 - b) * x0) / precision
        torch.testing.assert_close(mine.posterior(x, x0, t, t - 1), mean, rtol=1e-11, atol=1e-11)
        assert float(mine.variance("small", t, t - 1, x)) == pytest.approx(float(1 / precision), rel=1e-11)
        assert float(mine.variance("large", t, t - 1, x)) == pytest.approx(float(1 - alpha), rel=1e-11)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_eta_1_is_the_ancestral_step(schedule):
    mine = SCHEDULES[schedule](1000)
    x, x0, noise = _normal(3, 2), _normal(3, 2, seed=1), _normal(3, 2, seed=2)
    for t, before in ((999, 998), (999, 950), (500, 3), (1, 0), (20, -1), (0, -1)):
        one, other = mine.ddim(x, x0, t, before, noise, 1.0), mine.ancestral(x, x0, t, before, noise)
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("which", ["small", "large"])
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_bound_is_the_divergence_of_two_gaussians(prediction, which):
    mine = Schedule.linear(30)
    x0, noise, wrong, t = _normal(4, 5), _normal(4, 5, seed=1), _normal(4, 5, seed=2), torch.tensor([1, 2, 15, 29])
    x = mine.noised(x0, t, noise)
    right = mine.target(prediction, x0, t, noise)
    told = right + wrong
    spread = mine.variance(which, t, t - 1, x).sqrt()
    truth = Normal(mine.posterior(x, x0, t, t - 1), spread)
    found = Normal(mine.posterior(x, mine.x0(prediction, told, x, t), t, t - 1), spread)
    got = mine.bound(prediction, which, t, x) * wrong.square()
    torch.testing.assert_close(got, kl_divergence(truth, found), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("which", ["small", "large"])
def test_the_bounds_first_term_is_a_likelihood(which):
    mine = Schedule.linear(30)
    x0, told = _normal(2, 5), _normal(2, 5, seed=1)
    t = torch.zeros(2, dtype=torch.int64)
    spread = mine.variance(which, 1 if which == "small" else 0, 0 if which == "small" else -1, x0).sqrt()
    want = Normal(x0, spread).log_prob(x0) - Normal(told, spread).log_prob(x0)
    got = mine.bound("x0", which, t, x0) * (x0 - told).square()
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-12)


def test_linear_reaches_noise_whatever_t_is():
    assert float(Schedule.linear(1000).kept[-1]) == pytest.approx(4.0358e-5, rel=1e-4)
    for steps in (100, 200, 500, 4000):
        assert 1e-5 < float(Schedule.linear(steps).kept[-1]) < 5e-5
    for steps in (2, 5, 20, 50):
        assert 0 < float(Schedule.linear(steps).kept[-1]) < 1.1e-3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Schedule.linear(100, (1e-4, 0.02)), r"after 100 steps alpha-bar is 0\.36"),
        (lambda: Schedule.linear(10, (0.1, 1.5)), r"beta_6 = 1\.03333 must lie above 0 and below 1"),
        (lambda: Schedule.linear(1000).times(1001), "give 1 to 1000"),
        (lambda: Schedule.linear(1000).times(0), "give 1 to 1000"),
    ],
)
def test_what_makes_no_noise_is_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()


def test_low_precision_keeps_its_dtype_and_moves_little():
    mine = Schedule.linear(1000)
    x0, noise = _normal(4, 3), _normal(4, 3, seed=1)
    x, t = mine.noised(x0, 700, noise), 700
    for dtype in (torch.float32, torch.bfloat16):
        got = mine.ddim(x.to(dtype), x0.to(dtype), t, 600, noise.to(dtype), 0.5)
        assert got.dtype == dtype
        bound = 16 * torch.finfo(dtype).eps * float(x.abs().max())
        torch.testing.assert_close(got.double(), mine.ddim(x, x0, t, 600, noise, 0.5), rtol=0, atol=bound)
