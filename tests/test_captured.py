"""Captured steps: what is replayed, what runs as it is and why, whose memory a state is. The law compares values."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

import lamina
from lamina import Captured, Pointwise, Seq, Streamer, ops
from lamina import state as trees
from lamina.core.layer import State
from lamina.layers import LogMel
from lamina.models import check_layers

torch.set_num_threads(1)


def counted(layer, calls: list[int]):
    """layer.step that notes how many frames Python saw."""

    def step(x: Seq, state: State) -> tuple[Seq, State]:
        calls.append(x.mask.shape[1])
        return layer.step(x, state)

    return step


def run_through(frames: tuple[int, ...], batch: int = 1):
    """Steps of so many frames in turn: the captured step, what Python saw, the last output and state."""
    model, calls = lamina.create("lstm", d_model=8), []
    step, state = Captured(counted(model, calls)), model.init_state(batch)
    for n in frames:
        y, state = step(Seq.of(torch.randn(batch, n, 8)), state)
    return step, calls, y, state


@torch.no_grad()
def test_python_runs_twice_for_each_kind_of_step():
    step, calls, _, state = run_through((1, 1, 1, 1, 3, 3, 3, 1, 3))
    assert calls == [1, 1, 3, 3]
    with ops.use("ref"):  # another kind: other implementations
        step(Seq.of(torch.randn(1, 1, 8)), state)
    assert calls == [1, 1, 3, 3, 1]
    assert step.reason is None


@torch.no_grad()
def test_long_steps_run_as_they_are():
    assert run_through((129,) * 3, batch=2)[1] == [129] * 3


@torch.no_grad()
def test_it_is_what_comes_out_that_makes_a_step_long():
    layer = LogMel(16000, 8)
    step, state = Captured(layer.step), layer.init_state(1)
    for _ in range(3):
        x = Seq.of(torch.randn(1, 640, 1))
        y, state = step(x, state)
    assert y.mask.shape[1] == 4
    assert [kind is not None for kind in step.kinds.values()] == [True]


@torch.no_grad()
def test_only_so_many_kinds_are_kept():
    step, *_ = run_through(tuple(range(1, 13)))
    assert len(step.kinds) == 8


def test_inference_mode_has_memory_of_its_own():
    model = lamina.create("lstm", d_model=8).eval()
    step, state, kept = Captured(model.step), model.init_state(1), model.init_state(1)
    for i in range(12):
        x = Seq.of(torch.randn(1, 1, 8))
        with torch.inference_mode() if i // 3 % 2 else torch.no_grad():
            y, state = step(x, state)
            want, kept = model.step(x, kept)
            torch.testing.assert_close(y.values, want.values)
    assert len(step.kinds) == 2


def test_with_gradients_every_step_runs_as_it_is():
    _, calls, y, _ = run_through((1,) * 4)
    assert calls == [1] * 4
    assert y.values.requires_grad


@torch.no_grad()
def test_a_state_is_left_alone_and_one_that_was_written_over_is_refused():
    model = lamina.create("attention_lstm", d_model=8, left=4).eval()
    step, x = Captured(model.step), Seq.of(torch.randn(1, 1, 8))
    mine = model.init_state(1)
    kept, state = copy.deepcopy(mine), mine
    for _ in range(4):
        before = state
        _, state = step(x, state)
    with pytest.raises(ValueError, match="this state was written over by a later step; clone a state"):
        step(x, before)
    assert all(torch.equal(a, b) for a, b in zip(*(trees.flatten(s).values() for s in (mine, kept)), strict=True))
    saved = trees.map_tensors(Tensor.clone, state)
    first = step(x, state)[0].values
    assert torch.equal(step(x, saved)[0].values, first)  # a clone goes on where it was taken
    assert torch.equal(step(x, mine)[0].values, model.step(x, kept)[0].values)  # and a new stream begins anew


class Odd(Pointwise):
    """y = x + 1, in a way that cannot be replayed."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.d_in = self.d_out = 4
        self.how = how

    def forward(self, x: Seq, memory: Seq | None = None) -> Seq:
        values = x.zeroed()
        one = {
            "branch": lambda: 1 if values.sum() > -1e9 else 0,
            "list": lambda: 1 + 0 * values.tolist()[0][0][0],
            "array": lambda: 1 + 0 * float(values.numpy().sum()),
            "address": lambda: 1 + 0 * values.data_ptr(),
            "random": lambda: 1 + 0 * torch.rand(4),
            "shape": lambda: 1 + 0 * len(values[values > 0]),
        }[self.how]()
        return x.with_values(values + one)


