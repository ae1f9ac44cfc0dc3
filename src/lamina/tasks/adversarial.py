"""Adversarial: two players learn against each other, one update each in turn (Goodfellow et al. 2014)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from lamina.core import Layer, Seq, UserError
from lamina.core.config import rebuild
from lamina.data import CannotTake, DataSet, View
from lamina.layers import Linear
from lamina.layers.projection import Projection
from lamina.tasks.fidelity import nearest
from lamina.tasks.task import Batch, Metric, Task

__all__ = ["Adversarial", "Critic", "discriminator_loss", "generator_loss", "gradient_penalty"]

NOISE = 16  # numbers a frame that a sequence is made of
PENALTY = 10.0  # of the critic's slope (Gulrajani et al. 2017)
FRESH, NEAR = 500, 5  # samples and training images that coverage goes by, and the neighbour whose distance counts
ALIKE, FALLEN, NEVER_WRONG, RECENT, BEGUN = 0.02, 0.5, 0.01, 25, 200  # when the monitor speaks up


def discriminator_loss(kind: str, real: Tensor, made: Tensor) -> Tensor:
    """What the discriminator pays, from its logits D of real and of made images: [B], [B] -> [B].

    non_saturating, minimax   -log s(D(x)) - log(1 - s(D(G(z)))),  s the logistic function; 2 log 2 where D = 0
    hinge                     [1 - D(x)]_+ + [1 + D(G(z))]_+       (Lim & Ye 2017)
    wasserstein               D(G(z)) - D(x)                       (Arjovsky et al. 2017; the penalty is apart)
    """
    if kind == "hinge":
        return (1 - real).relu() + (1 + made).relu()
    return made - real if kind == "wasserstein" else F.softplus(-real) + F.softplus(made)


def generator_loss(kind: str, made: Tensor) -> Tensor:
    """What the generator pays, from the discriminator's logits of its images: [B] -> [B].

    non_saturating        -log s(D(G(z)))
    minimax               log(1 - s(D(G(z)))): flat where the discriminator is sure
    hinge, wasserstein    -D(G(z))
    """
    if kind == "non_saturating":
        return F.softplus(-made)
    return -F.softplus(made) if kind == "minimax" else -made


def gradient_penalty(critic: nn.Module, real: Tensor, made: Tensor, more: tuple[Tensor, ...], share: Tensor) -> Tensor:
    """(|dD/dx| - 1)^2 at x = share * real + (1 - share) * made, one share a row: [B] (Gulrajani et al. 2017).

    It has a graph of its own, so that the critic can learn from it. more: what the critic takes beside x.
    """
    share = share.reshape(-1, *(1 for _ in real.shape[1:]))
    x = (share * real + (1 - share) * made).detach().requires_grad_()
    (slope,) = torch.autograd.grad(critic(x, *more).sum(), x, create_graph=True)
    return (slope.flatten(1).norm(dim=1) - 1).square()


class Turns(nn.Module):
    """Whose update it is, in a buffer that checkpoints keep: `n` of the discriminator, then one of the generator."""

    updates: Tensor

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n = n
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def discriminates(self, update: int | None = None) -> bool:
        """Whether that update, counted from 0, is the discriminator's; None for the next one."""
        return (int(self.updates) if update is None else update) % (self.n + 1) < self.n


class Critic(nn.Module):
    """How real sequences [B,T,F] seem, [B]: another copy of a structure, and a logit of the mean of its frames."""

    def __init__(self, backbone: Layer, d_in: int) -> None:
        super().__init__()
        self.stem = Linear(d_in, cast(int, backbone.d_in))
        self.body = rebuild(backbone)
        self.head = Projection(cast(int, backbone.d_out), 1)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(self.stem(Seq.of(x))).values.mean(1))
        return logits[:, 0]


