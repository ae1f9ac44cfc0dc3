"""Running the laws: LAWS, check_layer, parametrize."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from lamina.core.check import laws_form, laws_grad, laws_graph, laws_mode, laws_state, laws_stream
from lamina.core.check.case import Case, is_composite
from lamina.core.check.law import Law
from lamina.core.check.policy import LawError, Skipped
from lamina.core.compose import Delay
from lamina.core.config import nearest
from lamina.core.layer import Layer

__all__ = ["LAWS", "Result", "check_layer", "choose", "parametrize"]

LAWS: dict[str, Law] = {
    found.name: found
    for found in (
        laws_form.shapes, laws_form.padding, laws_form.batch, laws_form.causal, laws_stream.chunks, laws_stream.flush,
        laws_stream.captured, laws_grad.grad, laws_state.state, laws_state.save, laws_state.pure, laws_stream.hold,
        laws_stream.rows, laws_stream.absent, laws_mode.aging, laws_mode.mode, laws_mode.reason, laws_graph.export,
        laws_graph.onnx, laws_graph.compile_, laws_mode.config,
    )
}  # fmt: skip


@dataclass(frozen=True)
class Result:
    """One law on one layer. status: "passed", "failed" or "skipped"; message says why it is not passed.

    part: the path of the innermost layer that breaks the law by itself. tensor, row, frame, size and allowed: where a
    comparison failed first, and by how much.
    """

    layer: str
    check: str
    status: str
    message: str = ""
    part: str = ""
    tensor: str | None = None
    row: int | None = None
    frame: int | None = None
    size: float | None = None
    allowed: float | None = None
    note: str = ""
    seconds: float = 0.0


def choose(laws: Iterable[str] | None = None, *, slow: bool = False) -> list[Law]:
    """The laws of these names, or all (the slow ones where slow); an unknown name is a UserError."""
    if laws is None:
        return [found for found in LAWS.values() if slow or not found.slow]
    chosen = []
    for name in laws:
        if name not in LAWS:
            raise nearest(name, LAWS, "law")
        chosen.append(LAWS[name])
    return chosen


def check_layer(
    layer: Layer | Callable[[], Layer] | Case, laws: Iterable[str] | None = None, slow: bool = False,
    name: str | None = None,
) -> list[Result]:  # fmt: skip
    """Tries the laws on a layer; nothing is raised, each law has its Result.

    laws: names out of LAWS (default: all; slow adds the slow ones).
    """
    case = layer if isinstance(layer, Case) else Case(layer, name)
    return [check_law(case, law) for law in choose(laws, slow=slow)]


def check_law(case: Case, law: Law) -> Result:
    """One law on one layer. An exception that is no LawError is a failure that says which."""
    start = time.perf_counter()
    try:
        law(case)
    except Skipped as skipped:
        return Result(case.name, law.name, "skipped", str(skipped), seconds=time.perf_counter() - start)
    except LawError as error:
        part = _innermost(case.given, law)
        message = str(error) + (f"; by itself {part} breaks it too" if part else "")
        return Result(
            case.name, law.name, "failed", message, part, error.tensor, error.row, error.frame, error.size,
            error.allowed, seconds=time.perf_counter() - start,
        )  # fmt: skip
    except Exception as error:
        part = _innermost(case.given, law)
        message = f"{case.name}: {law.name}: raises {type(error).__name__}: {_short(error)}"
        message += f"; by itself {part} breaks it too" if part else ""
        return Result(case.name, law.name, "failed", message, part, seconds=time.perf_counter() - start)
    note = case.notes.get(law.name, "")
    return Result(case.name, law.name, "passed", note=note, seconds=time.perf_counter() - start)


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 400 else f"{text[:400]} ..."


def _innermost(layer: Layer, law: Law, path: str = "") -> str:
    """The path of the first innermost layer inside that breaks the law by itself, "" where none does."""
    if law.slow or not is_composite(layer):
        return path
    for name, child in _layers_in(layer):
        try:
            law(Case(copy.deepcopy(child)))
        except Skipped:
            continue
        except Exception:
            return _innermost(child, law, f"{path}.{name}" if path else name)
    return path


def _layers_in(layer: Layer) -> list[tuple[str, Layer]]:
    """The outermost layers inside a layer, with their paths."""
    found: list[tuple[str, Layer]] = []

    def walk(module: Any, path: str) -> None:
        for name, child in module.named_children():
            at = f"{path}.{name}" if path else name
            if isinstance(child, Layer):
                found.append((at, child))
            else:
                walk(child, at)

    walk(layer, "")
    return [(path, child) for path, child in found if not isinstance(child, Delay)]


def parametrize(
    layers: Sequence[Layer | Callable[[], Layer] | tuple[str, Layer | Callable[[], Layer]] | Case],
    laws: Iterable[str] | None = None,
) -> Any:
    """A pytest decorator: the test gets every (case, law), the slow laws marked `slow`.

        @check.parametrize([LSTM(8, 8), lambda: Residual(MyMixer(16))])
        def test_laws(case, law):
            law(case)

    The ids are "LSTM-chunks". A layer may be given as (name, layer); a law that does not apply is a pytest skip.
    """
    import pytest

    cases = []
    for layer in layers:
        if isinstance(layer, Case):
            cases.append(layer)
        elif isinstance(layer, tuple):
            cases.append(Case(layer[1], layer[0]))
        else:
            cases.append(Case(layer))
    chosen = list(LAWS.values()) if laws is None else choose(laws)
    rows = []
    for case, label in zip(cases, _labels([c.name for c in cases]), strict=True):
        for law in chosen:
            marks = [pytest.mark.slow] if law.slow else []
            rows.append(pytest.param(case, _SkippingLaw(law), id=f"{label}-{law.name}", marks=marks))
    return pytest.mark.parametrize(("case", "law"), rows)


class _SkippingLaw:
    """A law whose Skipped is pytest's skip."""

    def __init__(self, law: Law) -> None:
        self.law, self.name = law, law.name

    def __call__(self, case: Case) -> None:
        import pytest

        try:
            self.law(case)
        except Skipped as skipped:
            pytest.skip(str(skipped))


def _labels(names: list[str]) -> list[str]:
    """Unlike ids: the second LSTM is LSTM2."""
    seen: dict[str, int] = {}
    labels = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        labels.append(name if seen[name] == 1 else f"{name}{seen[name]}")
    return labels
