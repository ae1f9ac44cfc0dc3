"""lamina sample: what a trained generator makes, as a picture, a film or sound."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from lamina.data import DataSet
    from lamina.tasks import Task
    from lamina.train import Run

__all__ = ["register"]

FRAMES, FILM = 50, 40  # of a film: pictures at most, pixels of a small example in them
PAUSE = 0.2  # seconds between two sounds


def register(app: typer.Typer) -> None:
    app.command("sample")(sample)


def sample(
    run: Annotated[Path, typer.Argument(help="A run of ddpm or gan, or of a sequence model on digit_mels.")],
    n: Annotated[int, typer.Option("--n", help="How many.")] = 64,
    out: Annotated[Path | None, typer.Option(help=".png, or .wav of sounds; default RUN/samples.png.")] = None,
    steps: Annotated[int | None, typer.Option(help="Of denoising, by DDIM; default all of training's.")] = None,
    eta: Annotated[float | None, typer.Option(help="Noise of DDIM's steps: 0 none, 1 ancestral.")] = None,
    guidance: Annotated[float | None, typer.Option(help="How far to go beyond the class, 0 to about 4.")] = None,
    classes: Annotated[str | None, typer.Option(help="Classes by number, such as 3 or 0,1,2: in turn.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed makes the same samples.")] = 0,
    trajectory: Annotated[Path | None, typer.Option(help="A .gif of how they come to be.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Make new examples like those a run was trained on.

    lamina train ddpm digits --set n_classes=10 --set noise_steps=200, then

    lamina sample runs/train-ddpm-digits --out grid.png

    lamina sample runs/train-ddpm-digits --classes 0,1,2,3 --guidance 1 --steps 20 --trajectory film.gif

    lamina sample runs/train-lstm-digit_mels --n 10 --out digits.wav
    """
    from lamina.core import UserError
    from lamina.train import load_run
    from lamina.train.checkpoint import said_plainly

    if n < 1:
        raise UserError(f"--n {n}: it must be at least 1")
    found = load_run(run)
    out = out or run / "samples.png"
    asked = {"steps": steps, "eta": eta, "guidance": guidance, "classes": _numbers(classes, n)}
    options = _taken(found, {key: value for key, value in asked.items() if value is not None}, trajectory)
    write = _writer(found.dataset, out)
    film = None if trajectory is None else _Film(found.dataset, trajectory)
    made, seconds = _made(found.task, n, seed, options, film, as_json)
    with said_plainly(out, out.with_name(f"{out.name}.part")):
        write(made)
    if film is not None:
        with said_plainly(film.path, film.path.with_name(f"{film.path.name}.part")):
            film.write(made)
    model = found.facts["order"]["model"]
    facts = {"run": str(run), "model": model, "n": n, "seed": seed, **options, "out": str(out)}
    facts |= {} if trajectory is None else {"trajectory": str(trajectory)}
    facts |= {"seconds": round(seconds, 4), "ms_per_sample": round(1e3 * seconds / n, 4)}
    if as_json:
        typer.echo(json.dumps(facts))
    else:
        typer.echo(f"{model}: {n} samples in {seconds:.2f} s, {facts['ms_per_sample']:.3g} ms each, in {out}"
                   + (f" and {trajectory}" if trajectory else ""))  # fmt: skip


def _made(
    task: Task, n: int, seed: int, options: dict[str, Any], film: _Film | None, quiet: bool
) -> tuple[Tensor, float]:
    """The samples and the seconds that they took."""
    from lamina.cli.train import progress

    steps = options.get("steps") or (task.schedule.steps if hasattr(task, "schedule") else 1)
    with progress(steps, quiet) as (tell, _):

        def on_step(done: int, of: int, x: Tensor, x0: Tensor) -> None:
            if tell is not None:
                tell(done, "")
            if film is not None:
                film.see(done, of, x)

        watched = {"on_step": on_step} if "on_step" in _parameters(task) else {}
        began = perf_counter()
        made = task.sample(n, seed=seed, **options, **watched)  # type: ignore[operator]
        return made, perf_counter() - began