@torch.no_grad()
@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("branch", "hangs on numbers of its input (aten._local_scalar_dense.default)"),
        ("list", "Python reads numbers of its input (tolist)"),
        ("array", "Python reads numbers of its input (numpy)"),
        ("address", "it hands its memory to code that is no kernel of lamina"),
        ("random", "aten.rand.default draws random numbers"),
        ("shape", "hangs on numbers of its input (aten."),
    ],
)
def test_a_step_that_looks_at_numbers_runs_as_it_is_and_says_why(how: str, reason: str):
    step = Captured(Odd(how).step)
    for _ in range(4):
        x = torch.randn(2, 1, 4)
        y, _ = step(Seq.of(x), {})
        torch.testing.assert_close(y.values, x + 1)
    assert step.reason is not None
    assert reason in step.reason


class Accumulates(Pointwise):
    """The sum over the frames of a step, added up in place on zeros: a constant that is written over."""

    def __init__(self) -> None:
        super().__init__()
        self.d_in = self.d_out = 4

    def forward(self, x: Seq, memory: Seq | None = None) -> Seq:
        total = torch.zeros(4)
        for frame in x.values[0]:
            total += frame
        return x.with_values(total.expand_as(x.values))


@torch.no_grad()
def test_constants_that_a_step_writes_over_are_laid_out_again():
    step = Captured(Accumulates().step)
    for _ in range(5):
        x = torch.randn(1, 3, 4)
        y, _ = step(Seq.of(x), {})
        torch.testing.assert_close(y.values, x.sum(1, keepdim=True).expand_as(x))
    assert step.reason is None


@torch.no_grad()
def test_what_came_out_is_the_callers():
    model = lamina.create("mlp", d_model=8).eval()
    step, state, given, outputs = Captured(model.step), model.init_state(1), torch.randn(6, 1, 1, 8), []
    for x in given:
        y, state = step(Seq.of(x), state)
        outputs.append(y.values)
    torch.testing.assert_close(torch.cat(outputs), torch.cat([model(Seq.of(x)).values for x in given]))


@torch.no_grad()
def test_a_captured_streamer_gives_what_a_plain_one_does_and_its_state_is_a_value():
    model = lamina.create("conformer", d_model=16, left=8, kernel=5).eval()
    plain, captured = Streamer(model), Streamer(model, captured=True)
    for i, chunk in enumerate(torch.randn(1, 60, 16).split(4, 1)):
        want, got = plain.push(chunk), captured.push(chunk)
        torch.testing.assert_close(got.values, want.values)
        if i == 7:
            held = captured.state
            kept = trees.to_bytes(held)
    assert trees.to_bytes(held) == kept
    torch.testing.assert_close(captured.flush().values, plain.flush().values)
    captured.state = held
    plain.state = held
    chunk = torch.randn(1, 4, 16)
    torch.testing.assert_close(captured.push(chunk).values, plain.push(chunk).values)


@torch.no_grad()
@pytest.mark.parametrize(
    "name",
    ["models.transformer", "models.attention_lstm", "models.conformer", "models.mamba", "models.retnet",
     "models.deltanet", "models.lstm", "models.yoco", "models.transformer_seq2seq.decoder", "LogMel"],
)  # fmt: skip
def test_the_structures_that_stream_are_replayed(name: str):
    layer = dict(check_layers())[name].eval()
    case = lamina.check.Case(layer, name)
    block, memory = case.spec.block, case.memory(1)
    given = (memory,) if layer.takes_memory else ()
    step, state = Captured(lambda x, s: layer.step(x, s, *given)), case.start(layer, 1, memory)
    for _ in range(4):
        _, state = step(case.inputs([block], dense=True), state)
    assert step.reason is None
    assert [kind is not None for kind in step.kinds.values()] == [True]
