"""The laws are trusted only because each of these broken layers fails at the named law. Repaired twins pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch

import trap_extra as extra
import trap_layers as traps
import trap_memory as memories
import trap_runners as runners
import trap_states as states
from lamina.core import Identity, Layer, Parallel, Serial, check
from lamina.core.check import Case, StepGraph

torch.set_num_threads(1)

TABLE = (
    "convolution or norm reads padded frames",
    "feature normaliser uses batch-mates' padding",
    "values masked but not the decay gate",
    "state used only when T == 1",
    "mask dropped once a cache exists",
    "ring cache written before attending: too small for the chunk",
    "position offset missing in step",
    "positions count absent warm-up frames behind a lookahead",
    "float32 absolute RoPE in a long stream",
    "subsampling edge handled per chunk",
    "skip branch not delayed; stride out of phase after a lookahead",
    "last frames never emitted",
    "flush with zero frames instead of absent ones",
    "BatchNorm or dropout in a training-mode step",
    "recurrent state in bf16",
    "state grows, changes dtype, or is None at first",
    "hidden in-place update",
    "NaN padding + where gives NaN weight gradients",
    "rows with nothing to attend to give NaN",
    "torch.onnx.export reads a trailing dict as kwargs",
)


@dataclass(frozen=True)
class Trap:
    """make(False) is the broken case and make(True) its twin; says: words of the failure's message."""

    row: str
    name: str
    laws: tuple[str, ...]
    make: Callable[[bool], Case]
    says: str = ""


def layer(kind: Callable[[bool], Layer]) -> Callable[[bool], Case]:
    return lambda right: Case(kind(right))


def composite(right_kind: type[Layer], wrong_kind: type[Layer], *parts: Callable[[], Layer]) -> Callable[[bool], Case]:
    return lambda right: Case((right_kind if right else wrong_kind)(*(p() for p in parts)))


def runner(kind: type) -> Callable[[bool], Case]:
    return lambda right: Case(traps.Ahead()) if right else Case(traps.Ahead(), streamer=kind)


def graph(right: bool) -> Case:
    return Case(states.Sum(), graph=StepGraph if right else runners.DictGraph)


def skip() -> Layer:
    return Identity(traps.D)


