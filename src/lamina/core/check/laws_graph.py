"""Laws of the graphs a layer becomes: export, onnx, compile. StepGraph is the step with its state flattened."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lamina.core import state as trees
from lamina.core.check.case import Case, widened, widened_seq
from lamina.core.check.law import law
from lamina.core.check.policy import LawError, Skipped
from lamina.core.layer import Layer, State
from lamina.core.seq import Seq

__all__ = ["StepGraph", "compile_", "export", "onnx"]

ROWS = 2


class StepGraph(nn.Module):
    """step as a function of tensors alone: (values, mask, *state) -> (values, mask, *state).

    The state is flattened in tree order, because exporters read a trailing dict as keyword arguments. `inputs` and
    `outputs` are the names of both sides: values, mask, then a state's tree paths ("state.0.h", and "new.0.h" out).
    Shapes are those of the example: values [B,T,*d_in], mask [B,T]. Memory, where the layer takes it, is its last two.
    """

    def __init__(self, layer: Layer, state: State) -> None:
        super().__init__()
        self.layer = layer
        self.names = trees.names(state)
        memory = ["memory", "memory_mask"] if layer.takes_memory else []
        self.inputs = ["values", "mask", *(f"state.{n}" for n in self.names), *memory]
        self.outputs = ["frames", "frames_mask", *(f"new.{n}" for n in self.names)]

    def forward(self, values: Tensor, mask: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        state = trees.unflatten(dict(zip(self.names, rest, strict=False)))
        if self.layer.takes_memory:
            y, new = self.layer.step(Seq(values, mask), state, Seq(*rest[len(self.names) :]))
        else:
            y, new = self.layer.step(Seq(values, mask), state)
        # a graph whose output is an input is refused by some runtimes
        flat = trees.flatten(new)
        return tuple(t.clone() for t in (y.values, y.mask, *(flat[n] for n in self.names)))


class _Graph:
    """A case's step graph, its example, and the exported program, made once for both laws."""

    def __init__(self, case: Case) -> None:
        self.case, block = case, case.spec.block
        self.memory = case.memory(ROWS)
        self.begin = case.start(case.layer, ROWS, self.memory)
        lengths = [min(case.frames, 4 * block + 1), block]
        self.x = case.inputs(lengths, seed=20)
        self.graph = (case.graph or StepGraph)(case.layer, self.begin)
        self.inputs, self.outputs = _names(self.graph, "inputs"), _names(self.graph, "outputs")
        self.args = self.arguments(self.x_fed.slice(0, block), list(trees.flatten(self.begin).values()))
        odd = [type(a).__name__ for a in self.args if not isinstance(a, Tensor)]
        if odd:
            raise LawError(
                f"the graph takes a {odd[0]}, which exporters read as keyword arguments; "
                "its inputs must be tensors alone",
                tensor="state",
            )
        for side in (self.inputs, self.outputs):
            lost = [n for n in trees.names(self.begin) if not any(name.endswith(n) for name in side)]
            if lost:
                raise LawError(f"no graph name of {side} has the state's path {lost[0]}", tensor=lost[0])

    @property
    def x_fed(self) -> Seq:
        return self.case.followed(self.x)

    def arguments(self, x: Seq, state: Sequence[Tensor]) -> tuple[Any, ...]:
        memory = [] if self.memory is None else [self.memory.values, self.memory.mask]
        make = getattr(self.graph, "arguments", None)  # a graph with another signature says how it is called
        flat = (x.values, x.mask, *state, *memory)
        return tuple(make(*flat)) if make else flat

    def program(self) -> Any:
        with _quiet():
            return torch.export.export(self.graph, self.args, strict=False)

    def compare(self, run: Callable[..., Sequence[Tensor]], about: str) -> None:
        """Streams the input through the graph, state out to state in, against forward."""
        case, block, fed = self.case, self.case.spec.block, self.x_fed
        state, parts = list(trees.flatten(self.begin).values()), []
        for at in range(0, fed.mask.shape[1], block):
            values, mask, *state = run(*self.arguments(fed.slice(at, at + block), state))
            parts.append(Seq(values, mask))
        truth = case.run(case.truth, widened_seq(self.x), widened(self.memory))
        ref = case.run(case.layer, self.x, self.memory)
        delay = case.spec.delay
        case.agree(Seq.cat(parts).slice(delay, delay + truth.mask.shape[1]), truth, ref, about)


