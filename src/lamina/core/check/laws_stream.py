"""Laws of the streaming form: chunks, flush, captured, hold, rows, absent."""

from __future__ import annotations

import copy
import random
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lamina.core import state as trees
from lamina.core.captured import Captured
from lamina.core.check.case import Case, caches, poisoned, widened, widened_seq
from lamina.core.check.law import law
from lamina.core.check.policy import LawError, bit_equal
from lamina.core.layer import State
from lamina.core.seq import Seq

__all__ = ["absent", "captured", "chunks", "flush", "hold", "rows"]

SPLITS = 12  # random splits of `chunks`, besides the fixed ones


@law()
def chunks(case: Case) -> None:
    """forward equals step for every split into blocks, for ragged and for dense rows"""
    n, block = case.frames, case.spec.block
    for dense in (False, True):
        lengths = [n, n] if dense else case.lengths
        for sizes in ([1], [1, 2], [2, 1], [3, 1, 2], [10**6]):
            _split(case, lengths, sizes, dense)
    for few in range(1, 2 * block + 2 if block < 9 else 2):
        _split(case, [few], [1], True)
    _random_splits(case)


def _random_splits(case: Case) -> None:
    most = case.frames
    blocks = min(-(-most // case.spec.block) + 1, 40)
    try:
        import hypothesis
        from hypothesis import strategies as st
    except ImportError:
        case.notes["chunks"] = "hypothesis is not installed (pip install 'lamina[dev]'): a failure is not made smaller"
        chance = random.Random(0)
        for _ in range(SPLITS):
            rows = [chance.randint(1, most), *(chance.randint(0, most) for _ in range(chance.randint(0, 2)))]
            sizes = [chance.randint(1, blocks) for _ in range(chance.randint(1, 6))]
            _split(case, rows, sizes, chance.random() < 0.5)
        return

    def try_split(lengths: list[int], sizes: list[int], dense: bool) -> None:
        with torch.no_grad():
            _split(case, lengths, sizes, dense)

    steps = st.lists(st.integers(1, blocks), min_size=1, max_size=6)
    lengths = st.lists(st.integers(0, most), min_size=1, max_size=3).filter(any)
    split: Any = hypothesis.given(lengths, steps, st.booleans())(try_split)
    few = hypothesis.settings(
        max_examples=SPLITS, deadline=None, database=None, derandomize=True, report_multiple_bugs=False,
        suppress_health_check=list(hypothesis.HealthCheck), verbosity=hypothesis.Verbosity.quiet,
        phases=(hypothesis.Phase.generate, hypothesis.Phase.shrink),
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hypothesis.errors.HypothesisWarning)
        few(split)()


def _split(case: Case, lengths: Sequence[int], sizes: Sequence[int], dense: bool) -> None:
    if dense:
        lengths = [max(lengths)] * len(lengths)
    x, memory = case.inputs(lengths, dense=dense), case.memory(len(lengths))
    truth = case.run(case.truth, widened_seq(x), widened(memory))
    ref = case.run(case.layer, x, memory)
    got = case.streamed(case.layer, x, sizes, memory=memory)
    kind = "dense" if dense else f"lengths {list(lengths)}"
    frames = f"{max(lengths)} frames, {kind}, steps of {list(sizes)} blocks of {case.spec.block}"
    case.agree(got, truth, ref, f"step against forward, {frames}")


@law()
def flush(case: Case) -> None:
    """Through the Streamer, chunks of any length: the last frames come out and are right"""
    block = case.spec.block
    for n, pattern in (
        (case.frames, [0, 1, 2 * block + 1, 0, 3]), (2 * block, [2 * block]), (1, [1]), (block + 1, [1, 0]),
    ):  # fmt: skip
        lengths = [n, max(1, n // 2), 0]
        x, memory = case.inputs(lengths, seed=n), case.memory(3)
        truth = case.run(case.truth, widened_seq(x), widened(memory))
        ref = case.run(case.layer, x, memory)
        about = f"{n} frames in chunks of {pattern}"
        streamer = case.streamer(case.layer, 3, like=case.like(case.layer), memory=memory)
        for again in ("", ", second stream of the same Streamer"):
            parts, at, sizes = [], 0, list(pattern)
            while at < n:
                size = sizes.pop(0) if len(sizes) > 1 else sizes[0] or 1
                part = streamer.push(poisoned(x).slice(at, min(at + size, n)))
                parts.append(Seq(part.values, part.mask))
                at += size
            last = streamer.flush()
            got = Seq.cat([*parts, Seq(last.values, last.mask)])
            if got.mask.shape[1] != case.layer.frames(n):
                out = got.mask.shape[1]
                wanted = case.layer.frames(n)
                raise LawError(
                    f"{out} frames came out, not {wanted} ({about}{again})", tensor="values", frame=min(out, wanted)
                )
            case.agree(got, truth, ref, about + again)
    empty = case.streamer(case.layer, 2, like=case.like(case.layer), memory=case.memory(2)).flush()
    if empty.mask.shape[1] != case.layer.frames(0):
        raise LawError(f"a stream of no frame gives {empty.mask.shape[1]} frames at flush", tensor="values")


@law()
def captured(case: Case) -> None:
    """A captured step gives what step gives: dense and ragged rows, steps of several sizes in turn, three streams"""
    layer, sizes = case.layer, [9, 1, 2, 1, 1]  # long steps too: other implementations take them
    for dense in (True, False):
        lengths = [case.frames] * 2 if dense else case.lengths
        memory = case.memory(len(lengths))
        replayed = copy.copy(layer)
        step = Captured(partial(layer.step, memory=memory) if layer.takes_memory else layer.step)
        replayed.step = lambda x, state, *_, step=step: step(x, state)  # type: ignore[method-assign]
        for seed in (3, 4, 5):  # runs, is captured, is replayed
            x = case.inputs(lengths, dense=dense, seed=seed)
            begin = case.start(layer, len(lengths), memory)
            before = trees.map_tensors(Tensor.clone, begin)
            fed = case.followed(x if dense else poisoned(x), poison=True)
            y, _ = case.steps(replayed, fed, sizes, state=begin, memory=memory)
            truth = case.run(case.truth, widened_seq(x), widened(memory))
            got = y.slice(case.spec.delay, case.spec.delay + layer.frames(x.mask.shape[1]))
            about = f"captured steps of {sizes} blocks, lengths {list(lengths)}, stream {seed - 2}"
            case.agree(got, truth, case.run(layer, x, memory), about)
            for name, tensor in trees.flatten(begin).items():
                bit_equal(tensor, trees.flatten(before)[name], about, f"the state given to step, {name}")
        if step.reason:
            case.notes["captured"] = f"no step is replayed: {step.reason}"


@law()
def hold(case: Case) -> None:
    """Rows paused with state.hold at different times give what they give alone"""
    rows = 3
    memory = case.memory(rows)
    state = case.start(case.layer, rows, memory)

    def advance(frames: Seq, paused: Tensor) -> Seq:
        nonlocal state
        y, new = case.steps(case.layer, frames, state=state, memory=memory)
        state = trees.hold(state, new, paused)
        return y

    _out_of_step(case, memory, advance, "rows paused at random")


@law()
def rows(case: Case) -> None:
    """Rows stepped in place with step_rows at different times give what they give alone; the others stay as they are"""
    memory, at = case.memory(3), [2, 0, 3]  # where the three lie in a batch of four
    begin = case.start(case.layer, 3, memory)
    state = trees.map_tensors(lambda t: t[[1, 0, 0, 2]].clone(), begin)
    nobody = trees.gather(trees.map_tensors(_spoiled, state), [1])
    trees.put(state, torch.tensor([1]), nobody)

    def advance(frames: Seq, paused: Tensor) -> Seq:
        on = (~paused).nonzero().flatten().flip(0)  # not in the order of the batch
        part = Seq(frames.values[on], frames.mask[on])
        heard = None if memory is None else Seq(memory.values[on], memory.mask[on])
        y = case.layer.step_rows(part, state, torch.tensor(at)[on], heard)
        values = y.values.new_zeros(3, *y.values.shape[1:])
        return Seq(values.index_copy(0, on, y.values), y.mask.new_zeros(3, y.mask.shape[1]).index_copy(0, on, y.mask))

    _out_of_step(case, memory, advance, "some rows stepped in place")
    for name, tensor in trees.flatten(trees.gather(state, [1])).items():
        if not torch.equal(tensor.nan_to_num(7.0), trees.flatten(nobody)[name].nan_to_num(7.0)):
            raise LawError(
                "a row that was not stepped has changed (some rows stepped in place)", tensor=f"state {name}"
            )


def _spoiled(tensor: Tensor) -> Tensor:
    return torch.full_like(tensor, torch.nan) if tensor.is_floating_point() else torch.ones_like(tensor)


def _out_of_step(case: Case, memory: Seq | None, advance: Callable[[Seq, Tensor], Seq], about: str) -> None:
    """Three rows whose streams are paused at random; advance steps a block of those that are not."""
    block, count = case.spec.block, 3
    lengths = [case.frames, max(1, case.frames // 2), case.frames]
    x = case.inputs(lengths, seed=7)
    fed = case.followed(x)
    total = fed.mask.shape[1] // block
    generator = torch.Generator().manual_seed(8)
    at = [0] * count
    parts: list[list[Seq]] = [[] for _ in range(count)]
    while min(at) < total:
        paused = torch.rand(count, generator=generator) < 0.4
        paused |= torch.tensor([a >= total for a in at])
        if bool(paused.all()):
            continue
        now = [min(a, total - 1) * block for a in at]
        frames = Seq(
            torch.stack([fed.values[r, t : t + block] for r, t in enumerate(now)]),
            torch.stack([fed.mask[r, t : t + block] for r, t in enumerate(now)]),
        )
        y = advance(frames, paused)
        for r in range(count):
            if not paused[r]:
                parts[r].append(Seq(y.values[r : r + 1], y.mask[r : r + 1]))
                at[r] += 1
    truth = case.run(case.truth, widened_seq(x), widened(memory))
    ref = case.run(case.layer, x, memory)
    joined = [Seq.cat(p) for p in parts]
    out = Seq(torch.cat([p.values for p in joined]), torch.cat([p.mask for p in joined]))
    delay = case.spec.delay
    case.agree(out.slice(delay, delay + truth.mask.shape[1]), truth, ref, f"{about}, lengths {lengths}")


@law()
def absent(case: Case) -> None:
    """Absent frames before the first real one only shift the outputs, and leave accumulating states as they were"""
    spec, layer = case.spec, case.layer
    lengths = [case.frames, max(1, case.frames // 2), 1, case.frames]
    ahead = [0, spec.block, 2 * spec.block, 5 * spec.block]
    x, memory = case.inputs(lengths, seed=9), case.memory(4)
    width = x.mask.shape[1] + max(ahead)
    values = x.values.new_zeros(4, width, *x.values.shape[2:])
    mask = torch.zeros(4, width, dtype=torch.bool)
    for row, k in enumerate(ahead):
        values[row, k : k + x.mask.shape[1]], mask[row, k : k + x.mask.shape[1]] = x.values[row], x.mask[row]
    late = case.followed(poisoned(Seq(values, mask)), poison=True)
    truth = case.run(case.truth, widened_seq(x), widened(memory))
    ref = case.run(layer, x, memory)
    for sizes in ([1], [2, 3]):
        y, _ = case.steps(layer, late, sizes, state=case.start(layer, 4, memory), memory=memory)
        for row, k in enumerate(ahead):
            first = spec.delay + int(k * spec.ratio)
            about = f"row {row}, {k} absent frames with NaN before {lengths[row]} real ones, steps of {sizes} blocks"
            if bool(y.mask[row, :first].any()):
                raise LawError(f"an output before frame {first} is real ({about})", tensor="mask", row=row)
            got = Seq(y.values[row : row + 1], y.mask[row : row + 1]).slice(first, first + truth.mask.shape[1])
            one = [Seq(s.values[row : row + 1], s.mask[row : row + 1]) for s in (truth, ref)]
            case.agree(got, one[0], one[1], about, first_row=row)
    _unmoved(case)


def _unmoved(case: Case) -> None:
    """Accumulators are bit-equal after absent frames: at the start, and after the end of a stream."""
    layer, block = case.layer, case.spec.block
    memory = case.memory(2)
    nothing = poisoned(case.inputs([0, 0], frames=4 * block))
    begin = case.start(layer, 2, memory)
    _, after = case.steps(layer, nothing, [1, 2], state=begin, memory=memory)
    _same(begin, after, "after absent frames at the start", begin)
    x = case.followed(poisoned(case.inputs([case.frames, 3], seed=10)), case.spec.flush_frames + 2 * block, poison=True)
    _, ended = case.steps(layer, x, [2], state=begin, memory=memory)
    _, after = case.steps(layer, nothing, [2], state=ended, memory=memory)
    _same(ended, after, "after absent frames behind the end", None)


def _same(before: State, after: State, about: str, entries: State | None) -> None:
    """entries: the state whose caches are to be equal too (their masks, and what these call valid)."""
    kinds, new = caches(before), trees.flatten(after)
    for name, tensor in trees.flatten(before).items():
        mask = kinds[name]
        if mask is None or (entries is not None and name.split(".")[-1] == "mask"):
            bit_equal(new[name], tensor, about, f"state {name}")
        elif entries is not None and tensor.dim() >= 2 and tensor.shape[:2] == mask.shape:
            valid = mask.reshape(mask.shape + (1,) * (tensor.dim() - 2))
            zero = tensor.new_zeros(())
            bit_equal(torch.where(valid, new[name], zero), torch.where(valid, tensor, zero), about, f"state {name}")
