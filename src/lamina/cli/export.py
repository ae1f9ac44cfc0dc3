"""lamina export: a trained run, or a model that was loaded, in the layout of others."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["register"]

LAYOUTS = ("hf", "bundle")


def register(app: typer.Typer) -> None:
    app.command("export")(export)


def export(
    model: Annotated[
        Path,
        typer.Argument(help="The folder of a run, or a Hugging Face model that lamina reads: a folder, or org/name."),
    ],
    out: Annotated[Path, typer.Argument(help="The folder to write; new, or empty.")],
    to: Annotated[
        str,
        typer.Option(
            help="hf: as transformers reads it. bundle: of speech with text, small, for transcribe, stream and serve."
        ),
    ] = "hf",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Write a trained model as a Hugging Face folder, or a recogniser as a small bundle.

    A run becomes a model of frames (transformer and retnet with mixer=causal_attention, mamba, bert), with its output
    layer in head.safetensors; wav2vec2 becomes Wav2Vec2ForCTC or Wav2Vec2ForPreTraining. A Hugging Face folder is read
    and written again, its tokenizer with it.

    lamina train mamba text --steps 2000, then

    lamina export runs/train-mamba-text exported --to hf

    A bundle is what lamina transcribe, stream and serve need of a run of speech, its weights in float16.

    lamina export runs/train-attention_lstm-espeak_strings digits --to bundle
    """
    from lamina.core import UserError
    from lamina.core.config import nearest

    if to not in LAYOUTS:
        raise nearest(to, LAYOUTS, "--to")
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise UserError(f"{out}: is there already and not empty; give a new folder")
    part = out.with_name(f"{out.name}.part")
    if part.exists():
        shutil.rmtree(part)
    try:
        _written(model, part, to)
        if out.is_dir():
            out.rmdir()
        os.replace(part, out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    kind = to if to == "bundle" else json.loads((out / "config.json").read_text()).get("model_type", "checkpoint")
    files = sorted(path.name for path in out.iterdir())
    if as_json:
        typer.echo(json.dumps({"model": str(model), "out": str(out), "to": to, "model_type": kind, "files": files}))
    else:
        typer.echo(f"{model}: a {kind} in {out} ({', '.join(files)})")


def _written(model: Path, out: Path, to: str) -> None:
    """Writes the folder, in a place where nobody looks for it yet."""
    from lamina import interop
    from lamina.core import UserError
    from lamina.speech import Recogniser
    from lamina.train import load_language_model, load_run
    from lamina.train.checkpoint import read_json

    if to == "bundle":
        Recogniser.of_run(model).save(out)
        return
    if (model / "run.json").is_file():
        facts = read_json(model / "run.json")
        if facts.get("order", {}).get("model") == "wav2vec2":
            run = load_run(model)
            contrast = getattr(run.task, "contrast", None)
            interop.export_heard(
                run.task.backbone, run.task.head, contrast, out, rate=run.dataset.rate, labels=run.dataset.labels
            )
            return
        told = facts.get("data", {}).get("task")
        task = load_language_model(model) if told == "lm" else load_run(model).task  # a text need not be there
        try:
            interop.export_parts(task.stem, task.backbone, task.head, out)
        except UserError as error:
            raise UserError(f"{model}: {error}") from None
        return
    model = interop.local(model)
    network = interop.load(model)
    if not isinstance(network, interop.Pretrained):
        raise UserError(f"{model}: lamina.save wrote it, without what tells its tokens; give the folder of a run")
    if model.is_file():
        raise UserError(
            f"{model}: a state dict has no Hugging Face folder; lamina.interop.export writes it as one file"
        )
    interop.export(network, out)
    for name in (*interop.TOKENIZER, "generation_config.json"):
        if (model / name).is_file():
            shutil.copyfile(model / name, out / name)
