"""lamina fill: what a masked language model reads where a word is hidden."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    app.command("fill")(fill)


def fill(
    run: Annotated[Path, typer.Argument(help="A run of mlm, or a BERT folder with its tokenizer.json.")],
    text: Annotated[str, typer.Argument(help="A text with [MASK] in place of a word, or of several.")],
    top: Annotated[int, typer.Option(help="How many words to show.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print the words as JSON.")] = False,
) -> None:
    """Tell the word behind [MASK], from what stands on both its sides.

    lamina train bert mlm --steps 3000, then

    lamina fill runs/train-bert-mlm "Return the [MASK] of the list."

    lamina fill path/to/bert-base-uncased "The cat [MASK] on the [MASK]." --top 3 --json
    """
    from lamina.core import UserError
    from lamina.train import Filler

    if top < 1:
        raise UserError(f"--top {top}: it must be at least 1")
    found = Filler.read(run).fill(text, top)
    if as_json:
        masks = [[{"word": word, "probability": p} for word, p in words] for words in found]
        typer.echo(json.dumps({"run": str(run), "text": text, "masks": masks}))
        return
    for number, words in enumerate(found, 1):
        if len(found) > 1:
            typer.echo(f"[MASK] {number}")
        width = max(len(word) for word, _ in words)
        for word, p in words:
            typer.echo(f"{100 * p:6.2f} %  {word:<{width}}".rstrip())
