"""Composites, state trees, streams, taps and cost: what the laws do not say of them."""

from __future__ import annotations

import json
import struct
from fractions import Fraction

import pytest
import torch
from safetensors.torch import save as safetensors_save
from torch import nn

import trap_layers as traps
import trap_states as states
from lamina.core import (
    Bidirectional,
    Delay,
    Identity,
    NotStreamable,
    Parallel,
    Repeat,
    Residual,
    Reverse,
    Seq,
    Serial,
    Streamer,
    StreamSpec,
    UserError,
    cost,
    run_steps,
    state,
    taps,
)  # fmt: skip
from lamina.core.cost import params, state_bytes

D = traps.D


def ragged(lengths, frames=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(len(lengths), frames or max(lengths), D, generator=generator)
    return Seq.ragged(values, torch.tensor(lengths))


def same(a: Seq, b: Seq) -> bool:
    masked = [torch.where(s.expand_mask(), s.values, 0.0) for s in (a, b)]
    return torch.equal(a.mask, b.mask) and torch.allclose(*masked, atol=1e-5)


# composites


@pytest.mark.parametrize(
    ("layers", "spec", "waits"),
    [
        ([traps.Ahead, traps.Ahead], StreamSpec(1, Fraction(1), 2), [0, 0]),
        ([traps.Ahead, traps.Halve], StreamSpec(2, Fraction(1, 2), 1), [0, 1]),
        ([traps.Ahead, traps.Ahead, traps.Halve], StreamSpec(2, Fraction(1, 2), 1), [0, 0, 0]),
        ([traps.Halve, traps.Ahead, traps.Halve], StreamSpec(4, Fraction(1, 4), 1), [0, 0, 1]),
        ([traps.Ahead, traps.Halve, traps.Halve], StreamSpec(4, Fraction(1, 4), 1), [0, 1, 1]),
    ],
)
def test_serial_keeps_strides_in_phase(layers, spec, waits):
    serial = Serial(*(make() for make in layers))
    assert (serial.stream_spec(), serial.waits) == (spec, waits)
    assert spec.flush_frames == spec.delay / spec.ratio


def test_branches_wait_for_the_longest():
    layer = Parallel(Identity(D), traps.Ahead(), Serial(traps.Ahead(), traps.Ahead()))
    assert layer.stream_spec() == StreamSpec(delay=2)
    assert layer.waits == [2, 1, 0]
    shapes = {name: list(t.shape) for name, t in state.flatten(layer.init_state(3)).items()}
    assert shapes["0_delay.values"] == [3, 2, D]
    assert shapes["1_delay.mask"] == [3, 1]
    x = ragged([7, 4, 0])
    assert same(run_steps(layer, x), layer(x))


def test_a_residual_of_several_layers_is_a_serial_body():
    layer = Residual(traps.Ahead(), traps.Ahead())
    assert layer.waits == [2, 0]
    x = ragged([6, 3])
    assert same(layer(x), x.with_values(x.zeroed() + layer.get_submodule("1")(x).values))
    assert same(run_steps(layer, x, [2, 1]), layer(x))


def test_parallel_joins_by_sum_product_and_concatenation():
    x = ragged([5, 2])
    a, b = traps.Ahead(), states.Sum()
    nn.init.normal_(b.weight)
    one, two = a(x).values, b(x).values
    assert torch.equal(Parallel(a, b)(x).values, one + two)
    assert torch.equal(Parallel(a, b, combine="multiply")(x).values, one * two)
    joined = Parallel(a, b, combine="concat")
    assert joined.d_out == 2 * D
    assert torch.equal(joined(x).values, torch.cat([one, two], -1))


def test_concatenation_of_wide_frames_joins_the_last_dimension():
    layer = Parallel(Identity((3, 4)), Identity((3, 4)), combine="concat")
    assert layer.d_out == (3, 8)
    assert layer(Seq.of(torch.zeros(1, 2, 3, 4))).values.shape == (1, 2, 3, 8)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Serial(Identity(3), Identity(4)), r"layer 0 \(Identity\) gives width 3, layer 1 \(Identity\) takes 4"),
        (lambda: Serial(), "Serial needs at least one layer"),
        (lambda: Parallel(Identity(3), Identity(4)), r"branches take different widths \[3, 4\]"),
        (lambda: Parallel(Identity(3), combine="plus"), "combine is add, multiply or concat, not 'plus'"),
        (lambda: Residual(traps.Halve()), r"Residual: branches have different ratios \['1', '1/2'\]"),
        (lambda: Repeat(Identity(3), 0), "n must be at least 1, not 0"),
    ],
)
def test_composites_that_cannot_be_say_why(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_a_plain_module_is_refused_with_its_place():
    with pytest.raises(TypeError, match=r"Serial: child 1 is a Linear, not a lamina\.Layer"):
        Serial(Identity(3), nn.Linear(3, 3))


def test_repeat_has_fresh_weights_for_each():
    torch.manual_seed(0)

    class Random(traps.Noisy):
        def __init__(self) -> None:
            super().__init__()
            nn.init.normal_(self.weight)

    layer = Repeat(Random(), 3)
    weights = [p for _, p in layer.named_parameters()]
    assert len(weights) == 3
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])


