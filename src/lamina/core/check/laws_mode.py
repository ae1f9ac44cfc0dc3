"""Laws of the layer as a module: mode, reason, config, aging."""

from __future__ import annotations

import copy
import json
from math import ceil
from typing import Any

import torch

from lamina.core import state as trees
from lamina.core.check.case import Case, caches, is_composite, widened, widened_seq
from lamina.core.check.law import law
from lamina.core.check.policy import LawError, Skipped, agree, bit_equal, difference
from lamina.core.config import Config, UserError, build, describe
from lamina.core.layer import Layer, NotStreamable, State
from lamina.core.seq import Seq

__all__ = ["aging", "config", "mode", "reason"]

AGE, STRIDE = 100_000, 1_000  # frames of a long stream, frames of one of its steps


@law(streams=False)
def mode(case: Case) -> None:
    """Evaluation is deterministic, step computes it in training mode too; autocast leaves the state's dtype"""
    x, memory = case.inputs(case.lengths, seed=18), case.memory(4)
    truth, ref = case.run(case.truth, widened_seq(x), widened(memory)), case.run(case.layer, x, memory)
    layer = copy.deepcopy(case.layer)
    again = case.run(layer, x, memory)
    bit_equal(again.zeroed(), ref.zeroed(), "evaluation twice", "values")
    _buffers_kept(layer, case.layer, "evaluation")
    if case.reason is not None:
        return
    layer.train()
    got = case.streamed(layer, x, [1, 2], memory=memory)
    case.agree(got, truth, ref, "step in training mode against evaluation")
    _buffers_kept(layer, case.layer, "step in training mode")
    with torch.autocast("cpu", torch.bfloat16):
        rough = case.run(case.layer, x, memory)
    agree(_cast(case, x, memory), truth, rough, "step under autocast(bfloat16)", dtype=torch.bfloat16)


def _cast(case: Case, x: Seq, memory: Seq | None) -> Seq:
    """Steps under autocast, watching the state's dtypes."""
    layer = case.layer
    with torch.autocast("cpu", torch.bfloat16):
        begin = case.start(layer, len(x.mask), memory)
        dtypes = {name: t.dtype for name, t in trees.flatten(begin).items()}
        y, end = case.steps(layer, case.followed(x), [1, 2], state=begin, memory=memory)
    for name, t in trees.flatten(end).items():
        if t.dtype != dtypes[name]:
            raise LawError(f"state {name} is {t.dtype} under autocast, not {dtypes[name]}", tensor=f"state {name}")
    return y.slice(case.spec.delay, case.spec.delay + layer.frames(x.mask.shape[1]))


def _buffers_kept(layer: Layer, original: Layer, about: str) -> None:
    wanted = dict(original.named_buffers())
    for name, buffer in layer.named_buffers():
        bit_equal(buffer, wanted[name], f"changed by {about}", f"buffer {name}")


@law(streams=False)
def reason(case: Case) -> None:
    """A layer that does not stream says why, and which part, from stream_spec, init_state and step"""
    if case.reason is None:
        raise Skipped("it streams")
    wanted = str(case.reason)
    if not case.reason.reason.strip():
        raise LawError("NotStreamable without a reason", tensor="stream_spec")
    modules = dict(case.layer.named_modules())
    if is_composite(case.given) and (not case.reason.path or case.reason.path not in modules):
        raise LawError(
            f"NotStreamable({wanted!r}) names no part of it; .under(name) adds the path", tensor="stream_spec"
        )
    x, memory = case.inputs([4, 2]), case.memory(2)
    args: tuple[Any, ...] = (x, {}, memory) if case.given.takes_memory else (x, {})
    for name, call in (("init_state", lambda: case.layer.init_state(2)), ("step", lambda: case.layer.step(*args))):
        try:
            call()
        except NotStreamable as error:
            if not str(error).endswith(case.reason.reason):
                raise LawError(f"{name} gives the reason {str(error)!r}, stream_spec {wanted!r}", tensor=name) from None
        except Exception as error:
            raise LawError(
                f"{name} raises {type(error).__name__}: {error}, not NotStreamable({wanted!r})", tensor=name
            ) from None
        else:
            raise LawError(f"{name} runs although stream_spec raises NotStreamable({wanted!r})", tensor=name)