def _taken(run: Run, asked: dict[str, Any], trajectory: Path | None) -> dict[str, Any]:
    """The options, if the run's task samples and has them all."""
    from lamina.core import UserError

    order, known = run.facts["order"], _parameters(run.task)
    if not known:
        raise UserError(
            f"{order['model']} on {run.dataset.name} answers and makes nothing; train who does: `lamina train ddpm "
            "digits`, or a sequence model on digit_mels"
        )
    for option in [*asked, *([] if trajectory is None else ["on_step"])]:
        if option not in known:
            name = "trajectory" if option == "on_step" else option
            raise UserError(f"--{name}: {order['model']} makes a sample in one pass and has none; leave it out")
    return asked


def _parameters(task: Task) -> tuple[str, ...]:
    """What the task's sampler takes, nothing where it has none."""
    return tuple(inspect.signature(task.sample).parameters) if hasattr(task, "sample") else ()


def _numbers(text: str | None, n: int) -> list[int] | None:
    """ "0,1" -> n classes, 0 and 1 in turn."""
    from lamina.core import UserError

    words = [word.strip() for word in (text or "").split(",")]
    if text is None:
        return None
    if not all(word.isdecimal() for word in words):
        raise UserError(f"--classes {text!r}: give numbers, such as 3 or 0,1,2")
    return [int(words[i % len(words)]) for i in range(n)]


def _writer(dataset: DataSet, out: Path) -> Callable[[Tensor], None]:
    """What writes samples to `out`; refused before they are made where it cannot."""
    from lamina.core import UserError
    from lamina.data.audio import needs
    from lamina.data.picture import grid, pillow, write_png

    kinds = [".png", ".wav"] if dataset.rate else [".png"]
    if out.suffix.lower() not in kinds:
        raise UserError(f"--out {out}: {dataset.name} is written as {' or '.join(kinds)}")
    _room(out, "--out")
    if out.suffix.lower() == ".wav":
        needs("soundfile", "writing sound")
        x = dataset.train.x  # louder than any of these is no sound
        return lambda made: _wav(made.clamp(float(x.min()), float(x.max())), dataset.rate or 0, out)
    pillow()
    shown = _shown(dataset)
    return lambda made: write_png(out, grid(shown(made)))


def _room(path: Path, option: str) -> None:
    from lamina.core import UserError

    if path.is_dir() or not path.absolute().parent.is_dir():
        raise UserError(f"{option} {path}: is no place for a file; make the folder first, or give another name")


def _shown(dataset: DataSet) -> Callable[[Tensor], Tensor]:
    """Samples as images in 0..1; frames from black, the floor of the training part, to white, which 1 in 200 passes."""
    from lamina.data.picture import spectra

    if dataset.kind == "image":
        return lambda x: x
    some = dataset.train.x[:: max(1, len(dataset.train) // 200)].flatten()
    low, high = float(some.min()), float(some.quantile(0.995))
    return lambda x: spectra(x, low, high)


def _wav(made: Tensor, rate: int, out: Path) -> None:
    """The samples one after another as sound."""
    import os

    import torch

    from lamina.data.audio import needs
    from lamina.speech import heard

    pause = torch.zeros(round(PAUSE * rate))
    sound = torch.cat([part for frames in made for part in (heard(frames, rate), pause)])
    part = out.with_name(f"{out.name}.part")
    loudest = float(sound.abs().max()) or 1.0
    needs("soundfile", "writing sound").write(part, (sound * min(1.0, 0.99 / loudest)).numpy(), rate, format="WAV")
    os.replace(part, out)


class _Film:
    """Pictures of x_t on the way, FRAMES at most, the samples last."""

    def __init__(self, dataset: DataSet, path: Path) -> None:
        from lamina.core import UserError
        from lamina.data.picture import pillow

        if path.suffix.lower() != ".gif":
            raise UserError(f"--trajectory {path}: it is written as .gif")
        _room(path, "--trajectory")
        pillow()
        self.path, self.shown = path, _shown(dataset)
        self.pictures: list[np.ndarray] = []

    def see(self, done: int, of: int, x: Tensor) -> None:
        from lamina.data.picture import grid

        most = min(FRAMES, of) - 1  # as many of the steps before the last, evenly
        if done < of and done * most // (of - 1) != (done - 1) * most // (of - 1):
            self.pictures.append(grid(self.shown(x), FILM))

    def write(self, made: Tensor) -> None:
        from lamina.data.picture import grid, write_gif

        write_gif(self.path, [*self.pictures, grid(self.shown(made), FILM)])