def test_the_reason_carries_the_path_and_every_entrance_gives_it():
    layer = Serial(Identity(D), Residual(states.Sum(), traps.MeanNorm()))
    for call in (layer.stream_spec, lambda: layer.init_state(2), lambda: layer.step(ragged([2]), {})):
        with pytest.raises(NotStreamable) as caught:
            call()
        assert str(caught.value) == "1.1.1: needs the whole row"
    assert layer(ragged([4, 2])).values.shape == (2, 4, D)
    both = Bidirectional(states.Sum(), states.Sum())
    with pytest.raises(NotStreamable, match=r"^1\.0: the backward direction starts at the last frame$"):
        both.step(ragged([2]), {})


def test_reverse_turns_real_frames_only():
    x = Seq.ragged(torch.arange(8.0).reshape(2, 4, 1), torch.tensor([4, 2]))
    y = Reverse(1)(x)
    assert y.values[0, :, 0].tolist() == [3, 2, 1, 0]
    assert y.values[1, :2, 0].tolist() == [5, 4]
    assert torch.equal(y.mask, x.mask)


def test_bidirectional_sees_the_row_from_both_ends():
    x = ragged([5, 3, 0])
    y = Bidirectional(states.Sum(), states.Sum())(x)
    assert y.values.shape == (3, 5, 2 * D)
    sums = x.zeroed().sum(1)
    assert torch.allclose(y.values[0, 4, :D], sums[0], atol=1e-5)
    assert torch.allclose(y.values[1, 0, D:], sums[1], atol=1e-5)


def test_memory_goes_to_those_that_take_it():
    layer = Serial(states.Sum(), Residual(states.Crosses()))
    assert layer.takes_memory
    assert not Serial(states.Sum()).takes_memory
    x, memory = ragged([4, 2]), ragged([3, 1], seed=1)
    y = layer(x, memory)
    assert not torch.allclose(y.values, layer(x, ragged([3, 1], seed=2)).values)
    assert same(run_steps(layer, x, [2, 1], memory=memory), y)


def test_delay_is_the_identity_in_forward_and_late_in_step():
    layer, x = Delay(D, 2), ragged([4])
    assert torch.equal(layer(x).values, x.values)
    y, kept = layer.step(x, layer.init_state(1))
    assert y.mask.tolist() == [[False, False, True, True]]
    assert torch.equal(y.values[:, 2:], x.values[:, :2])
    assert torch.equal(kept["values"], x.values[:, 2:])


# state trees


def test_names_and_bytes_of_a_tree():
    tree = {"0": {"h": torch.zeros(2, 3), "inner": {"c": torch.zeros(2, 1, dtype=torch.bool)}}, "1": torch.zeros(2, 2)}
    assert state.names(tree) == ["0.h", "0.inner.c", "1"]
    assert state.nbytes(tree) == 2 * 3 * 4 + 2 + 2 * 2 * 4
    again = state.unflatten(state.flatten(tree))
    assert state.names(again) == state.names(tree)
    assert again["0"]["h"] is tree["0"]["h"]
    assert (state.names({}), state.nbytes({}), state.unflatten({})) == ([], 0, {})