@law(streams=False)
def config(case: Case) -> None:
    """describe -> JSON -> build gives the same tree, its state_dict loads strictly, its outputs are bit-equal"""
    data = json.loads(json.dumps(describe(case.given)))
    torch.manual_seed(4321)  # not the given layer's seed: what the constructor draws must come with the state_dict
    twin = build(data)
    if type(twin) is not type(case.given):
        raise LawError(f"build gives a {type(twin).__name__}", tensor="config")
    if json.loads(json.dumps(describe(twin))) != data:
        raise LawError("the rebuilt layer describes itself otherwise", tensor="config")
    mine, other = ({k: (v.shape, v.dtype) for k, v in m.state_dict().items()} for m in (case.layer, twin.float()))
    if mine != other:
        odd = sorted(k for k in mine.keys() | other.keys() if mine.get(k) != other.get(k))
        raise LawError(f"the rebuilt layer has another state_dict: {', '.join(odd)}", tensor=odd[0])
    twin.load_state_dict(case.layer.state_dict(), strict=True)
    x, memory = case.inputs(case.lengths, seed=19), case.memory(4)
    got, wanted = case.run(twin.eval(), x, memory), case.run(case.layer, x, memory)
    bit_equal(got.zeroed(), wanted.zeroed(), "the rebuilt layer with the same weights", "values")
    own = getattr(case.given, "config", None)
    if isinstance(own, Config):
        kind, keys = type(own), json.loads(own.model_dump_json())
        if kind.of(keys, "config") != own:
            raise LawError("its .config read back from JSON is another one", tensor="config")
        try:
            kind.of({**keys, "no_such_key": 1}, "config")
        except UserError:
            return
        raise LawError("its .config takes an unknown key", tensor="config")


@law(slow=True)
def aging(case: Case) -> None:
    """After 1e5 frames float32 is as near float64 as at first, and a finite context equals a fresh run on it"""
    block = case.spec.block
    stride = STRIDE + -STRIDE % block
    first, last, whole = {}, {}, {}
    total = ceil(AGE / stride)
    for kind, layer in (("truth", case.truth), ("ref", case.layer)):
        memory = case.memory(1) if kind == "ref" else widened(case.memory(1))
        state = case.start(layer, 1, memory)
        for i in range(total):
            x = _passage(case, i, stride, wide=kind == "truth")
            y, state = case.steps(layer, x, [10**6], state=state, memory=memory)
            if i == 0:
                first[kind] = y
            if i == total - 1:
                last[kind] = y
        whole[kind] = state
    delay, head = case.spec.delay, first["ref"].mask.shape[1]
    whole_truth, whole_ref = (
        case.run(layer, _passage(case, 0, stride, wide=wide), widened(case.memory(1)) if wide else case.memory(1))
        for layer, wide in ((case.truth, True), (case.layer, False))
    )
    about = f"the first {stride} frames against forward"
    case.agree(
        first["ref"].slice(delay, head), whole_truth.slice(0, head - delay), whole_ref.slice(0, head - delay), about
    )
    allowed_by = _shifted(last["truth"], first["ref"], first["truth"])
    case.agree(
        last["ref"], last["truth"], allowed_by, f"the last {stride} of {total * stride} frames, float32 against float64"
    )
    kinds = caches(whole["ref"])
    if kinds and all(mask is not None for mask in kinds.values()):
        _fresh(case, whole["ref"], last, stride, total)


def _fresh(case: Case, state: State, last: dict[str, Seq], stride: int, total: int) -> None:
    """A stream that begins one receptive field before the end gives the same end."""
    cached = sum(t.shape[1] for name, t in trees.flatten(state).items() if name.split(".")[-1] == "mask")
    field = ceil(cached / min(float(case.spec.ratio), 1.0)) + case.spec.block + case.spec.flush_frames
    passages = min(total, ceil(field / stride) + 1)
    memory = widened(case.memory(1))
    runs = {}
    for kind, layer in (("truth", case.truth), ("ref", case.layer)):
        x = Seq.cat([_passage(case, i, stride, wide=kind == "truth") for i in range(total - passages, total)])
        used = memory if kind == "truth" else case.memory(1)
        y, _ = case.steps(layer, x, [10**6], state=case.start(layer, 1, used), memory=used)
        tail = min(stride, passages * stride - field)
        out = int(tail * case.spec.ratio)
        runs[kind] = y.slice(y.mask.shape[1] - out, y.mask.shape[1])
    length = runs["ref"].mask.shape[1]
    end = last["ref"].slice(last["ref"].mask.shape[1] - length, last["ref"].mask.shape[1])
    case.agree(
        end, runs["truth"], runs["ref"], f"the end of {total * stride} frames against a fresh run on {field} frames"
    )


def _passage(case: Case, index: int, frames: int, *, wide: bool) -> Seq:
    x = case.inputs([frames], seed=10_000 + index, dense=True)
    return Seq.of(widened_seq(x).values) if wide else x


def _shifted(truth: Seq, early: Seq, early_truth: Seq) -> Seq:
    """A reference whose error is that of the first frames: the policy asks no more than that."""
    real = early_truth.expand_mask()
    error = torch.where(real, difference(early.values, early_truth.values), 0.0).amax()
    return Seq(truth.values + error, truth.mask)