def _names(graph: Any, side: str) -> list[str]:
    return list(getattr(graph, side))


def _graph(case: Case) -> tuple[_Graph, Any]:
    """Kept on the case: exporting takes seconds."""
    kept = case.kept.get("graph")
    if kept is None:
        graph = _Graph(case)
        kept = case.kept["graph"] = (graph, graph.program())
    return kept


@law()
def export(case: Case) -> None:
    """torch.export of step, its state flattened into named inputs and outputs, streams as forward gives it"""
    graph, program = _graph(case)
    placeholders = [s for s in program.graph_signature.user_inputs if s is not None]
    if len(placeholders) != len(graph.inputs):
        raise LawError(
            f"the graph has inputs {placeholders}, not one for each of {graph.inputs}: an input was dropped or joined",
            tensor="state",
        )
    run = program.module()
    graph.compare(lambda *args: list(run(*args)), "the exported step against forward")


@law()
def onnx(case: Case) -> None:
    """The same step graph in ONNX Runtime, inputs and outputs named by their tree paths"""
    try:
        import onnx as onnx_format
        import onnxruntime
        import onnxscript
    except ImportError as error:
        raise Skipped(f"needs {error.name}: pip install 'lamina[export]'") from None
    assert onnx_format is not None
    assert onnxscript is not None
    graph, program = _graph(case)
    with _quiet():
        written = torch.onnx.export(
            program, (), input_names=graph.inputs, output_names=graph.outputs, dynamo=True,
            optimize=False, verbose=False,
        )  # fmt: skip
        assert written is not None
        model = written.model_proto.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    taken, given = [i.name for i in session.get_inputs()], [o.name for o in session.get_outputs()]
    if given != graph.outputs:
        raise LawError(f"the outputs are named {given}, not {graph.outputs}", tensor="state")
    unknown = [name for name in taken if name not in graph.inputs]
    if unknown:
        raise LawError(f"the inputs are named {taken}, not {graph.inputs}", tensor=unknown[0])

    def run(*args: Tensor) -> list[Tensor]:
        feed = {n: a.detach().numpy() for n, a in zip(graph.inputs, args, strict=True) if n in taken}
        return [torch.from_numpy(a) for a in session.run(None, feed)]

    graph.compare(run, "the step in ONNX Runtime against forward")


@law(name="compile", streams=False, slow=True)
def compile_(case: Case) -> None:
    """torch.compile(fullgraph=True) of forward equals eager"""
    import shutil

    backend = "inductor" if shutil.which("c++") or shutil.which("g++") or shutil.which("clang++") else "aot_eager"
    x, memory = case.inputs(case.lengths, seed=21), case.memory(4)
    truth, ref = case.run(case.truth, widened_seq(x), widened(memory)), case.run(case.layer, x, memory)
    layer = case.layer

    def run(values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        y = layer(Seq(values, mask), memory) if layer.takes_memory else layer(Seq(values, mask))
        return y.values, y.mask

    torch._dynamo.reset()
    with _quiet():
        compiled = torch.compile(run, fullgraph=True, backend=backend)
        values, mask = compiled(x.values, x.mask)
    torch._dynamo.reset()
    case.agree(Seq(values, mask), truth, ref, f"compiled with {backend} against eager")
    case.notes["compile"] = backend


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Exporters print and warn about themselves; a failure raises all the same."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
