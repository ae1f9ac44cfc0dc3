"""The mathematics of denoising diffusion: how noise is added in T steps, and how a step is taken back (2020-2022)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import cos, pi
from typing import Literal

import torch
from torch import Tensor, nn

from lamina.core.config import UserError

__all__ = ["LEFT", "Prediction", "Schedule", "Variance"]

Prediction = Literal["epsilon", "x0", "v"]
Variance = Literal["small", "large"]
LEFT = 0.01  # the most of the data's variance that the last step may leave
MOST = 0.999  # of a beta


class Schedule(nn.Module):
    """T steps of noise, t = 0 .. T-1 (Ho, Jain & Abbeel 2020, arXiv:2006.11239). t = -1 is the example itself.

        q(x_t | x_{t-1}) = N(sqrt(1 - beta_t) x_{t-1}, beta_t),    abar_t = prod_{i<=t} (1 - beta_i),    abar_{-1} = 1
        q(x_t | x_0)     = N(sqrt(abar_t) x_0, 1 - abar_t)

    x, x0 and noise are [B,...], t and before an int for all rows or a tensor [B] of integers. The table of abar is
    float64; results have the dtype of x. A step back goes from t to any earlier time `before`, not only to t-1: alpha =
    abar_t / abar_before and beta = 1 - alpha are then those of the whole stride (Nichol & Dhariwal 2021).

    betas: beta_0 .. beta_{T-1}, each above 0 and below 1. UserError where they leave more than LEFT of the data's
    variance at t = T-1, for samples begin from noise alone.
    """

    kept: Tensor

    def __init__(self, betas: Sequence[float]) -> None:
        super().__init__()
        wrong = [(t, beta) for t, beta in enumerate(betas) if not 0 < beta < 1]
        if wrong or not len(betas):
            raise UserError("noise: beta_{} = {:g} must lie above 0 and below 1".format(*(wrong or [(0, 0.0)])[0]))
        kept = [1.0]
        for beta in betas:
            kept.append(kept[-1] * (1 - beta))
        if kept[-1] > LEFT:
            raise UserError(
                f"noise: after {len(betas)} steps alpha-bar is {kept[-1]:.3g}, so that much of the data's variance is "
                f"left; it must be at most {LEFT}: take larger betas or more noise_steps"
            )
        self.register_buffer("kept", torch.tensor(kept, dtype=torch.float64), persistent=False)

    @classmethod
    def linear(cls, steps: int, betas: tuple[float, float] | None = None) -> Schedule:
        """Betas evenly from the first to the last: 1e-4 to 0.02 where there are 1000 steps (Ho et al. 2020).

        None: of T steps both are multiplied by 1000 / T, and a beta is 0.999 at most, so that abar ends near 4e-5
        from some hundred steps on, and at 1e-3 at most below.
        """
        first, last = betas or (1e-4 * 1000 / steps, 0.02 * 1000 / steps)
        slope = (last - first) / max(1, steps - 1)
        found = [first + slope * t for t in range(steps)]
        return cls(found if betas else [min(beta, MOST) for beta in found])

    @classmethod
    def cosine(cls, steps: int) -> Schedule:
        """abar_t = f(t + 1) / f(0), f(t) = cos^2((t / T + 0.008) / 1.008 * pi / 2), a beta 0.999 at most (Nichol &
        Dhariwal 2021, arXiv:2102.09672): images keep their shape for longer than under the linear one.
        """
        f = [cos((t / steps + 0.008) / 1.008 * pi / 2) ** 2 for t in range(steps + 1)]
        return cls([min(1 - b / a, MOST) for a, b in pairwise(f)])

    @property
    def steps(self) -> int:
        return len(self.kept) - 1

    def noised(self, x0: Tensor, t: Tensor | int, noise: Tensor) -> Tensor:
        """x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) noise: a draw of q(x_t | x_0) where noise is N(0, 1)."""
        signal, spread = self._scales(t, x0)
        return signal * x0 + spread * noise

    def target(self, prediction: Prediction, x0: Tensor, t: Tensor | int, noise: Tensor) -> Tensor:
        """What a network is asked for: the noise, the example, or v = sqrt(abar_t) noise - sqrt(1 - abar_t) x_0
        (Salimans & Ho 2022, arXiv:2202.00512).
        """
        if prediction == "epsilon":
            return noise
        if prediction == "x0":
            return x0
        signal, spread = self._scales(t, x0)
        return signal * noise - spread * x0

    def x0(self, prediction: Prediction, told: Tensor, x: Tensor, t: Tensor | int) -> Tensor:
        """The example that a network's answer about x = x_t speaks of."""
        signal, spread = self._scales(t, x)
        if prediction == "epsilon":
            return (x - spread * told) / signal
        return told if prediction == "x0" else signal * x - spread * told

    def epsilon(self, x0: Tensor, x: Tensor, t: Tensor | int) -> Tensor:
        """The noise in x = x_t where x_0 is the example: (x_t - sqrt(abar_t) x_0) / sqrt(1 - abar_t)."""
        signal, spread = self._scales(t, x)
        return (x - signal * x0) / spread

    def posterior(self, x: Tensor, x0: Tensor, t: Tensor | int, before: Tensor | int) -> Tensor:
        """The mean of q(x_before | x_t, x_0):

        sqrt(abar_before) beta / (1 - abar_t) x_0 + sqrt(alpha) (1 - abar_before) / (1 - abar_t) x_t
        """
        a, b = self._kept(t, x), self._kept(before, x)
        first, second = b.sqrt() * (1 - a / b) / (1 - a), (a / b).sqrt() * (1 - b) / (1 - a)
        return first.to(x.dtype) * x0 + second.to(x.dtype) * x

    def variance(self, which: Variance, t: Tensor | int, before: Tensor | int, like: Tensor) -> Tensor:
        """The variance of a step back. "small", the posterior's own: (1 - abar_before) / (1 - abar_t) beta, right where
        all examples are one; "large": beta, right where they are N(0, 1). [B,1,...] or [1,1,...], like `like`.
        """
        a, b = self._kept(t, like), self._kept(before, like)
        beta = 1 - a / b
        return (beta if which == "large" else beta * (1 - b) / (1 - a)).to(like.dtype)

    def ancestral(
        self, x: Tensor, x0: Tensor, t: Tensor | int, before: Tensor | int, noise: Tensor, which: Variance = "small"
    ) -> Tensor:
        """x_before ~ N(posterior mean, variance), and its mean alone where `before` is -1.

        This is the step of diffusers' DDPMScheduler: which="small" is fixed_small, "large" fixed_large; x0 within -1..1
        is clip_sample.
        """
        spread = self.variance(which, t, before, x).sqrt() * (self._kept(before, x) < 1).to(x.dtype)
        return self.posterior(x, x0, t, before) + spread * noise

    def ddim(
        self, x: Tensor, x0: Tensor, t: Tensor | int, before: Tensor | int, noise: Tensor, eta: float = 0.0
    ) -> Tensor:
        """A step that the same network allows, its noise as eta says (Song, Meng & Ermon 2021, arXiv:2010.02502).

            x_before = sqrt(abar_before) x_0 + sqrt(1 - abar_before - s^2) epsilon + s noise,    s^2 = eta^2 variance

        The variance is the small one. eta 0 adds no noise, so that a sample hangs on its first noise alone; eta 1 is
        the ancestral step. This is the step of diffusers' DDIMScheduler with set_alpha_to_one (its default), and
        use_clipped_model_output where x0 is clipped: epsilon is always that of x0.
        """
        b, small = self._kept(before, x), self.variance("small", t, before, x.double())
        along, spread = (1 - b - eta**2 * small).clamp(min=0).sqrt(), eta * small.sqrt()
        found = b.sqrt().to(x.dtype) * x0 + along.to(x.dtype) * self.epsilon(x0, x, t)
        return found + spread.to(x.dtype) * noise

    def times(self, n: int) -> list[int]:
        """The n times that a sample goes through, T-1 first: round(T - i T / n) - 1, i = 0 .. n-1; behind them is -1.

        diffusers' timestep_spacing="trailing": of its three, this and "linspace" begin where x_t is noise, and only
        this one takes equal strides down to the example.
        """
        if not 1 <= n <= self.steps:
            raise UserError(f"{n} steps of sampling: this model was trained with {self.steps}; give 1 to {self.steps}")
        return [round(self.steps - i * self.steps / n) - 1 for i in range(n)]

    def bound(self, prediction: Prediction, which: Variance, t: Tensor, like: Tensor) -> Tensor:
        """The weight, [B,1,...], with which an answer's squared error counts in the variational bound.

            KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)) = c^2 / (2 variance) ||x_0 - found||^2,
            c = sqrt(abar_{t-1}) beta_t / (1 - abar_t)

        in nats, without what no weight changes; for epsilon times (1 - abar_t) / abar_t, for v times 1 - abar_t. At
        t = 0 there is no KL but -log p(x_0 | x_1), a Gaussian about what was found; as the posterior's own variance is
        0 there, "small" takes that of t = 1 (Nichol & Dhariwal 2021).
        """
        a, b = self._kept(t, like), self._kept(t - 1, like)
        c = b.sqrt() * (1 - a / b) / (1 - a)
        at = t.clamp(min=1) if which == "small" else t
        weight = c.square() / (2 * self.variance(which, at, at - 1, like.double()))
        to_x0 = {"epsilon": (1 - a) / a, "x0": torch.ones_like(a), "v": 1 - a}[prediction]
        return (weight * to_x0).to(like.dtype)

    def _kept(self, t: Tensor | int, like: Tensor) -> Tensor:
        """abar_t as float64 [B,1,...] or, of an int, [1,1,...]."""
        found = self.kept[torch.as_tensor(t, device=self.kept.device) + 1]
        return found.reshape(-1, *(1 for _ in like.shape[1:]))

    def _scales(self, t: Tensor | int, like: Tensor) -> tuple[Tensor, Tensor]:
        """sqrt(abar_t) and sqrt(1 - abar_t)."""
        kept = self._kept(t, like)
        return kept.sqrt().to(like.dtype), (1 - kept).sqrt().to(like.dtype)
