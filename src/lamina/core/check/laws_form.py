"""Laws of the training form: shapes, padding, batch, causal."""

from __future__ import annotations

import copy
from math import ceil

import torch
from torch import Tensor

from lamina.core.check.case import Case, is_composite, poisoned, widened, widened_seq
from lamina.core.check.law import law
from lamina.core.check.policy import LawError, agree, bit_equal, difference
from lamina.core.compose import Delay, channels
from lamina.core.layer import Layer, NotStreamable
from lamina.core.seq import Seq

__all__ = ["batch", "causal", "padding", "shapes"]


@law(streams=False)
def shapes(case: Case) -> None:
    """The stream spec is sound, and outputs are as long and as wide as it and frames(n) say."""
    layer, spec = case.layer, case.spec
    if spec.block < 1 or spec.ratio <= 0 or spec.delay < 0 or (spec.block * spec.ratio).denominator != 1:
        raise LawError(f"{spec}: block >= 1, delay >= 0 and a whole number of output frames a block are needed")
    for n in sorted({1, 2, spec.block, spec.block + 1, case.frames}):
        lengths = [n, n // 2, 0]
        y = case.run(layer, case.inputs(lengths), case.memory(3))
        wanted = (3, _frames(layer, n), *channels(layer.d_out))
        if tuple(y.values.shape) != wanted or tuple(y.mask.shape) != wanted[:2]:
            raise LawError(
                f"forward of {n} frames gives values {list(y.values.shape)} and mask {list(y.mask.shape)}, "
                f"not {list(wanted)} as frames() and d_out say",
                tensor="values",
            )
        if y.mask.dtype != torch.bool or not y.values.is_floating_point():
            raise LawError(
                f"values are {y.values.dtype} and the mask {y.mask.dtype}, not floating and bool", tensor="mask"
            )
        real = torch.tensor([_frames(layer, k) for k in lengths])
        right = torch.arange(wanted[1]) < real[:, None]
        if not torch.equal(y.mask, right):
            row, frame = (y.mask != right).nonzero()[0].tolist()
            raise LawError(
                f"rows of {lengths} frames give {y.lengths().tolist()} real frames, not the first {real.tolist()} "
                f"(row {row}, frame {frame})",
                tensor="mask", row=row, frame=frame,
            )  # fmt: skip
    if case.reason is None:
        x = case.inputs([2 * spec.block] * 2)
        y, _ = case.steps(layer, x, [2], state=case.start(layer, 2), memory=case.memory(2))
        if tuple(y.values.shape[2:]) != channels(layer.d_out):
            raise LawError(f"step gives frames of {list(y.values.shape[2:])}, not {list(channels(layer.d_out))}")


@law(streams=False)
def padding(case: Case) -> None:
    """NaN (tokens: -2^31) in the padding, and more padding, change nothing"""
    _padding_in(case, training=False)
    _padding_in(case, training=True)
    if case.given.takes_memory:
        x, memory = case.inputs(case.lengths), case.memory(4, empty=True)
        truth = case.run(case.truth, widened_seq(x), widened(memory))
        ref = case.run(case.layer, x, memory)
        assert memory is not None
        about = "NaN in the padding of the memory, one row of it empty"
        case.agree(case.run(case.layer, x, poisoned(memory)), truth, ref, about)
    nothing = poisoned(case.inputs([0, 0], frames=case.frames))
    if case.run(case.layer, nothing, case.memory(2)).mask.any():
        raise LawError("rows of length 0 give real frames", tensor="mask")
    if case.reason is not None:
        return
    lengths = case.lengths
    x, memory = case.inputs(lengths, frames=max(lengths) + 2), case.memory(4)
    truth = case.run(case.truth, widened_seq(x), widened(memory))
    ref = case.run(case.layer, x, memory)
    for sizes in ([1], [2, 1], [10**6]):
        got = case.streamed(case.layer, poisoned(x), sizes, memory=memory, poison=True)
        case.agree(got, truth, ref, f"step with NaN in absent frames, lengths {lengths}, steps of {sizes} blocks")


def _padding_in(case: Case, *, training: bool) -> None:
    """forward with poisoned and with longer padding, in one mode; the buffers that training updates too."""
    lengths = [n for n in case.lengths if n > 0] + [0]
    longest = max(lengths)
    x, memory = case.inputs(lengths, frames=longest + 2), case.memory(len(lengths))
    mode = "training" if training else "evaluation"

    def run(layer: Layer, x: Seq, wide: bool = False) -> tuple[Seq, dict[str, Tensor]]:
        layer = copy.deepcopy(layer).train(training)
        torch.manual_seed(3)
        y = case.run(layer, x, widened(memory) if wide else memory)
        return y, dict(layer.named_buffers())

    truth, wide_buffers = run(case.truth, widened_seq(x), True)
    ref, buffers = run(case.layer, x)
    longer = case.inputs(lengths, frames=longest + 2)
    more = Seq.cat([longer, Seq.absent(len(lengths), 3 * case.spec.block, x.values.shape[2:], x.values)])
    hinted = Seq(x.values, x.mask).hint(finite=True)
    tries = [("NaN in the padding", poisoned(x)), ("a finite hint", hinted)]
    if not training or not _random(case, x):
        tries.append(("more padding", poisoned(more)))
    for about, other in tries:
        got, after = run(case.layer, other)
        _honest(got)
        frames = truth.mask.shape[1]
        if bool(got.mask[:, frames:].any()):
            raise LawError(f"frames behind the rows' ends are real ({about}, {mode})", tensor="mask")
        case.agree(got.slice(0, frames), truth, ref, f"{about}, {mode} mode, lengths {lengths}")
        for name, buffer in after.items():
            if not buffer.is_floating_point():
                bit_equal(buffer, buffers[name], about, f"buffer {name}")
                continue
            now, right, was = (Seq.of(b.reshape(1, 1, -1)) for b in (buffer, wide_buffers[name], buffers[name]))
            agree(now, right, was, f"{about}, {mode} mode", tensor=f"buffer {name}")


@law(streams=False)
def batch(case: Case) -> None:
    """A row alone equals the same row in a ragged batch, rows of length 0 included"""
    lengths = [*case.lengths, max(1, case.frames // 2)]
    x, memory = case.inputs(lengths, seed=4), case.memory(len(lengths))
    whole = case.run(case.layer, poisoned(x), memory)
    for row, n in enumerate(lengths):
        frames = max(n, case.spec.block)  # an empty row alone is a batch of padding
        alone = Seq(x.values[row : row + 1, :frames], x.mask[row : row + 1, :frames])
        own = None if memory is None else Seq(memory.values[row : row + 1], memory.mask[row : row + 1])
        truth, ref = case.run(case.truth, widened_seq(alone), widened(own)), case.run(case.layer, alone, own)
        got = Seq(whole.values[row : row + 1], whole.mask[row : row + 1])
        out = truth.mask.shape[1]
        if bool(got.mask[:, out:].any()):
            raise LawError(
                f"row {row} of {n} frames has more real frames in the batch than alone", tensor="mask", row=row
            )
        case.agree(
            got.slice(0, out), truth, ref, f"row {row} of lengths {lengths} against that row alone", first_row=row
        )


@law()
def causal(case: Case) -> None:
    """Output j depends on no input from block*ceil((j+1)/(block*ratio)) + delay/ratio on; the delay is tight"""
    spec, n = case.spec, max(8, 3 * case.spec.block + 2 * case.spec.flush_frames)
    one = case.inputs([n], seed=5, dense=True)
    x = widened_seq(Seq.of(one.values.expand(n, *one.values.shape[1:]).clone()))
    at = torch.arange(n)
    if case.given.n_vocab:
        x.values[at, at] = (x.values[at, at] + 1) % case.given.n_vocab
    else:
        x.values[at, at] += torch.randn(x.values[at, at].shape, generator=torch.Generator().manual_seed(6)).double()
    memory = widened(case.memory(1))
    many = None if memory is None else Seq(*(t.expand(n, *t.shape[1:]) for t in (memory.values, memory.mask)))
    y = case.run(case.truth, x, many).values
    still = case.run(case.truth, Seq.of(widened_seq(one).values.expand(n, *one.values.shape[1:]).clone()), many).values
    moved = difference(y, still).flatten(2).amax(2)  # [input frame, output frame]
    # far above float64's rounding, far below the effect of a random change of one frame
    depends = moved > 1e-11 * float(still.abs().max())
    limits = [
        spec.block * ceil((j + 1) / (spec.block * spec.ratio)) + spec.delay / spec.ratio for j in range(y.shape[1])
    ]
    slack = None
    for j, limit in enumerate(limits):
        seen = depends[:, j].nonzero().flatten().tolist()
        if seen and seen[-1] >= limit:
            raise LawError(
                f"output frame {j} depends on input frame {seen[-1]}, by {moved[seen[-1], j]:.3g}; "
                f"{spec} lets it see frames before {limit}",
                tensor="values", row=0, frame=j, size=float(moved[seen[-1], j]), allowed=0.0,
            )  # fmt: skip
        if seen and limit <= n:
            slack = min(limit - 1 - seen[-1], limit if slack is None else slack)
    if slack is None:
        case.notes["causal"] = "no output depends on any input"
        return
    if is_composite(case.given):
        case.notes["causal"] = f"slack {slack} input frames"
        # a stride reads only the first frames of its block (less than a block), the waits before strides and chunks
        # that keep them in phase are less than another block
        if slack >= 2 * spec.block and not any(isinstance(m, Delay) for m in case.given.modules()):
            raise LawError(
                f"the delay of {spec.delay} is too long: {slack} input frames of slack, a block is {spec.block}"
            )
    elif spec.delay and slack >= 1 / spec.ratio and not isinstance(case.given, Delay):
        raise LawError(f"the delay of {spec.delay} is not tight: {spec.delay - int(slack * spec.ratio)} would do")


def _frames(layer: Layer, n: int) -> int:
    try:
        return layer.frames(n)
    except NotStreamable:
        raise LawError(
            "frames(n) raises NotStreamable; the length of forward's output must be known all the same"
        ) from None


def _random(case: Case, x: Seq) -> bool:
    """Whether a training-mode forward draws random numbers: its result then depends on the amount of padding."""
    runs = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        runs.append(case.run(copy.deepcopy(case.layer).train(), x, case.memory(len(x.mask))).zeroed())
    return not torch.equal(runs[0], runs[1])


def _honest(y: Seq) -> None:
    """The hints tell the truth."""
    if y.dense and not bool(y.mask.all()):
        raise LawError("the output is hinted dense, but has absent frames", tensor="mask")
    if y.finite and bool((torch.where(y.expand_mask(), y.values.new_zeros(()), y.values) != 0).any()):
        raise LawError("the output is hinted finite, but absent frames do not hold zeros", tensor="values")
