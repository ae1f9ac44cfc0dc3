"""A product quantizer: each group of a frame is one of a few learned vectors, chosen by Gumbel softmax."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lamina.core import Pointwise, Seq, State
from lamina.layers.projection import Projection

__all__ = ["Choice", "ProductQuantizer", "perplexity"]


class Choice(NamedTuple):
    """Of frames [B,T,d_in]: the chosen vectors [B,T,d_code], their numbers [B,T,G] int64, the softmax of the logits
    [B,T,G,V]; or of [A,d_in], without B and T.
    """

    values: Tensor
    codes: Tensor
    shares: Tensor


class ProductQuantizer(Pointwise):
    """q = [e_1, ..., e_G], e_g a row of the group's table [V,d_code/G]: V^G vectors from G V rows (Jegou et al. 2011).

        training    p = softmax((W x + b + n) / temperature), n of Gumbel's distribution; forward takes the likeliest
                    row, the gradient is p's (Jang et al. 2016, arXiv:1611.01144: straight through)
        otherwise   the row of the largest logit

    temperature is an attribute, to be lowered in training. [B,T,d_in] -> [B,T,d_code], no state.
    """

    def __init__(self, d_in: int, d_code: int, n_groups: int = 2, n_codes: int = 320) -> None:
        super().__init__()
        if d_code % n_groups:
            raise ValueError(f"ProductQuantizer: d_code={d_code} is not a multiple of n_groups={n_groups}")
        self.d_in, self.d_out, self.n_groups, self.n_codes = d_in, d_code, n_groups, n_codes
        self.temperature = 2.0
        self.logits = Projection(d_in, n_groups * n_codes)
        self.table = nn.Parameter(torch.rand(n_groups, n_codes, d_code // n_groups))
        # wide logits: the first choices are all sorts, not the noise's
        nn.init.normal_(self.logits.weight)
        nn.init.zeros_(self.logits.bias)

    def choose(self, x: Tensor, *, noisy: bool) -> Choice:
        """x [...,d_in] -> what is chosen of it, and how surely; noisy: as in training."""
        logits = self.logits(x).unflatten(-1, (self.n_groups, self.n_codes))
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if noisy:
            # drawn in float32 whatever the weights are, so that a seed means one thing
            noise = -torch.empty(logits.shape, device=x.device).exponential_().log()
            p = ((logits + noise) / self.temperature).softmax(-1)
            codes = p.argmax(-1)
            hard = F.one_hot(codes, self.n_codes).to(p.dtype)
            hard = hard - p.detach() + p
        else:
            codes = logits.argmax(-1)
            hard = F.one_hot(codes, self.n_codes).to(logits.dtype)
        values = torch.einsum("...gv,gvk->...gk", hard.to(self.table.dtype), self.table).flatten(-2)
        return Choice(values, codes, logits.softmax(-1))

    def forward(self, x: Seq, memory: Seq | None = None) -> Seq:
        return x.with_values(self.choose(x.zeroed(), noisy=self.training).values)

    def step(self, x: Seq, state: State, memory: Seq | None = None) -> tuple[Seq, State]:
        return x.with_values(self.choose(x.zeroed(), noisy=False).values), {}


def perplexity(shares: Tensor) -> Tensor:
    """sum_g exp(-sum_v p_gv log p_gv): how many rows of the tables [G,V] are in use, G V where all are alike."""
    # a share may underflow to 0, where entr's gradient is infinite and NaN behind a softmax
    logs = shares.clamp(min=torch.finfo(shares.dtype).tiny).log()
    return (shares * -logs).sum(-1).exp().sum()