class Adversarial(Task):
    """A generator learns to make what a discriminator cannot tell from real examples.

    Each update is one player's: in training forward gives what that player pays for each row, [B], and the other's
    weights get no gradient. The losses are above, by the model's key `loss`; the discriminator has one update to the
    generator's one, five with "wasserstein". The discriminator's logit is a class's where the model has classes.

    Images: both players are the model's. Sequences: noise [B,T,16], half of it the same at all frames, goes through a
    stem, the backbone and a head to frames [B,T,F], and a second copy of the same structure tells (`Critic`).

    The metric is coverage, 0..1, higher is better: the share of a part's examples that one of 500 fresh samples (of a
    fixed seed) comes as near to as the fifth nearest of 500 training examples, in the distance of pixels or features.
    Samples like training examples would get 1 - 2^-5 = 97 %. It does not ask the discriminator. In evaluation mode
    forward gives the distance to the nearest sample, [B].

    Raises UserError where several processes train: which weights have gradients changes from one update to the next.
    """

    metric = Metric("coverage", "higher")
    betas = (0.5, 0.999)  # (Radford, Metz & Chintala 2015): more momentum makes the two circle each other

    def __init__(self, view: View, backbone: nn.Module, n_out: int, *, own_head: bool = False, taps: int = 0) -> None:
        seen = view if own_head else replace(view, d_in=NOISE)  # what the stem takes
        super().__init__(seen, backbone, view.d_in, own_head=own_head, taps=taps)
        self.view, self.n_out = view, n_out
        self.critic = None if own_head else Critic(cast(Layer, backbone), view.d_in)
        self.kind = str(backbone.loss) if own_head else "non_saturating"
        self.n_classes = cast(int, backbone.n_classes) if own_head else 0
        self.turns = Turns(5 if self.kind == "wasserstein" else 1)
        self.near: Tensor | None = None  # training examples as rows [500,numbers]

    def meet(self, dataset: DataSet) -> None:
        if dataset.train.lengths is not None:
            raise CannotTake(f"makes examples of one length; {dataset.name}'s lengths differ")
        x = dataset.train.x
        some = x[:: max(1, len(x) // FRESH)][:FRESH]
        self.near = self._real(some).flatten(1) if len(some) else None

    def forward(self, batch: Batch) -> Tensor:
        real = self._real(batch["x"])
        if not self.training:
            return nearest(real.flatten(1), self._fresh().flatten(1))
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            raise UserError("adversarial: the players take turns in one process; start it without `accelerate launch`")
        more = (batch["y"],) if self.n_classes else ()
        noise = self._noise(len(real)).to(real.device)
        if self.turns.discriminates():
            return self._discriminate(real, noise, more)
        return generator_loss(self.kind, _idle(self.discriminator, self.generate(noise, *more), *more))

    @property
    def discriminator(self) -> nn.Module:
        """The player that tells: its logit of each example, [B]."""
        return cast(nn.Module, self.backbone.discriminator) if self.critic is None else self.critic

    def generate(self, noise: Tensor, *more: Tensor) -> Tensor:
        """The other player's examples from noise, in the range that networks see; more: their classes, if any."""
        if self.stem is None or self.head is None:
            return cast(Tensor, self.backbone(noise, *more))
        return self.head(self.backbone(self.stem(Seq.of(noise))).values)

    def _noise(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """[n,d_noise], or [n,T,16] of which half is the same at all frames: what an example is as a whole."""
        if self.critic is None:
            return torch.randn(n, cast(int, self.backbone.d_noise), generator=generator)
        whole, each = (torch.randn(n, t, NOISE // 2, generator=generator) for t in (1, self.view.frames))
        return torch.cat([whole.expand_as(each), each], 2)

    def _real(self, x: Tensor) -> Tensor:
        """Real examples in the range that networks see."""
        seen = self.view(x)
        return seen.values if isinstance(seen, Seq) else seen

    def _discriminate(self, real: Tensor, noise: Tensor, more: tuple[Tensor, ...]) -> Tensor:
        with torch.no_grad():
            made = self.generate(noise, *more)
        critic = self.discriminator
        loss = discriminator_loss(self.kind, critic(real, *more), critic(made, *more))
        if self.kind == "wasserstein":
            share = torch.rand(len(real), device=real.device)
            loss = loss + PENALTY * gradient_penalty(critic, real, made, more, share)
        return loss

    @torch.no_grad()
    def sample(self, n: int, *, seed: int, classes: Sequence[int] | Tensor | None = None) -> Tensor:
        """n fresh examples in the data's own range, images [n,C,H,W] in 0..1; the same for the same n and seed.

        classes: of each, where the model has classes; all of them in turn where None.
        """
        device, training = next(self.parameters()).device, self.training
        more = self._classes(n, classes)
        noise = self._noise(n, torch.Generator().manual_seed(seed))
        self.eval()
        parts = zip(*(part.to(device).split(FRESH) for part in (noise, *more)), strict=True)
        made = torch.cat([self.generate(*rows) for rows in parts])
        self.train(training)
        mean, deviation = self.view.scale
        made = made * deviation + mean
        return made.clamp(0, 1) if self.critic is None else made

    def _classes(self, n: int, classes: Sequence[int] | Tensor | None) -> tuple[Tensor, ...]:
        known = self.n_classes
        if not known:
            if classes is not None:
                raise UserError("classes: this model has none; train a gan with n_classes=10")
            return ()
        asked = torch.arange(n) % known if classes is None else torch.as_tensor(classes, dtype=torch.int64).cpu()
        if asked.shape != (n,) or (n and not 0 <= int(asked.min()) <= int(asked.max()) < known):
            raise UserError(f"classes: give {n} of 0..{known - 1}, one an example")
        return (asked,)

    def _fresh(self) -> Tensor:
        """The samples that coverage and the monitor go by, in the range that networks see."""
        mean, deviation = self.view.scale
        return (self.sample(FRESH, seed=0) - mean) / deviation

    def stepped(self) -> None:
        self.turns.updates += 1

    def watch(self, loss: Sequence[tuple[int, float]], dev: Sequence[tuple[int, float]]) -> str | None:
        """What goes wrong, if anything: samples all alike, coverage that has fallen, a discriminator never wrong."""
        if len(loss) < BEGUN:  # a new generator's images are all grey
            return None
        spread = float(self._fresh().flatten(1).var(0).sum())
        if self.near is not None and spread < ALIKE * float(self.near.var(0).sum()):
            return "all samples look alike: the generator ignores its noise; try a lower --lr or --set loss=wasserstein"
        best = max((score for _, score in dev), default=0.0)
        if best > 0.1 and dev[-1][1] < FALLEN * best:
            return "coverage is below half of its best: the generator is losing kinds of images; try a lower --lr"
        told = [value for step, value in loss if self.turns.discriminates(step - 1)][-RECENT:]
        if self.kind != "wasserstein" and len(told) == RECENT and sum(told) < NEVER_WRONG * RECENT:
            return "the discriminator is never wrong: the generator learns little; try --set loss=wasserstein"
        return None

    def pool(self, frames: Seq, batch: Batch) -> Tensor:
        raise TypeError("a generator has no answers to pool")

    def criterion(self, prediction: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        return prediction.sum(), prediction.new_tensor(float(len(prediction)))

    def each(self, prediction: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        if self.near is None:
            raise UserError("adversarial: coverage goes by training examples; make the task with its data")
        real = self._real(batch["x"]).flatten(1)
        covered = (prediction <= nearest(real, self.near.to(real), NEAR)).float()
        return covered, torch.ones_like(covered)


def _idle(module: nn.Module, *inputs: Any) -> Tensor:
    """A player's answer while it is the other's turn: the graph runs through it, its weights stay out."""
    return cast(Tensor, functional_call(module, {name: p.detach() for name, p in module.named_parameters()}, inputs))
