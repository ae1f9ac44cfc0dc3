"""lamina classify: the label of a text, or of every text of a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    app.command("classify")(classify)


def classify(
    run: Annotated[Path, typer.Argument(help="A run on texts with labels, or a BERT folder with its tokenizer.json.")],
    text: Annotated[str, typer.Argument(help="A text; or a file of texts: a line each, or a .tsv, .csv, .jsonl.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print labels and probabilities as JSON.")] = False,
) -> None:
    """Tell the label of a text, with its probability.

    lamina train bert reviews.tsv, then

    lamina classify runs/train-bert-reviews "a stirring, funny film"

    lamina classify runs/train-bert-reviews others.txt --json
    """
    from lamina.core import UserError
    from lamina.data.labelled import read_texts
    from lamina.train import Classifier

    if not text.strip():
        raise UserError("the text is empty; give some words, or a file of texts")
    single = not _is_file(text)
    texts = [text] if single else read_texts(Path(text))
    found = Classifier.read(run).classify(texts)
    if as_json:
        rows = [{"text": t, "label": next(iter(p)), "probabilities": p} for t, p in zip(texts, found, strict=True)]
        typer.echo(json.dumps({"run": str(run), "texts": rows}))
        return
    for one, p in zip(texts, found, strict=True):
        if single:
            for label, share in p.items():
                typer.echo(f"{100 * share:6.2f} %  {label}")
        else:
            label, share = next(iter(p.items()))
            typer.echo(f"{label}\t{100 * share:.2f} %\t{one}")


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except OSError:  # a text that is too long to be a name
        return False
