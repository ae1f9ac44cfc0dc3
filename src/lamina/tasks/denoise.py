"""Denoising: a network that tells the noise in an example, and the sampler that takes it away (Ho et al. 2020)."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from lamina.core import Seq, UserError
from lamina.core.config import Config
from lamina.data import View
from lamina.tasks.diffusion import Prediction, Schedule, Variance
from lamina.tasks.task import Batch, Metric, Task

__all__ = ["AT_ONCE", "DROPPED", "Denoise", "DenoiseKeys", "Noised"]

DROPPED = 0.1  # of the classes in training (Ho & Salimans 2022)
WAVES = 32  # numbers that say the time, and as many the class, to a sequence model
AT_ONCE = 256  # examples that the network sees together while it samples


class DenoiseKeys(Config):
    """noise_steps: T. betas: the first and the last of the linear schedule, None for `Schedule.linear`'s own.
    prediction: None for epsilon of images and x0 of frames, whose networks are too narrow for all of the noise.
    variance: of the steps of ancestral sampling, and of the bound.
    """

    noise_steps: int = Field(1000, ge=2)
    schedule: Literal["linear", "cosine"] = "linear"
    betas: tuple[float, float] | None = None
    prediction: Prediction | None = None
    loss: Literal["simple", "variational"] = "simple"
    variance: Variance = "small"

    def made(self) -> Schedule:
        if self.schedule == "cosine":
            if self.betas:
                raise UserError("betas: the cosine schedule has none to set; leave them out, or take schedule=linear")
            return Schedule.cosine(self.noise_steps)
        return Schedule.linear(self.noise_steps, self.betas)


class Noised(NamedTuple):
    """What the network told of noised examples and what it was asked for, [B,...], and at which times, [B]."""

    told: Tensor
    asked: Tensor
    t: Tensor


class Denoise(Task):
    """Denoising diffusion (Ho, Jain & Abbeel 2020, arXiv:2006.11239).

        x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) epsilon,    loss = w_t ||told(x_t, t) - asked||^2

    asked is epsilon, x_0 or v (`Schedule.target`). Loss "simple": w_t = 1; "variational": T times `Schedule.bound`, so
    that the mean over t is the bound, in nats a number. x_0 are images from -1 to 1, or frames of mean 0, deviation 1.

    In training t is uniform and both are drawn from the global generator; in evaluation a row's t and noise hang on its
    own numbers alone, so that scores compare, whatever the batches. The metric is the mean squared error of what was
    asked, unweighted; those of two kinds of prediction are two things.

    Image models take (images [B,C,H,W], t [B], classes [B] or None) and have `image_shape`, and n_classes, 0 for none.
    Around a sequence model [B,T,d_in] -> [B,T,d_out] stand a stem, which takes each noised frame beside waves of the
    time and a vector of the class, and a head to frames again; n_out is the number of classes. Where there are classes,
    a tenth of them is told as "none" in training (classifier-free guidance, Ho & Salimans 2022, arXiv:2207.12598).
    """

    metric = Metric("denoising error", "lower")
    keys_of = DenoiseKeys

    def __init__(
        self, view: View, backbone: nn.Module, n_out: int, *, own_head: bool = False, taps: int = 0,
        keys: DenoiseKeys | None = None,
    ) -> None:  # fmt: skip
        wide = replace(view, d_in=view.d_in + 2 * WAVES)
        super().__init__(wide, backbone, view.d_in, own_head=own_head, taps=taps)
        self.view, self.n_out = view, n_out
        self.keys = keys or DenoiseKeys()
        self.schedule = self.keys.made()
        self.prediction: Prediction = self.keys.prediction or ("epsilon" if own_head else "x0")
        self.n_classes = int(getattr(backbone, "n_classes", 0)) if own_head else n_out
        colours = getattr(getattr(backbone, "config", None), "d_out", None)
        if own_head and colours not in (None, backbone.image_shape[0]):  # type: ignore[index]
            raise UserError(f"d_out={colours}: an answer has an image's shape; leave d_out out")
        if own_head and self.n_classes and not getattr(backbone, "no_class", True):
            raise UserError("no_class=false: a tenth of the classes is told as none in training; leave it out")
        if self.n_classes not in (0, n_out):
            raise UserError(f"n_classes={self.n_classes}: the data have {n_out} classes; give n_classes={n_out} or 0")
        self.classes = None if own_head else nn.Embedding(n_out + 1, WAVES)
        shape = cast(tuple[int, ...], backbone.image_shape) if own_head else (view.frames, view.d_in)
        self.shape, self.clip = tuple(shape), own_head

    def forward(self, batch: Batch) -> Any:
        x, classes = self._seen(batch["x"]), batch["y"] if self.n_classes else None
        if self.training:
            t, noise = torch.randint(self.schedule.steps, (len(x),), device=x.device), torch.randn_like(x)
            if classes is not None:
                dropped = torch.rand(len(x), device=x.device) < DROPPED
                classes = classes.masked_fill(dropped, self.n_classes)
        else:
            t, noise = self._fixed(batch["x"], x)
        told = self.tell(self.schedule.noised(x, t, noise), t, classes)
        return Noised(told, self.schedule.target(self.prediction, x, t, noise), t)

    def tell(self, x: Tensor, t: Tensor, classes: Tensor | None) -> Tensor:
        """The network's answer about x = x_t [B,...] at the times t [B]. Class n_classes, and None, is no class."""
        if self.stem is None or self.head is None or self.classes is None:
            found: Tensor = self.backbone(x, t, classes)
            return found
        if classes is None:
            classes = torch.full_like(t, self.n_classes)
        what = torch.cat([_waves(t / self.schedule.steps).to(x.dtype), self.classes(classes)], -1)
        frames = Seq.of(torch.cat([x, what[:, None].expand(-1, x.shape[1], -1)], -1))
        return self.head(self.backbone(self.stem(frames)).values)

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        seed: int,
        steps: int | None = None,
        eta: float | None = None,
        guidance: float = 0.0,
        classes: Sequence[int] | None = None,
        on_step: Callable[[int, int, Tensor, Tensor], object] | None = None,
    ) -> Tensor:
        """n examples in the data's own range, [n,*shape]: from noise alone, step by step.

        steps None: all T, ancestral with the variance of the keys. Fewer, or with eta: DDIM's, eta 0 unless given. x_0
        of images is kept within -1..1 at every step. classes: one each; None gives a model of classes all of them in
        turn, n_classes is no class. guidance w, in the paper's own convention:

            told = (1 + w) told(x, t, class) - w told(x, t, no class)

        so that 0 is the class alone and -1 none. on_step(step, of, x_t, x_0) sees both in the data's range after each
        step. The same seed gives the same examples. Left in the mode it was in.
        """
        told = self._told_of(n, classes, guidance)
        training, device = self.training, self.schedule.kept.device
        self.eval()
        generator = torch.Generator().manual_seed(seed)  # of the CPU, so that a seed is one everywhere
        like = next(self.parameters())

        def noise() -> Tensor:
            return torch.randn(n, *self.shape, generator=generator).to(device, like.dtype)

        ancestral = steps is None and eta is None
        times, x = self.schedule.times(self.schedule.steps if steps is None else steps), noise()
        still = torch.zeros_like(x)
        for done, (t, before) in enumerate(zip(times, [*times[1:], -1], strict=True), 1):
            x0 = self.schedule.x0(self.prediction, self._guided(x, t, told, guidance), x, t)
            if self.clip:
                x0 = x0.clamp(-1, 1)
            if ancestral:
                x = self.schedule.ancestral(x, x0, t, before, noise() if before >= 0 else still, self.keys.variance)
            else:
                x = self.schedule.ddim(x, x0, t, before, noise() if eta and before >= 0 else still, eta or 0.0)
            if on_step is not None:
                on_step(done, len(times), self._shown(x), self._shown(x0))
        self.train(training)
        return self._shown(x)

    def identity(self) -> dict[str, Any]:
        return {"denoise": self.keys.model_dump(mode="json")}

    def pool(self, frames: Seq, batch: Batch) -> Tensor:
        return frames.values

    def criterion(self, prediction: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        errors = self._errors(prediction)
        count = errors.new_tensor(float(prediction.told.numel()))
        if self.keys.loss == "variational":
            keys, t = self.keys, prediction.t
            errors = errors * self.schedule.steps * self.schedule.bound(self.prediction, keys.variance, t, errors)
        return errors.sum(), count

    def each(self, prediction: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        errors = self._errors(prediction)
        return errors, torch.full_like(errors, prediction.told[0].numel())

    def _errors(self, noised: Noised) -> Tensor:
        return (noised.told - noised.asked).square().flatten(1).sum(1)

    def _seen(self, x: Tensor) -> Tensor:
        seen = self.view(x)
        return seen.values if isinstance(seen, Seq) else seen

    def _shown(self, x: Tensor) -> Tensor:
        """From what the network sees to the data's own range."""
        mean, deviation = self.view.scale
        found = x * deviation + mean
        return found.clamp(0, 1) if self.clip else found

    def _fixed(self, rows: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Of each row a time [B] and its noise, drawn from a seed that is a checksum of its numbers."""
        t, noise, generator = [], [], torch.Generator()
        for row in rows.float().cpu():
            generator.manual_seed(zlib.crc32(row.contiguous().numpy().tobytes()))
            t.append(torch.randint(self.schedule.steps, (), generator=generator))
            noise.append(torch.randn(like.shape[1:], generator=generator))
        return torch.stack(t).to(like.device), torch.stack(noise).to(like)

    def _told_of(self, n: int, classes: Sequence[int] | None, guidance: float) -> Tensor | None:
        """The class of each of n samples, None for a model without classes."""
        if n < 1:
            raise UserError(f"{n} samples: give at least 1")
        if not self.n_classes:
            if classes is not None or guidance:
                raise UserError("this model was trained without classes; leave out classes and guidance, or train one "
                                "with n_classes")  # fmt: skip
            return None
        found = [i % self.n_classes for i in range(n)] if classes is None else list(classes)
        wrong = [c for c in found if not 0 <= c <= self.n_classes]
        if wrong or len(found) != n:
            what = f"class {wrong[0]}" if wrong else f"{len(found)} classes"
            raise UserError(f"{what}: give {n}, each 0 to {self.n_classes}, where {self.n_classes} is none of them")
        return torch.tensor(found, device=self.schedule.kept.device)

    def _guided(self, x: Tensor, t: int, classes: Tensor | None, guidance: float) -> Tensor:
        """The network's answer, with guidance, AT_ONCE rows at a time."""
        found = []
        for at in range(0, len(x), AT_ONCE):
            rows = x[at : at + AT_ONCE]
            times = torch.full((len(rows),), t, device=x.device)
            some = None if classes is None else classes[at : at + AT_ONCE]
            told = self.tell(rows, times, some)
            if guidance and some is not None:
                none = self.tell(rows, times, torch.full_like(some, self.n_classes))
                told = (1 + guidance) * told - guidance * none
            found.append(told)
        return torch.cat(found)


def _waves(share: Tensor) -> Tensor:
    """A time t / T in 0..1 as sines and cosines [B,WAVES], of a quarter turn over all times to a thousand of them."""
    turns = torch.logspace(0, 3, WAVES // 2, dtype=torch.float64, device=share.device)
    angle = share.double()[:, None] * torch.pi / 2 * turns
    return torch.cat([angle.sin(), angle.cos()], -1)
