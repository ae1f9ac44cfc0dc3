"""lamina check: the laws of the contract, on lamina's layers and on the user's own code."""

from __future__ import annotations

import inspect
import json
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from lamina.cli._target import line, load
from lamina.core.config import UserError, nearest

if TYPE_CHECKING:
    from lamina.core.check import Case, Law, Result
    from lamina.core.layer import Layer

__all__ = ["find", "register", "run"]

SMALL = {
    "d_model": 8, "d_in": 8, "d_out": 8, "d_ff": 12, "d_head": 4, "d_state": 4, "width": 8, "n_heads": 2, "n_layers": 2,
    "n_vocab": 11, "kernel": 3, "stride": 2, "factor": 2, "left": 6, "right": 1, "chunk": 4, "window": 6, "capacity": 6,
    "dropout": 0.1, "n": 2,
}  # fmt: skip
"""What a required constructor argument of that name gets."""


def register(app: typer.Typer) -> None:
    @app.command("check")
    def check(
        targets: list[str] = typer.Argument(
            help="all, a layer's name, path/to/file.py:MyLayer or package.module:MyLayer."
        ),
        law: list[str] = typer.Option([], "--law", help="Only this law; may be given again.", metavar="NAME"),
        slow: bool = typer.Option(False, "--slow", help="Add the slow laws: aging, compile."),
        as_json: bool = typer.Option(False, "--json", help="For machines."),
    ) -> None:
        """The laws of the contract, on your own layer: training form equals streaming form, and all that it takes.

        MyLayer is a lamina.Layer class, an instance, or a function without arguments that makes one. Exit status 1 if a
        law is broken.

        Examples:  lamina check mine.py:MyLayer;  lamina check all --json;  lamina check LSTM --law chunks --law grad
        """
        import torch

        from lamina.core.check import LAWS, Result, choose

        torch.set_num_threads(1)  # the layers are tiny: more threads only wait for each other
        laws = choose(law or None, slow=slow)
        cases = [case for target in targets for case in find(target)]
        results = run(cases, laws)
        if not law and not slow:
            left = [found.name for found in LAWS.values() if found.slow]
            results += [Result(case.name, name, "skipped", "slow: add --slow") for case in cases for name in left]
        print(json.dumps(summary(results), indent=2) if as_json else text(results))
        if any(r.status == "failed" for r in results):
            raise typer.Exit(1)


def find(target: str) -> list[Case]:
    """The layers that a target names, ready for the laws."""
    from lamina.core.check import Case

    if ":" in target:
        return [Case(_make(target), target.rpartition(":")[2])]
    from lamina.models import check_layers

    layers = dict(check_layers())
    if target == "all":
        return [Case(layer, name) for name, layer in layers.items()]
    if target in layers:
        return [Case(layers[target], target)]
    if target.endswith(".py") or "/" in target:
        raise UserError(f"{target}: which layer? write {target}:MyLayer")
    raise nearest(target, [*layers, "all"], "layer")


def run(cases: list[Case], laws: list[Law]) -> list[Result]:
    """Every law on every case; progress on a terminal."""
    from lamina.core.check import check_law

    results = []
    with _progress(len(cases) * len(laws)) as tell:
        for case in cases:
            for law in laws:
                tell(f"{case.name}: {law.name}")
                results.append(check_law(case, law))
    return results


def summary(results: list[Result]) -> dict[str, Any]:
    """Counts, failures with where and by how much, skips with their reason. checks counts those that ran."""
    failed = [_row(r) for r in results if r.status == "failed"]
    skipped = [{"layer": r.layer, "check": r.check, "reason": r.message} for r in results if r.status == "skipped"]
    return {
        "layers": len({r.layer for r in results}), "checks": len(results) - len(skipped), "failed": failed,
        "skipped": skipped,
    }  # fmt: skip


def _row(result: Result) -> dict[str, Any]:
    keys = ("layer", "check", "message", "part", "tensor", "row", "frame", "size", "allowed")
    row = {key: value for key, value in asdict(result).items() if key in keys}
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}  # JSON has no inf


def text(results: list[Result]) -> str:
    """A line a layer, then what is broken, then the totals."""
    lines = []
    layers = list(dict.fromkeys(r.layer for r in results))
    wide = max((len(name) for name in layers), default=0)
    for name in layers:
        own = [r for r in results if r.layer == name]
        count = {s: sum(r.status == s for r in own) for s in ("passed", "failed", "skipped")}
        reasons = sorted({r.message for r in own if r.status == "skipped" and r.message != "it streams"})
        why = f" ({'; '.join(reasons)})" if reasons else ""
        lines.append(f"{name:<{wide}}  " + ", ".join(f"{n} {s}" for s, n in count.items() if n) + why)
    lines += [f"FAILED {r.message}" for r in results if r.status == "failed"]
    total = summary(results)
    lines.append(f"{total['layers']} layers, {total['checks']} checks, {len(total['failed'])} failed")
    return "\n".join(lines)


@contextmanager
def _progress(total: int) -> Iterator[Any]:
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)
        done = -1

        def tell(what: str) -> None:
            nonlocal done
            done += 1
            bar.update(task, completed=done, description=what)

        yield tell


def _make(target: str) -> Layer:
    """The layer that file.py:Name or module:Name gives."""
    import torch

    from lamina.core.layer import Layer

    where, _, name = target.rpartition(":")
    module = load(where, "MyLayer")
    if not hasattr(module, name):
        own = [k for k, v in vars(module).items() if not k.startswith("_") and (isinstance(v, Layer) or callable(v))]
        raise UserError(f"{where}: {nearest(name, own, 'layer')}" if own else f"{where}: it has no layer {name!r}")
    found = getattr(module, name)
    if isinstance(found, Layer):
        return found
    if not callable(found):
        raise UserError(f"{target}: a {type(found).__name__}; name a lamina.Layer or a function that makes one")
    if inspect.isclass(found) and issubclass(found, Layer):
        missing = sorted(getattr(found, "__abstractmethods__", ()))
        if missing:
            raise UserError(f"{target}: abstract; write {', '.join(missing)}")
    elif inspect.isclass(found) and issubclass(found, torch.nn.Module):
        raise UserError(
            f"{target}: a torch.nn.Module, not a lamina.Layer; derive it from lamina.Layer and write its step"
        )
    made = _call(found, target)
    if not isinstance(made, Layer):
        raise UserError(f"{target}: gives a {type(made).__name__}, not a lamina.Layer")
    return made


def _call(make: Any, target: str) -> Any:
    """make() with small values for the required arguments that are known by name."""
    try:
        parameters = inspect.signature(make).parameters.values()
    except ValueError:
        parameters = []
    bare = [p for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    unknown = [p.name for p in bare if p.name not in SMALL]
    if unknown:
        raise UserError(
            f"{target}: no small value is known for {', '.join(unknown)}; write a function without arguments that "
            f"makes the layer, and name that"
        )
    values = {p.name: SMALL[p.name] for p in bare}
    if values:
        filled = ", ".join(f"{k}={v}" for k, v in values.items())
        print(f"{target.rpartition(':')[2]}({filled}): small values for its arguments", file=sys.stderr)
    positional = [values.pop(p.name) for p in bare if p.kind is p.POSITIONAL_ONLY]
    try:
        return make(*positional, **values)
    except Exception as error:
        raise UserError(f"{target}: making it raises {type(error).__name__}: {line(error)}") from error
