"""Recurrences: LSTM, GRU and the plain tanh RNN, with the state as a value."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from lamina.ops._recurrent import aten, ref
from lamina.ops.registry import Impl, Op

__all__ = ["gru", "lstm", "rnn"]

States = tuple[Tensor, ...]
_LSTM = Op("lstm", Impl("aten", aten.lstm, aten.refuses, aten.yields), Impl("ref", ref.lstm, traces=True))
_GRU = Op("gru", Impl("aten", aten.gru, aten.refuses, aten.yields), Impl("ref", ref.gru, traces=True))
_RNN = Op("rnn", Impl("aten", aten.rnn, aten.refuses, aten.yields), Impl("ref", ref.rnn, traces=True))


def lstm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    mask: Tensor | None = None,
    state: States | None = None,
    *,
    impl: str = "auto",
) -> tuple[Tensor, States]:
    """Long short-term memory (Hochreiter & Schmidhuber 1997; forget gate of Gers et al. 2000).

    x [B,T,D]; weight [D+H,4H] and bias [4H] with the gates in the order input, forget, cell, output;
    mask [B,T], None where every frame is real; state (h, c), both [B,H], None for zeros -> y [B,T,H] and the state.
    """
    return _run(_LSTM, impl, 2, 4, x, weight, bias, mask, state)


def gru(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    mask: Tensor | None = None,
    state: States | None = None,
    *,
    impl: str = "auto",
) -> tuple[Tensor, States]:
    """Gated recurrent unit (Cho et al. 2014), the reset gate applied behind the recurrent product.

    x [B,T,D]; weight [D+H,3H] with the gates in the order reset, update, new; bias [4H]: reset, update, new, and the
    new gate's recurrent one; mask [B,T] or None; state (h,) [B,H] or None -> y [B,T,H] and the state.
    """
    return _run(_GRU, impl, 1, 4, x, weight, bias, mask, state)


def rnn(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    mask: Tensor | None = None,
    state: States | None = None,
    *,
    impl: str = "auto",
) -> tuple[Tensor, States]:
    """The plain tanh recurrence (Elman 1990).

    x [B,T,D]; weight [D+H,H]; bias [H]; mask [B,T] or None; state (h,) [B,H] or None -> y [B,T,H] and the state.
    """
    return _run(_RNN, impl, 1, 1, x, weight, bias, mask, state)


def _run(
    op: Op, impl: str, parts: int, gates: int, x: Tensor, weight: Tensor, bias: Tensor, mask: Tensor | None,
    state: States | None,
) -> tuple[Tensor, States]:  # fmt: skip
    if x.shape[-1] + bias.shape[0] // gates != weight.shape[0]:  # oneDNN would read beyond the weights
        raise ValueError(
            f"{op.name}: frames of width {x.shape[-1]} do not fit these weights, which take "
            f"{weight.shape[0] - bias.shape[0] // gates}; project the input to that width first"
        )
    if state is None:
        state = tuple(x.new_zeros(x.shape[0], bias.shape[0] // gates) for _ in range(parts))
    inputs = (x, weight, bias, mask, state)
    run: Callable[..., tuple[Tensor, States]] = op.choose(impl, *inputs).run
    return run(*inputs)
