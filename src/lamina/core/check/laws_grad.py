"""The law of gradients: forward and step give the same ones, and they are those of the function."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.gradcheck import GradcheckError

from lamina.core.check.case import Case, poisoned, widened, widened_seq
from lamina.core.check.law import law
from lamina.core.check.policy import LawError, agree, agree_tensors, difference
from lamina.core.layer import Layer
from lamina.core.seq import Seq

__all__ = ["grad"]


@law(streams=False)
def grad(case: Case) -> None:
    """forward and step give equal, finite gradients, NaN in the padding or not; gradcheck in float64"""
    n = min(case.frames, 2 * case.spec.block + case.spec.flush_frames + 5)
    lengths = [n, max(1, n // 2), 0]
    x, memory = case.inputs(lengths, frames=n + 1, seed=15), case.memory(3)
    with torch.enable_grad():
        truth, ref = _both(case, x, memory)
        own = _own_errors(case, lengths, x, memory)
        bad = _gradients(case, case.layer, poisoned(x), memory, step=False)
        _agree(bad, truth, ref, own, x, "forward with NaN in the padding")
        if case.reason is None:
            for about, part in (("step", x), ("step with NaN in absent frames", poisoned(x))):
                got = _gradients(case, case.layer, part, memory, step=True)
                _agree(got, truth, ref, own, x, f"{about} against forward, lengths {lengths}")
        _gradcheck(case, min(n, case.spec.block + 3))


Gradients = tuple[dict[str, Tensor], Tensor | None]


def _gradients(case: Case, layer: Layer, x: Seq, memory: Seq | None, *, step: bool) -> Gradients:
    """d sum(w * y) / d parameters, and / d x; w is random but fixed, the sum runs over real frames."""
    values = x.values.clone().requires_grad_(x.values.is_floating_point())
    seq = Seq(values, x.mask)
    if step:
        y = case.streamed(layer, seq, [1, 2], memory=memory, poison=bool(x.values.isnan().any()))
    else:
        y = case.run(layer, seq, memory)
    weights = torch.randn(y.values.shape, generator=torch.Generator().manual_seed(16), dtype=torch.float64)
    loss = (torch.where(y.expand_mask(), y.values, 0.0) * weights.to(y.values.dtype)).sum()
    wanted = {name: p for name, p in layer.named_parameters() if p.requires_grad}
    inputs = [*wanted.values(), *([values] if values.requires_grad else [])]
    if not inputs or not loss.requires_grad:
        return {}, None
    found = torch.autograd.grad(loss, inputs, allow_unused=True)
    filled = [torch.zeros_like(i) if g is None else g for i, g in zip(inputs, found, strict=True)]
    return dict(zip((f"the gradient of {k}" for k in wanted), filled, strict=False)), (
        filled[-1] if values.requires_grad else None
    )


def _both(case: Case, x: Seq, memory: Seq | None) -> tuple[Gradients, Gradients]:
    """forward's gradients: the truth, and those of float32."""
    truth = _gradients(case, case.truth, widened_seq(x), widened(memory), step=False)
    return truth, _gradients(case, case.layer, x, memory, step=False)


def _own_errors(case: Case, lengths: list[int], x: Seq, memory: Seq | None) -> dict[str, float]:
    """The largest error of each of float32 forward's gradients on more inputs, for the tolerance policy.

    Other inputs, and x itself moved by an ulp, each against its own truth: where one ill-conditioned number makes the
    error (a norm of next to nothing), the error at x alone is one draw and may be small by luck.
    """
    samples = [
        (case.inputs(lengths, frames=max(lengths) + 1, seed=seed), case.memory(len(lengths), seed=seed))
        for seed in (31, 32, 33)
    ]
    if x.values.is_floating_point():
        generator = torch.Generator().manual_seed(34)
        for _ in range(4):
            ulp = torch.finfo(x.values.dtype).eps * (torch.rand(x.values.shape, generator=generator).round() * 2 - 1)
            samples.append((Seq(x.values * (1 + ulp), x.mask), memory))
    own: dict[str, float] = {}
    for sample in samples:
        for name, wanted, found in _pairs(*_both(case, *sample)):
            own[name] = max(own.get(name, 0.0), float(difference(found, wanted).max()))
    return own


def _pairs(truth: Gradients, ref: Gradients) -> list[tuple[str, Tensor, Tensor]]:
    pairs = [(name, wanted, ref[0][name]) for name, wanted in truth[0].items()]
    if truth[1] is not None and ref[1] is not None:
        pairs.append(("", truth[1], ref[1]))
    return [pair for pair in pairs if pair[1].numel()]


def _agree(got: Gradients, truth: Gradients, ref: Gradients, own: dict[str, float], x: Seq, about: str) -> None:
    if set(got[0]) != set(truth[0]):
        raise LawError(f"gradients of {sorted(set(truth[0]) ^ set(got[0]))} are missing ({about})")
    agree_tensors(got[0], truth[0], ref[0], about, own=own)
    if (got[1] is None) != (truth[1] is None):
        raise LawError(f"the input has no gradient ({about})", tensor="the gradient of the input")
    if got[1] is not None and truth[1] is not None and ref[1] is not None:
        mine, right, rough = (Seq(g, x.mask) for g in (got[1], truth[1], ref[1]))
        agree(mine, right, rough, about, tensor="the gradients of the input", own=own.get("", 0.0))


def _gradcheck(case: Case, n: int) -> None:
    """Against finite differences, along random directions (fast mode), in float64."""
    layer = case.truth
    x = widened_seq(case.inputs([n, max(1, n // 2)], seed=17))
    memory = widened(case.memory(2))
    names = [name for name, p in layer.named_parameters() if p.requires_grad]
    weights = [dict(layer.named_parameters())[name].detach().clone().requires_grad_() for name in names]
    frames = [x.values.clone().requires_grad_()] if x.values.is_floating_point() else []

    def run(*tensors: Tensor) -> Tensor:
        values = tensors[0] if frames else x.values
        own: Any = dict(zip(names, tensors[len(frames) :], strict=True))
        args = (Seq(values, x.mask), memory) if layer.takes_memory else (Seq(values, x.mask),)
        y = torch.func.functional_call(layer, own, args)
        return torch.where(y.expand_mask(), y.values, 0.0)

    if not frames and not weights:
        return
    try:
        torch.autograd.gradcheck(run, (*frames, *weights), fast_mode=True, atol=1e-6, rtol=1e-4)
    except GradcheckError as error:
        lines = " ".join(str(error).split())
        raise LawError(f"gradcheck in float64: {lines[:300]}", tensor="gradient") from None
