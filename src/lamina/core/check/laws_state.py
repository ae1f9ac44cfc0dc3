"""Laws of the state: state, save, pure."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from lamina.core import state as trees
from lamina.core.check.case import Case, caches, poisoned
from lamina.core.check.law import law
from lamina.core.check.policy import LawError, bit_equal
from lamina.core.layer import Layer, State
from lamina.core.seq import Seq

__all__ = ["pure", "save", "state"]


@law()
def state(case: Case) -> None:
    """Tensors only, batch on dim 0; same tree, shapes, dtypes and bytes at any age; accumulators float32 or wider"""
    layer, block = case.layer, case.spec.block
    begin = {b: case.start(layer, b) for b in (1, 3)}
    for b, tree in begin.items():
        _tensors(tree, "")
        for name, t in trees.flatten(tree).items():
            if t.dim() < 1 or t.shape[0] != b:
                raise LawError(
                    f"state {name} is {list(t.shape)} for a batch of {b}: batch stands on dim 0", tensor=name
                )
    _alike(_rows(begin[1], 3), begin[3], "the states of one row and of three")
    _accumulators(layer, case)
    now, size, memory = begin[3], trees.nbytes(begin[3]), case.memory(3)
    x = case.followed(case.inputs([case.frames, 3, 0], seed=11))
    at, frames = 0, 0
    for step, blocks in enumerate((1, 1, 2, 3, 1, 10**6)):
        frames = min(blocks * block, x.mask.shape[1] - at)
        if frames <= 0:
            break
        part = x.slice(at, at + frames)
        _, now = layer.step(part, now, memory) if layer.takes_memory else layer.step(part, now)
        at += frames
        _tensors(now, "")
        _alike(now, begin[3], f"after step {step + 1} of {frames} frames against the initial state", frame=at - frames)
        if trees.nbytes(now) != size:
            raise LawError(f"{trees.nbytes(now)} bytes after {at} frames, {size} at the start", frame=at)
    half = copy.deepcopy(layer).bfloat16()
    like = torch.empty(0, dtype=torch.bfloat16)
    begin16 = half.init_state(3, like=like, memory=_half(case.memory(3)))
    part = _half_seq(x.slice(0, block))
    y, after = half.step(part, begin16, _half(memory)) if half.takes_memory else half.step(part, begin16)
    if y.values.dtype != torch.bfloat16:
        raise LawError(f"step of a bfloat16 layer on bfloat16 frames gives {y.values.dtype}", tensor="values")
    _alike(after, begin16, "after a step of a bfloat16 layer against its initial state")


def _tensors(tree: object, path: str) -> None:
    if not isinstance(tree, dict):
        raise LawError(
            f"state {path or 'itself'} is a {type(tree).__name__}, not a tensor or a dict of them", tensor=path
        )
    for key, value in tree.items():
        if not isinstance(key, str) or "." in key or not key:
            raise LawError(f"state {path}{key!r}: names are words without a dot", tensor=f"{path}{key}")
        if not isinstance(value, Tensor):
            _tensors(value, f"{path}{key}.")


def _alike(got: State, wanted: State, about: str, frame: int | None = None) -> None:
    a, b = trees.flatten(got), trees.flatten(wanted)
    if a.keys() != b.keys():
        odd = sorted(a.keys() ^ b.keys())
        raise LawError(f"the trees differ in {', '.join(odd)} ({about})", tensor=odd[0], frame=frame)
    for name, t in a.items():
        if t.shape != b[name].shape:
            raise LawError(
                f"state {name} is {list(t.shape)}, not {list(b[name].shape)} ({about})", tensor=name, frame=frame
            )
        if t.dtype != b[name].dtype:
            raise LawError(f"state {name} is {t.dtype}, not {b[name].dtype} ({about})", tensor=name, frame=frame)


def _rows(tree: State, rows: int) -> State:
    return trees.map_tensors(lambda t: t.expand(rows, *t.shape[1:]), tree)


def _accumulators(layer: Layer, case: Case) -> None:
    """float32 or wider, whatever the compute dtype."""
    for dtype in (torch.bfloat16, torch.float32, torch.float64):
        tree = layer.init_state(2, like=torch.empty(0, dtype=dtype), memory=case.memory(2))
        kinds, wanted = caches(tree), torch.promote_types(dtype, torch.float32)
        for name, t in trees.flatten(tree).items():
            if t.is_floating_point() and kinds[name] is None and t.dtype != wanted:
                raise LawError(f"state {name} is {t.dtype} for like={dtype}; it accumulates: {wanted}", tensor=name)


def _half(x: Seq | None) -> Seq | None:
    return None if x is None else _half_seq(x)


def _half_seq(x: Seq) -> Seq:
    return Seq(x.values.bfloat16(), x.mask) if x.values.is_floating_point() else x


@law()
def save(case: Case) -> None:
    """A state written to bytes and read back goes on bit-equal"""
    x, memory = case.followed(case.inputs(case.lengths, seed=12)), case.memory(4)
    half = x.mask.shape[1] // case.spec.block // 2 * case.spec.block
    begin = case.start(case.layer, 4, memory)
    back = trees.from_bytes(trees.to_bytes(begin))
    _bits(back, begin, "the initial state")
    _, middle = case.steps(case.layer, x.slice(0, half), [2], state=begin, memory=memory)
    back = trees.from_bytes(trees.to_bytes(middle))
    _bits(back, middle, f"the state after {half} frames")
    rest = x.slice(half, x.mask.shape[1])
    wanted, end = case.steps(case.layer, rest, [2], state=middle, memory=memory)
    got, again = case.steps(case.layer, rest, [2], state=back, memory=memory)
    about = f"going on from the state saved after {half} frames"
    bit_equal(got.zeroed(), wanted.zeroed(), about, "values")
    _bits(again, end, about)


@law()
def pure(case: Case) -> None:
    """step twice gives the same, leaves its arguments and the layer alone, and remembers no other stream"""
    layer, memory = case.layer, case.memory(4)
    x, other = (case.followed(case.inputs(case.lengths, seed=s)) for s in (13, 14))
    at = min(2 * case.spec.block, x.mask.shape[1] - case.spec.block)
    begin = case.start(layer, 4, memory)
    _, before = case.steps(layer, x.slice(0, at), [1], state=begin, memory=memory)
    part = poisoned(x.slice(at, x.mask.shape[1]))
    kept, kept_part = trees.map_tensors(torch.clone, before), Seq(part.values.clone(), part.mask.clone())
    tree, weights = trees.names(before), {k: v.clone() for k, v in layer.state_dict().items()}
    y, after = case.steps(layer, part, [10**6], state=before, memory=memory)
    first, first_state = Seq(y.values.clone(), y.mask.clone()), trees.map_tensors(torch.clone, after)
    about = f"after a step of {part.mask.shape[1]} frames"
    if trees.names(before) != tree:
        raise LawError(f"step changes the tree of the state it was given ({about})", tensor="state")
    _bits(before, kept, f"the state given to step, {about}")
    bit_equal(part.values, kept_part.values, f"the frames given to step, {about}", "values")
    bit_equal(part.mask, kept_part.mask, f"the frames given to step, {about}", "mask")
    for key, value in layer.state_dict().items():
        bit_equal(value, weights[key], f"the layer's own tensors, {about}", key)
    case.steps(layer, other, [1], state=case.start(layer, 4, memory), memory=memory)  # another stream in between
    y, after = case.steps(layer, part, [10**6], state=before, memory=memory)
    about = "the same step again, another stream in between"
    bit_equal(y.mask, first.mask, about, "mask")
    bit_equal(y.zeroed(), first.zeroed(), about, "values")
    _bits(after, first_state, about)


def _bits(got: State, wanted: State, about: str) -> None:
    _alike(got, wanted, about)
    flat = trees.flatten(got)
    for name, tensor in trees.flatten(wanted).items():
        bit_equal(flat[name], tensor, about, f"state {name}")