R = TABLE
TRAPS = (
    Trap(R[0], "lookahead", ("padding",), layer(traps.Ahead), "NaN in the padding"),
    Trap(R[0], "training norm", ("padding",), layer(traps.TrainingNorm), "training mode"),
    Trap(R[1], "row norm", ("batch", "padding"), layer(traps.MeanNorm), "differ first at row"),
    Trap(R[2], "gated sum", ("absent",), layer(traps.Gated), "state S differs"),
    Trap(R[3], "sum", ("chunks",), layer(states.StateOnlyAlone), "step against forward"),
    Trap(R[4], "window mean", ("chunks", "padding"), layer(states.ForgetsMask), "values differ first"),
    Trap(R[5], "window mean", ("chunks",), layer(states.WritesFirst), "step against forward"),
    Trap(R[6], "sin", ("chunks",), layer(traps.Positions), "step against forward"),
    Trap(
        R[7],
        "sin behind a lookahead",
        ("chunks",),
        lambda right: Case(Serial(traps.Ahead(), traps.CountsAbsent(right))),
    ),
    Trap(R[7], "sin alone", ("absent",), layer(traps.CountsAbsent), "absent frames"),
    Trap(R[8], "in the compute dtype", ("aging",), layer(traps.Rotary), "float32 against float64"),
    Trap(R[8], "always", ("aging",), layer(traps.RotaryFloat32), "fresh run"),
    Trap(R[9], "halve", ("chunks",), layer(traps.Halve), "step against forward"),
    Trap(R[10], "skip", ("chunks",), composite(Parallel, runners.Unaligned, skip, traps.Ahead)),
    Trap(R[10], "stride", ("chunks",), composite(Serial, runners.Unphased, traps.Ahead, traps.Halve)),
    Trap(R[11], "streamer", ("flush",), runner(runners.KeepsLast), "frames came out"),
    Trap(R[12], "streamer", ("flush",), runner(runners.FlushesZeros), "differ"),
    Trap(R[13], "dropout", ("mode",), layer(traps.Noisy), "training mode"),
    Trap(R[13], "running mean", ("mode",), layer(traps.Counting), "training mode"),
    Trap(R[14], "sum", ("state",), layer(states.LowState), "bfloat16"),
    Trap(R[15], "grows", ("state",), layer(states.Grows), "state values is"),
    Trap(R[15], "changes dtype", ("state",), layer(states.Turning), "float32, not torch.int64"),
    Trap(R[15], "None at first", ("state",), layer(states.NoneAtFirst), "NoneType"),
    Trap(R[16], "state", ("pure",), layer(states.InPlace), "the state given to step"),
    Trap(R[16], "in the layer", ("pure",), layer(states.Hidden), "the same step again"),
    Trap(R[17], "product", ("grad",), layer(traps.WhereAfter), "the gradient of weight has NaN"),
    Trap(R[18], "strictly before", ("padding",), layer(states.AttendsBefore), "NaN"),
    Trap(R[18], "empty memory", ("padding",), layer(states.Crosses), "NaN"),
    Trap(R[18], "absent rows", ("grad",), layer(states.Attends), "NaN"),
    Trap(R[19], "step graph", ("export", "onnx"), graph, "keyword arguments"),
)
MORE = (
    Trap("more", "says too many frames", ("shapes",), layer(extra.TooLong), "as frames() and d_out say"),
    Trap("more", "peeks", ("causal",), layer(extra.Peeks), "depends on input frame"),
    Trap("more", "waits too long", ("causal",), layer(extra.WaitsTooLong), "not tight: 1 would do"),
    Trap("more", "shared clock", ("hold", "absent"), layer(extra.SharedClock), "differ first"),
    Trap("more", "rows in turn", ("rows",), layer(extra.WritesInTurn), "some rows stepped in place"),
    Trap("more", "clock in Python", ("captured",), layer(extra.CountsInPython), "captured steps"),
    Trap("more", "state by address", ("save",), layer(extra.KeptByAddress), "going on from the state"),
    Trap("more", "bare message", ("reason",), layer(extra.Bare), "KeyError"),
    Trap("more", "unrecorded number", ("config",), layer(extra.Forgetful), "the rebuilt layer"),
    Trap("more", "branch in Python", ("export", "onnx"), layer(extra.Branches)),
    Trap("more", "wrong backward", ("grad",), layer(extra.WrongBackward), "gradcheck"),
    Trap("more", "a scale in one form", ("chunks",), layer(memories.Rescaled), "step against forward"),
    Trap("more", "full cache", ("chunks",), layer(memories.FullCache), "step against forward"),
    Trap("more", "growing sum", ("aging",), layer(memories.GrowingSum), "float32 against float64"),
)
ALL = (*TRAPS, *MORE)
FAST = [name for name, law in check.LAWS.items() if not law.slow and name not in ("export", "onnx")]


def test_every_row_of_the_table_is_a_trap() -> None:
    assert len(TABLE) == 20
    assert list(dict.fromkeys(t.row for t in TRAPS)) == list(TABLE)
    assert {name for t in TRAPS for name in t.laws} <= set(check.LAWS)


def test_every_law_has_a_trap() -> None:
    """compile is the one exception: its trap is a branch in Python, as export's, and takes long."""
    assert {name for t in ALL for name in t.laws} == set(check.LAWS) - {"compile"}


@pytest.mark.parametrize(
    ("trap", "law"), [pytest.param(t, name, id=f"{t.row[:40]}-{t.name}-{name}") for t in ALL for name in t.laws]
)
def test_trap(trap: Trap, law: str) -> None:
    result = check.check_layer(trap.make(False), [law])[0]
    assert result.status == "failed"
    assert result.message.startswith(f"{result.layer}: {law}: ")
    assert trap.says in result.message
    check.LAWS[law](trap.make(True))


@pytest.mark.parametrize("trap", [pytest.param(t, id=f"{t.row[:40]}-{t.name}") for t in ALL])
def test_repaired_twin_keeps_every_fast_law(trap: Trap) -> None:
    results = check.check_layer(trap.make(True), FAST)
    assert [r.message for r in results if r.status == "failed"] == []