def test_hold_gather_and_stack_move_rows():
    old, new = ({"a": {"h": torch.full((3, 2), v)}, "n": torch.full((3,), int(v))} for v in (0.0, 1.0))
    held = state.hold(old, new, torch.tensor([True, False, True]))
    assert held["a"]["h"][:, 0].tolist() == [0, 1, 0]
    assert held["n"].tolist() == [0, 1, 0]
    assert held["n"].dtype == torch.long
    picked = state.gather(held, [1, 1, 0])
    assert picked["n"].tolist() == [1, 1, 0]
    assert state.stack([picked, old])["a"]["h"].shape == (6, 2)
    with pytest.raises(ValueError, match="at least one"):
        state.stack([])


def test_trees_match_by_name_not_by_order():
    a, b = {"h": torch.zeros(1), "c": torch.ones(1)}, {"c": torch.ones(1), "h": torch.zeros(1)}
    assert state.map_tensors(torch.sub, a, b) == {"h": torch.zeros(1), "c": torch.zeros(1)}
    with pytest.raises(ValueError, match="their trees differ"):
        state.map_tensors(torch.sub, a, {"h": torch.zeros(1)})


def test_a_state_survives_bytes_and_files_bit_equal(tmp_path):
    shared = torch.randn(2, 3)
    tree = {
        "a": {"h": shared, "c": shared}, "view": torch.randn(2, 6)[:, ::2], "row": torch.randn(3).expand(2, 3),
        "mask": torch.tensor([True, False]), "n": torch.tensor([2**40, 1]), "none": torch.zeros(2, 0, 3),
    }  # fmt: skip
    state.save(tree, tmp_path / "s.safetensors")
    for back in (state.from_bytes(state.to_bytes(tree)), state.load(tmp_path / "s.safetensors")):
        flat = state.flatten(back)
        assert flat.keys() == state.flatten(tree).keys()
        assert all(torch.equal(flat[k], t) and flat[k].dtype == t.dtype for k, t in state.flatten(tree).items())
    assert [p.name for p in tmp_path.iterdir()] == ["s.safetensors"]
    assert state.from_bytes(state.to_bytes({})) == {}


def header(data: object) -> bytes:
    text = json.dumps(data).encode()
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not a safetensors file"),
        (b"\xff" * 30, "not a safetensors file"),
        (header([]), "schema None is not one"),
        (header({"__metadata__": {"lamina_state": "99"}}), "schema 99 is newer than this lamina reads .*upgrade"),
        (safetensors_save({"h": torch.zeros(1)}), "schema None is not one this lamina reads"),
        (safetensors_save({"h": torch.zeros(1)}, {"lamina_state": "old"}), "schema 'old' is not one"),
    ],
)
def test_what_is_no_state_of_this_version_is_refused(data, says, tmp_path):
    with pytest.raises(UserError, match=says):
        state.from_bytes(data)
    (tmp_path / "s").write_bytes(data)
    with pytest.raises(UserError):
        state.load(tmp_path / "s")


def test_a_missing_state_file_is_named(tmp_path):
    with pytest.raises(UserError, match="nowhere: no such file"):
        state.load(tmp_path / "nowhere")


# streams


def stack() -> Serial:
    torch.manual_seed(0)
    return Serial(traps.Ahead(), Residual(states.Attends(), traps.Ahead()), traps.Halve(), states.Sum())


@pytest.mark.parametrize("blocks", [None, [1], [3, 1, 2], [100]])
def test_run_steps_gives_what_forward_gives(blocks):
    layer, x = stack(), ragged([11, 6, 1, 0])
    y = layer(x)
    assert y.mask.shape == (4, 6)
    assert same(run_steps(layer, x, blocks), y)


def test_run_steps_of_nothing_and_from_a_given_state():
    layer = states.Sum()
    assert run_steps(layer, ragged([0, 0])).values.shape == (2, 0, D)
    begun = {"sum": torch.ones(2, D)}
    x = ragged([3, 2])
    assert torch.allclose(run_steps(layer, x, state=begun).values, layer(x).values + 1)


