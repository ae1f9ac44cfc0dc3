"""The CTC loss: its definition against every path, PyTorch's against the definition, rows that no path fits."""

from __future__ import annotations

from itertools import groupby, product

import pytest
import torch
from torch import Tensor

from lamina import ops
from lamina.core.check.policy import difference, tolerance
from lamina.ops._ctc import CTC_LOSS

IMPLS = ("ref", "aten")


def by_enumeration(x: Tensor, n_out: int) -> dict[tuple[int, ...], Tensor]:
    """The probability of every labelling of x [T,n_out], path by path."""
    p, found = x.softmax(-1), {}
    for path in product(range(n_out), repeat=len(x)):
        labels = tuple(label for label, _ in groupby(path) if label)
        one = torch.ones((), dtype=x.dtype)
        for t, label in enumerate(path):
            one = one * p[t, label]
        found[labels] = found.get(labels, 0.0) + one
    return found


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize(("frames", "n_out"), [(1, 4), (2, 2), (3, 4), (5, 3), (7, 2)])
def test_every_labelling_costs_what_its_paths_say(impl: str, frames: int, n_out: int) -> None:
    torch.manual_seed(frames)
    x = (2 * torch.randn(frames, n_out, dtype=torch.float64)).requires_grad_()
    truth = by_enumeration(x, n_out)
    assert float(sum(truth.values()).detach()) == pytest.approx(1, abs=1e-12)
    longest = max(map(len, truth))
    y = torch.tensor([[*labels, *[-1] * (longest - len(labels))] for labels in truth])
    n = len(y)
    loss = ops.ctc_loss(
        x.expand(n, -1, -1), y, torch.full((n,), frames), torch.tensor([len(k) for k in truth]), impl=impl
    )
    wanted = -torch.stack(list(truth.values())).log()
    assert float((loss - wanted).detach().abs().max()) < 1e-10
    for i in range(min(n, 6)):
        ours, theirs = (torch.autograd.grad(t[i], x, retain_graph=True)[0] for t in (loss, wanted))
        assert float((ours - theirs).abs().max()) < 1e-10


def ragged(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    x = 3 * torch.randn(4, 60, 7, generator=generator, dtype=torch.float64)
    y = torch.randint(1, 7, (4, 9), generator=generator)
    return x.to(dtype), y, torch.tensor([60, 41, 20, 1]), torch.tensor([9, 9, 4, 0])


def test_pytorchs_is_the_definition_within_the_policy() -> None:
    found = {}
    for impl, dtype in (("ref", torch.float64), ("ref", torch.float32), ("aten", torch.float32)):
        x, *rest = ragged(dtype)
        x.requires_grad_()
        loss = ops.ctc_loss(x, *rest, impl=impl)
        found[impl, dtype] = loss.detach(), torch.autograd.grad(loss.sum(), x)[0]
    for truth, ref, got in zip(*found.values(), strict=True):
        assert float(difference(got, truth).max()) <= tolerance(truth, ref, torch.float32)


@pytest.mark.parametrize("impl", IMPLS)
def test_gradients_are_those_of_the_loss(impl: str) -> None:
    x, y, *_ = ragged(torch.float64)
    x = x[:3, :12].clone().requires_grad_()
    given = (y[:3, :4], torch.tensor([12, 9, 5]), torch.tensor([4, 3, 0]))
    assert torch.autograd.gradcheck(lambda x: ops.ctc_loss(x, *given, impl=impl), x)


@pytest.mark.parametrize("impl", IMPLS)
def test_a_row_without_a_path_costs_inf_and_spoils_no_gradient(impl: str) -> None:
    x, y, _, _ = ragged(torch.float32)
    x = x[:, :4].clone().requires_grad_()
    y = torch.tensor([[1, 1, 1], [1, 2, 3], [2, 2, -1], [5, -1, -1]])  # take 5, 3, 3 and 1 frames
    lengths, n_labels = torch.tensor([4, 4, 2, 0]), torch.tensor([3, 3, 2, 1])
    loss = ops.ctc_loss(x, y, lengths, n_labels, impl=impl)
    assert loss.isinf().tolist() == [True, False, True, True]
    gradient = torch.autograd.grad(loss.sum(), x)[0]
    assert gradient.isfinite().all()
    alone = torch.autograd.grad(ops.ctc_loss(x[1:2], y[1:2], lengths[1:2], n_labels[1:2], impl=impl).sum(), x)[0]
    assert torch.equal(gradient, alone)
    assert float(gradient[1].abs().max()) > 0.1


@pytest.mark.parametrize("impl", IMPLS)
def test_a_certain_row_costs_nothing(impl: str) -> None:
    x = torch.full((2, 3, 3), -1e4)
    for t, label in enumerate((1, 0, 1)):
        x[:, t, label] = 0
    loss = ops.ctc_loss(x, torch.tensor([[1, 1], [1, 2]]), torch.tensor([3, 3]), torch.tensor([2, 2]), impl=impl)
    assert loss[0] == 0
    assert loss[1] > 9e3


@pytest.mark.parametrize("impl", IMPLS)
def test_what_stands_behind_the_ends_is_not_read(impl: str) -> None:
    x, y, lengths, n_labels = ragged(torch.float64)
    wanted = ops.ctc_loss(x, y, lengths, n_labels, impl=impl)
    for row in range(len(x)):
        x[row, lengths[row] :] = torch.nan
        y[row, n_labels[row] :] = -(2**31)
    x.requires_grad_()
    loss = ops.ctc_loss(x, y, lengths, n_labels, impl=impl)
    assert torch.equal(loss.detach(), wanted)
    assert torch.autograd.grad(loss.sum(), x)[0].isfinite().all()


def test_frames_and_labels_may_be_none() -> None:
    none = torch.zeros(2, dtype=torch.int64)
    assert ops.ctc_loss(torch.zeros(2, 0, 3), torch.zeros(2, 0, dtype=torch.int64), none, none).tolist() == [0, 0]
    got = ops.ctc_loss(torch.zeros(2, 5, 4), torch.zeros(2, 0, dtype=torch.int64), none + 5, none)
    torch.testing.assert_close(got, torch.full((2,), 5 * torch.log(torch.tensor(4.0)).item()))
    assert ops.ctc_loss(torch.zeros(0, 5, 4), torch.zeros(0, 2, dtype=torch.int64), none[:0], none[:0]).shape == (0,)


def test_the_kernel_is_taken_and_the_definition_traces() -> None:
    given = ragged(torch.float32)
    assert CTC_LOSS.explain(*given) == {"aten": None, "ref": None}
    program = torch.export.export(_Loss(), given)
    torch.testing.assert_close(program.module()(*given), ops.ctc_loss(*given))


class _Loss(torch.nn.Module):
    def forward(self, *given: Tensor) -> Tensor:
        return ops.ctc_loss(*given)
