"""lamina pretrain: a structure on speech without its text, into a run folder that lamina train --from goes on with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["register"]

NOTHING_TOLD = 0.5  # chance of telling a frame from the others, from which on few others are left


def register(app: typer.Typer) -> None:
    app.command("pretrain")(pretrain)


def pretrain(
    model: Annotated[str, typer.Argument(help="wav2vec2, or any structure that hears frames, such as conformer.")],
    data: Annotated[
        list[str],
        typer.Argument(
            help=(
                "Speech, several sources together; texts are left unread. Folders with sounds or Kaldi's tables, "
                "manifests FILE.jsonl with an audio a line, hub:ORG/NAME, librispeech_unlabelled, or sets that train "
                "knows: espeak_strings, espeak_commands, digit_strings, speechocean762, speech:FOLDER. Where a source "
                "has no parts, a tenth of its sounds, or of its speakers, is held out for dev and a tenth for test."
            )
        ),
    ],
    steps: Annotated[int, typer.Option(help="Updates of the weights.")] = 5000,
    lr: Annotated[float, typer.Option(help="Highest learning rate; warm-up before it, a cosine behind it.")] = 1e-3,
    seed: Annotated[int, typer.Option(help="First weights, order of the data, masks, codes.")] = 0,
    batch_size: Annotated[int, typer.Option(help="Sounds an update, of all processes together.")] = 16,
    seconds: Annotated[float, typer.Option(help="Longer sounds are cut into pieces of at most so many.")] = 8.0,
    key: Annotated[
        list[str] | None,
        typer.Option("--set", help="A key of the model, or of pretraining: d_model=128, n_codes=64. Repeat."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder; default runs/pretrain-MODEL-DATA.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Pretrain on speech without its text.

    Spans of each sound are masked, and the code of what stood there is told from those of other frames. wav2vec2 hears
    samples, other structures the frames of 40 ms that lamina train gives them. The run folder is one of lamina train's;
    the same command goes on with a run that was interrupted.

    lamina pretrain wav2vec2 my/recordings

    lamina pretrain attention_lstm my/recordings --set left=64

    lamina pretrain wav2vec2 librispeech_unlabelled speechocean762 --steps 20000 --set d_model=256

    then lamina train wav2vec2 speechocean762 --from runs/pretrain-wav2vec2-librispeech_unlabelled+speechocean762
    """
    from lamina import data as sets
    from lamina import models
    from lamina.cli.train import keys_of, progress
    from lamina.core import UserError
    from lamina.train import Order, train_run

    row = models.find(model)
    if row.view not in ("waveform", "sequence"):
        raise UserError(f"{row.name}: hears no sounds; pretrain wav2vec2, or a structure of frames such as conformer")
    for one in data:
        if "+" in (str(Path(one).resolve()) if Path(one).exists() else one):
            raise UserError(f"{one}: + joins the sources; give them one by one, and call no path or option by it")
    kind = "unlabelled" if row.view == "waveform" else "unlabelled_frames"
    name = f"{kind}:{'+'.join(data)},seconds={seconds:g}"
    dataset = sets.load(name)
    order = Order(row.name, keys_of(key or []), sets.where(name), steps, lr, seed, batch_size)
    folder = out or Path("runs") / f"pretrain-{row.name}-{'+'.join(Path(one).stem for one in data)}"
    with progress(steps, as_json) as (tell, note):
        on_step = tell and (lambda step, loss: tell(step, f"loss {loss:.4f}"))
        facts = train_run(order, dataset, folder, on_step=on_step, on_note=note)
    if int(os.environ.get("RANK", "0")) == 0:
        typer.echo(_said(facts, row.name, folder, as_json))
        if facts["status"] == "diverged":
            raise typer.Exit(1)


def _said(facts: dict[str, Any], name: str, folder: Path, as_json: bool) -> str:
    """What the run came to, for people or as JSON."""
    import json

    result = facts["result"]
    if as_json:
        return json.dumps({"run": str(folder), "status": facts["status"], "model": name, **result})
    if facts["status"] == "diverged":
        return (
            f"{name}: the loss was NaN or inf at step {result['steps']}; the weights before it are kept in {folder}; "
            "try a lower --lr"
        )
    told = result["further"]
    lines = [
        f"{name}: {100 * result['dev']:.1f} % of the masked frames of dev are told from the others "
        f"(chance {100 * told['chance']:.3g} %; {100 * told['code_share']:.3g} % of the codes in use), "
        f"{result['params']:,} weights, {result['seconds']:.1f} s, in {folder}"
    ]
    if told["chance"] > NOTHING_TOLD:
        lines.append("others of the same code are left out, and few are left: nothing is told apart; "
                     "try --set diversity=1 or a lower --lr")  # fmt: skip
    return "\n".join([*lines, f"next: lamina eval {folder}; lamina train {name} DATA --from {folder}"])
