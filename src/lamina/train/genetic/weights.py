"""The weights of a network as genes: a whole population of networks is one stacked network."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from lamina import ops
from lamina.core.config import UserError
from lamina.train.genetic.space import Around

__all__ = ["Weights"]

TOGETHER = 64  # networks that are computed at once: more take memory and save nothing


class Weights(Around):
    """The trainable weights of a module, [G] in the order of its parameters; the first candidate has them as they are.

    The others start normal around them. The spread, which mutations are measured by, is a weight's own standard
    deviation in its tensor; where that is 0, as of biases and gains at the start, the mean over all weights.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.named = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self.shapes = {name: p.shape for name, p in self.named.items()}
        self.sizes = [p.numel() for p in self.named.values()]
        tensors = [p.detach().float().cpu() for p in self.named.values()]
        spreads = torch.stack([t.std(correction=0) for t in tensors])
        spreads[spreads == 0] = spreads.mean()
        centre = torch.cat([t.flatten() for t in tensors])
        super().__init__(centre, spreads.repeat_interleave(torch.tensor(self.sizes)))

    def split(self, population: Tensor) -> dict[str, Tensor]:
        """A population [P,G] as stacked weights: name -> [P,*shape]; views, not copies."""
        parts = population.split(self.sizes, 1)
        return {name: p.view(-1, *shape) for (name, shape), p in zip(self.shapes.items(), parts, strict=True)}

    def outputs(self, population: Tensor, call: Callable[[nn.Module], Tensor]) -> Tensor:
        """call(module) with the weights of each candidate, stacked: [P, ...].

        All candidates go through each operator at once (`torch.func.vmap`); the ops' own kernels, which know nothing
        of stacked weights, give way to their definitions. UserError where the network cannot be stacked.
        """

        def one(weights: dict[str, Tensor]) -> Tensor:
            return torch.func.functional_call(
                _Called(self.module, call), {f"module.{n}": w for n, w in weights.items()}, ()
            )

        device = next(iter(self.named.values())).device
        try:
            # attention as plain products: its fused kernel would run candidate by candidate
            with ops.use("ref"), sdpa_kernel(SDPBackend.MATH), torch.no_grad():
                return torch.func.vmap(one, chunk_size=TOGETHER)(self.split(population.to(device)))
        except (RuntimeError, NotImplementedError) as error:
            name, said = type(self.module).__name__, " ".join(str(error).split())[:120]
            raise UserError(
                f"{name}: a population of it cannot be computed at once ({said}); train it by adamw"
            ) from error

    @torch.no_grad()
    def put(self, candidate: Tensor) -> None:
        """Gives the module the weights of a candidate [G]."""
        for p, part in zip(self.named.values(), candidate.split(self.sizes), strict=True):
            p.copy_(part.view(p.shape))


class _Called(nn.Module):
    """What functional_call can call: any use of the module."""

    def __init__(self, module: nn.Module, call: Callable[[nn.Module], Tensor]) -> None:
        super().__init__()
        self.module, self.call = module, call

    def forward(self) -> Tensor:
        return self.call(self.module)
