"""Contrastive pretraining: which of many codes stood where a span of speech is masked (Baevski et al. 2020)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from lamina.core import Config, Layer, Seq
from lamina.data import CannotTake, DataSet, View
from lamina.layers import SpanMask
from lamina.layers.quantizer import perplexity
from lamina.models.wav2vec2 import Contrast, Wav2Vec2
from lamina.tasks.task import Batch, Metric, Task

__all__ = ["Contrastive", "Told", "contrasted", "distractors"]

SEED = 1_000_000  # of the masks and distractors that a part is scored with, plus a row's length
COLLAPSED, BEGUN, RECENT = 0.1, 200, 0.99  # when the monitor speaks up, and how slowly it forgets


class ContrastKeys(Config):
    """Settings of contrastive pretraining; as published (base): 2 groups of 320 codes, 100 distractors."""

    n_groups: int = Field(2, ge=1, description="a code is a choice in each group")
    n_codes: int = Field(320, ge=2, description="to choose from in a group")
    d_code: int = Field(256, ge=1, description="of the codes of all groups")
    d_told: int = Field(256, ge=1, description="of the space in which frames meet codes")
    distractors: int = Field(100, ge=1, description="codes of other masked frames of the utterance")
    kappa: float = Field(0.1, gt=0, description="divides the cosines")
    diversity: float = Field(0.1, ge=0, description="weight of the loss of codes that are not in use")
    hottest: float = Field(2.0, gt=0, description="temperature of the choice of codes, at first")
    coldest: float = Field(0.5, gt=0, description="and at the end; it falls by equal factors")


class Told(NamedTuple):
    """Of the A masked frames of a batch, row by row: logits [A,1+K], the true code first; their codes [A,G]; the mean
    of their shares [G,V]; how many each row has, [B].
    """

    logits: Tensor
    codes: Tensor
    shares: Tensor
    counts: Tensor


def distractors(n: int, k: int, generator: torch.Generator | None = None) -> Tensor:
    """For each of n frames k others of them, drawn evenly with replacement: [n,k] of 0..n-1, never its own."""
    drawn = torch.randint(max(1, n - 1), (n, k), generator=generator)
    return drawn + (drawn >= torch.arange(n)[:, None]).long()


def contrasted(context: Tensor, values: Tensor, codes: Tensor, others: Tensor, kappa: float) -> Tensor:
    """cos(c_t, q) / kappa for q of frame t itself and of its others: c, q [A,P], codes [A,G], others [A,K] -> [A,1+K].

    -inf for another frame of the same code: it would be as right.
    """
    cosines = F.normalize(context, dim=-1) @ F.normalize(values, dim=-1).t() / kappa
    same = (codes[others] == codes[:, None]).all(-1)
    return torch.cat([cosines.diagonal()[:, None], cosines.gather(1, others).masked_fill(same, -torch.inf)], 1)


class Contrastive(Task):
    """-log exp(s(c_t, q_t) / kappa) / sum_q exp(s(c_t, q) / kappa), s the cosine, q over q_t and K distractors, plus
    diversity * (G V - sum_g exp(H(p_g))) / G V for each masked frame t (Baevski et al. 2020, arXiv:2006.11477).

    z_t is what is heard at a frame; spans of z are masked, c_t is what the structure makes of the rest, q_t the code of
    z_t itself. Distractors are codes of other masked frames of the same utterance. p_g is the mean softmax over the
    codes of group g, of the batch's masked frames: the only part of the loss that depends on batching.

    The metric is the share of masked frames whose own code is nearer than all distractors; while a part is scored, a
    row's masks and distractors depend on its length alone. `further` gives chance, for what is left of the
    distractors (1 where all frames have one code: then nothing is told apart), and how many codes are in use:
    sum_g exp(H), H of the choices, and its share of G V.
    """

    metric = Metric("accuracy", "higher")
    keys_of = ContrastKeys
    used: Tensor

    def __init__(
        self, view: View, backbone: nn.Module, n_out: int, *, own_head: bool = False, taps: int = 0,
        keys: ContrastKeys | None = None,
    ) -> None:  # fmt: skip
        super().__init__(view, backbone, n_out, own_head=own_head, taps=taps)
        self.head = None
        self.keys = found = keys or ContrastKeys()
        d_out = cast(int, backbone.d_out)
        self.contrast = Contrast(self.d_heard, d_out, found.d_code, found.n_groups, found.n_codes, found.d_told)
        self.register_buffer("used", torch.full((found.n_groups, found.n_codes), 1 / found.n_codes))

    @property
    def d_heard(self) -> int:
        """The width of what is heard at a frame."""
        return cast(Wav2Vec2, self.backbone).d_heard

    @property
    def mask(self) -> SpanMask:
        """What hides spans of frames."""
        return cast(Wav2Vec2, self.backbone).mask

    def hear(self, batch: Batch) -> Seq:
        """What is heard at each frame, before it is related to others: [B,T',d_heard]."""
        x = cast(Seq, self.view(batch["x"], batch.get("lengths")))
        return cast(Wav2Vec2, self.backbone).hear(cast(Layer, self.stem)(x))

    def relate(self, z: Seq, hidden: Tensor) -> Seq:
        """The frames related to each other, those at `hidden` [B,T'] told by the rest: [B,T',d_out]."""
        return cast(Wav2Vec2, self.backbone).relate(z, hidden)

    def identity(self) -> dict[str, Any]:
        return {"contrast": self.keys.model_dump(mode="json")}

    def meet(self, dataset: DataSet) -> None:
        net, of = cast(Layer, self.backbone), "samples" if dataset.kind == "samples" else "frames"
        for part in (dataset.train, dataset.dev, dataset.test):
            shortest = dataset.shape[0] if part.lengths is None else int(part.lengths.min())
            if net.frames(shortest) <= self.mask.span:
                raise CannotTake(
                    f"gives {net.frames(shortest)} frames for {dataset.name}'s shortest sound of {shortest:,} {of}, "
                    f"of which a span of {self.mask.span} is to be masked; leave it out, or set span"
                )

    def forward(self, batch: Batch) -> Told:  # type: ignore[override]
        keys, z = self.keys, self.hear(batch)
        seed = None if self.training else SEED
        drawn = self.mask.draw(z.lengths().tolist(), z.mask.shape[1], least=2, seed=seed)
        hidden = drawn.to(z.mask.device)
        context = self.contrast.context(self.relate(z, hidden).values[hidden])
        quantizer = self.contrast.quantizer
        quantizer.temperature = keys.hottest * (keys.coldest / keys.hottest) ** self.done
        choice = quantizer.choose(z.values[hidden], noisy=self.training)
        values, counts, logits = self.contrast.code(choice.values), hidden.sum(1), []
        rows = [part.split(counts.tolist()) for part in (context, values, choice.codes)]
        for c, q, codes in zip(*rows, strict=True):
            own = None if seed is None else torch.Generator().manual_seed(seed + len(c))
            others = distractors(len(c), keys.distractors, own).to(c.device)
            logits.append(contrasted(c, q, codes, others, keys.kappa))
        if self.training:
            self._count(choice.codes)
        return Told(torch.cat(logits), choice.codes, choice.shares.mean(0), counts)

    @torch.no_grad()
    def _count(self, codes: Tensor) -> None:
        chosen = F.one_hot(codes, self.keys.n_codes).to(self.used.dtype).mean(0)
        self.used.lerp_(chosen, 1 - RECENT)

    def criterion(self, prediction: Told, batch: Batch) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        logits, frames = prediction.logits, len(prediction.logits)
        loss = F.cross_entropy(logits, torch.zeros(frames, dtype=torch.int64, device=logits.device), reduction="sum")
        idle = 1 - perplexity(prediction.shares) / prediction.shares.numel()
        return loss + self.keys.diversity * frames * idle, logits.new_tensor(float(frames))

    def each(self, prediction: Told, batch: Batch) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        right = (prediction.logits.argmax(-1) == 0).to(prediction.logits.dtype)
        rows = right.split(prediction.counts.tolist())
        return torch.stack([row.sum() for row in rows]), prediction.counts.to(right.dtype)

    def further(self, told: Iterable[tuple[Told, Batch]]) -> dict[str, float]:  # type: ignore[override]
        chances, counts = [], torch.zeros_like(self.used)
        for prediction, _ in told:
            chances.append(1 / prediction.logits.isfinite().sum(-1))
            counts += F.one_hot(prediction.codes, self.keys.n_codes).sum(0)
        in_use = float(perplexity(counts / counts.sum(-1, keepdim=True)))
        return {"chance": float(torch.cat(chances).mean()), "code_perplexity": in_use,
                "code_share": in_use / self.used.numel()}  # fmt: skip

    def watch(self, loss: Sequence[tuple[int, float]], dev: Sequence[tuple[int, float]]) -> str | None:
        """The codes in use of late, where they are few: then right and wrong answers sound alike."""
        groups, codes = self.used.shape
        if len(loss) < BEGUN or float(perplexity(self.used)) / groups - 1 >= COLLAPSED * (codes - 1):
            return None
        return "the codes collapse: nearly all frames get a few of them; try --set diversity=1 or a lower --lr"

    def pool(self, frames: Seq, batch: Batch) -> Tensor:
        raise TypeError("masked frames are told apart, not pooled")
