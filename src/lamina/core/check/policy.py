"""The tolerance policy, and what a broken law says.

With truth = the same layer in float64, an error must be <= 4 * max(the error of the float32 forward itself,
eps(dtype) * max|truth|), for values and for gradients. There is no other knob.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lamina.core.seq import Seq

__all__ = ["LawError", "Skipped", "agree", "agree_tensors", "bit_equal", "difference", "tolerance"]


class LawError(AssertionError):
    """A layer breaks a law. The text names the layer, the law, the first diverging frame and tensor, and the size."""

    def __init__(
        self, what: str, *, tensor: str | None = None, row: int | None = None, frame: int | None = None,
        size: float | None = None, allowed: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__(what)
        self.what, self.tensor, self.row, self.frame = what, tensor, row, frame
        self.size, self.allowed = size, allowed
        self.layer, self.law = "", ""

    def of(self, layer: str, law: str) -> LawError:
        """The same failure with its layer and law in front."""
        self.layer, self.law = layer, law
        self.args = (f"{layer}: {law}: {self.what}",)
        return self


class Skipped(Exception):
    """A law that does not apply here, with the reason."""


def difference(a: Tensor, b: Tensor) -> Tensor:
    """|a - b| in float64; NaN against a number, or infinities that differ, count as infinite."""
    a, b = a.detach().double(), b.detach().double()
    apart = (a - b).abs()
    same = (a == b) | (a.isnan() & b.isnan())
    return torch.where(same, 0.0, torch.where(apart.isnan(), torch.inf, apart))


def tolerance(truth: Tensor, ref: Tensor, dtype: torch.dtype, *, largest: float = 0.0, own: float = 0.0) -> float:
    """4 * max(ref's own error, eps(dtype) * max|truth|).

    largest and own: max|truth| and ref's own error on a larger sample, where the one at hand is small.
    """
    if not truth.numel():
        return 0.0
    largest = max(float(truth.detach().double().abs().max()), largest)
    return 4 * max(float(difference(ref, truth).max()), torch.finfo(dtype).eps * largest, own)


def agree(
    got: Seq, truth: Seq, ref: Seq, about: str, *, tensor: str = "values", dtype: torch.dtype = torch.float32,
    own: float = 0.0, first_row: int = 0,
) -> None:  # fmt: skip
    """Same mask, and values within the policy at every real frame; else a LawError at the first frame that differs.

    own: ref's own error on a larger sample. first_row: what the failure calls row 0.
    """
    if got.values.shape != truth.values.shape:
        raise LawError(
            f"{tensor} are {list(got.values.shape)}, not {list(truth.values.shape)} ({about})", tensor=tensor
        )
    if got.mask.shape != truth.mask.shape:
        raise LawError(f"the mask is {list(got.mask.shape)}, not {list(truth.mask.shape)} ({about})", tensor="mask")
    if not torch.equal(got.mask, truth.mask):
        row, frame = _first(got.mask != truth.mask)
        kinds = ("absent", "real")
        raise LawError(
            f"the mask differs first at row {row + first_row}, frame {frame} of {got.mask.shape[1]}: "
            f"{kinds[int(got.mask[row, frame])]}, should be {kinds[int(truth.mask[row, frame])]} ({about})",
            tensor="mask", row=row + first_row, frame=frame,
        )  # fmt: skip
    real = truth.expand_mask()
    for name, seq in (("float64", truth), ("float32", ref)):
        broken = (~seq.values.isfinite() & real).flatten(2).any(2)
        if broken.any():
            row, frame = _first(broken)
            raise LawError(
                f"forward in {name} gives NaN or inf at row {row + first_row}, frame {frame}, a real frame ({about})",
                tensor=tensor, row=row + first_row, frame=frame, size=float("inf"), allowed=0.0,
            )  # fmt: skip
    zero = truth.values.new_zeros(())
    wanted = torch.where(real, truth.values, zero)
    allowed = tolerance(wanted, torch.where(real, ref.values.double(), zero.double()), dtype, own=own)
    apart = torch.where(real, difference(got.values, truth.values), 0.0).flatten(2).amax(2) if real.numel() else None
    if apart is not None and bool((apart > allowed).any()):
        row, frame = _first(apart > allowed)
        at = f"row {row + first_row}, frame {frame} of {got.mask.shape[1]}"
        raise LawError(
            f"{tensor} differ first at {at}: by {apart[row, frame]:.3g}, at most {apart.max():.3g} anywhere, "
            f"{allowed:.3g} allowed ({about})",
            tensor=tensor, row=row + first_row, frame=frame, size=float(apart.max()), allowed=allowed,
        )  # fmt: skip


def agree_tensors(
    got: dict[str, Tensor], truth: dict[str, Tensor], ref: dict[str, Tensor], about: str,
    *, own: dict[str, float], dtype: torch.dtype = torch.float32,
) -> None:  # fmt: skip
    """The policy for named tensors that are parts of one vector (the gradients of one loss).

    max|truth| is the whole vector's: a part that is zero by cancellation (the key bias of attention) has the rounding
    of its summands, not of its sum. own: ref's own errors on a larger sample.
    """
    floor = max((float(t.detach().abs().max()) for t in truth.values() if t.numel()), default=0.0)
    for name, wanted in truth.items():
        for what, tensor in (("float64", wanted), ("float32", ref[name]), (about, got[name])):
            if not bool(tensor.isfinite().all()):
                raise LawError(f"{name} has NaN or inf ({what})", tensor=name, size=float("inf"), allowed=0.0)
        if not wanted.numel():
            continue
        allowed = tolerance(wanted, ref[name], dtype, largest=floor, own=own.get(name, 0.0))
        apart = difference(got[name], wanted)
        if bool((apart > allowed).any()):
            worst = apart.max()
            raise LawError(
                f"{name} differs by {worst:.3g}, {allowed:.3g} allowed ({about})",
                tensor=name, size=float(worst), allowed=allowed,
            )  # fmt: skip


def bit_equal(got: Tensor, wanted: Tensor, about: str, tensor: str) -> None:
    """Same shape, dtype and bits (NaN equals NaN)."""
    if got.shape != wanted.shape or got.dtype != wanted.dtype:
        raise LawError(
            f"{tensor} is {got.dtype} {list(got.shape)}, not {wanted.dtype} {list(wanted.shape)} ({about})",
            tensor=tensor,
        )
    apart = difference(got, wanted)
    if bool((apart > 0).any()):
        at = (apart > 0).nonzero()[0].tolist()
        raise LawError(
            f"{tensor} differs first at {at}: by {apart.max():.3g} at most, must be bit-equal ({about})",
            tensor=tensor, row=at[0] if at else None, frame=at[1] if len(at) > 1 else None, size=float(apart.max()),
            allowed=0.0,
        )  # fmt: skip


def _first(wrong: Tensor) -> tuple[int, int]:
    """Row and frame of the earliest frame that is wrong in any row, [B,T]."""
    frame = int(wrong.any(0).float().argmax())
    return int(wrong[:, frame].float().argmax()), frame