def test_a_streamer_takes_chunks_of_any_length():
    layer, x = stack(), Seq.of(torch.randn(2, 13, D))
    streamer, parts, at = Streamer(layer, 2), [], 0
    for size in (0, 1, 5, 0, 3, 4):
        parts.append(streamer.push(x.values[:, at : at + size]))
        at += size
    assert parts[0].mask.shape == (2, 0)
    parts.append(streamer.flush())
    assert same(Seq.cat(parts), layer(x))
    assert streamer.pushed == 0  # as new
    assert streamer.waiting is None


def test_a_streamer_gives_frames_as_soon_as_they_are_ready():
    streamer = Streamer(traps.Ahead())
    lengths = [streamer.push(torch.randn(1, 1, D)).mask.shape[1] for _ in range(4)]
    assert lengths == [0, 1, 1, 1]
    assert streamer.flush().mask.shape[1] == 1


def test_a_streamer_refuses_frames_of_another_shape():
    streamer = Streamer(traps.Ahead(), 2)
    for shape in ((1, 3, D), (2, 3, D + 1), (2, 3)):
        with pytest.raises(ValueError, match=r"a chunk of shape .* does not fit \[B=2,T,\*\(4,\)\]"):
            streamer.push(torch.zeros(shape))
    with pytest.raises(NotStreamable, match="needs the whole row"):
        Streamer(traps.MeanNorm())


# taps


def test_taps_keep_named_outputs_with_their_graph_and_leave_no_hook():
    layer = stack()
    x = ragged([5, 2])
    with taps(layer, ["0", "1.1"]) as seen:
        y = layer(x)
    assert list(seen) == ["0", "1.1"]
    assert seen["0"].values.shape == (2, 5, D)
    seen["1.1"].values.sum().backward()
    assert layer.get_submodule("0").weight.grad is not None
    kept = seen["0"]
    layer(ragged([3, 1]))
    assert seen["0"] is kept
    assert y.mask.shape == (2, 3)


def test_taps_are_gone_after_an_error_and_an_unknown_path_names_the_nearest():
    layer = stack()

    def fail():
        with taps(layer, ["0"]):
            raise RuntimeError("in between")

    with pytest.raises(RuntimeError, match="in between"):
        fail()
    assert not layer.get_submodule("0")._forward_hooks
    with pytest.raises(UserError, match=r"unknown tap '1\.2'; did you mean"), taps(layer, ["1.2"]):
        pass


# cost


def test_cost_is_measured():
    found = cost(Serial(traps.Ahead(), traps.Halve()))
    assert found.params == 2 * D * D
    assert found.flops_per_frame == 2 * D * D * 1.5  # the second layer runs on every other frame
    assert found.latency_frames == 2 + 2
    assert found.reason is None
    # one frame of lookahead, one that waits for its phase, two of the stride's past
    assert found.state_bytes == 2 * (D * 4 + 1) + 2 * D * 4
    assert set(found.as_dict()) == {"params", "flops_per_frame", "state_bytes", "latency_frames", "reason"}


def test_cost_of_what_does_not_stream_gives_the_reason():
    found = cost(Serial(traps.Ahead(), traps.MeanNorm()))
    assert (found.state_bytes, found.latency_frames) == (None, None)
    assert found.reason == "1: needs the whole row"
    assert found.flops_per_frame > 0
    plain = cost(nn.Linear(3, 5), torch.zeros(1, 3))
    assert (plain.params, plain.flops_per_frame, plain.state_bytes) == (20, 30, None)


def test_cost_leaves_the_mode_alone_and_counts_trainable_weights_only():
    layer = traps.Counting().train()
    before = layer.mean.clone()
    cost(layer)
    assert layer.training
    assert torch.equal(layer.mean, before)
    layer.weight.requires_grad_(False)
    assert params(layer) == 0


def test_state_bytes_are_those_of_the_real_state_at_that_age():
    layer = states.WindowMean()
    assert state_bytes(layer, 1) == state_bytes(layer, 700) == 3 * (D * 4 + 1)
    grows = states.Grows(False)
    assert state_bytes(grows, 20) > state_bytes(grows, 10) > 0
