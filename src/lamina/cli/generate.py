"""lamina generate: a trained language model writes on from a prompt."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from time import perf_counter
from typing import Annotated

import typer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    app.command("generate")(generate)


def generate(
    run: Annotated[
        Path,
        typer.Argument(help="A run of text or of your .txt; or others' folder, or org/name."),
    ],
    prompt: Annotated[str, typer.Option(help="The text to write on from.")],
    tokens: Annotated[int, typer.Option(help="Bytes to write, or sub-words of others' models.")] = 256,
    temperature: Annotated[float, typer.Option(help="0 takes the likeliest token; 1 draws as the model says.")] = 0.8,
    top_p: Annotated[float, typer.Option(help="Draw from the likeliest tokens with this probability together.")] = 0.95,
    seed: Annotated[int, typer.Option(help="The same seed writes the same text.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the text and the figures as JSON.")] = False,
) -> None:
    """Write text from a prompt, as it comes, with a state whose size does not change.

    The prompt is read in one long step. Ctrl-C ends the text; figures stand on stderr at the end.

    lamina train mamba text --steps 2000, then

    lamina generate runs/train-mamba-text --prompt "def "

    lamina generate runs/train-mamba-text --prompt "class " --tokens 1000 --temperature 0.5 --seed 3

    lamina generate path/to/gpt2 --prompt "Once upon a time" --tokens 50
    """
    import torch

    from lamina.core import UserError, state
    from lamina.tasks import Writer
    from lamina.train.writing import Writing

    if not prompt:
        raise UserError("--prompt is empty; give at least one character to write on from")
    if tokens < 1:
        raise UserError(f"--tokens {tokens}: it must be at least 1")
    writing = Writing.read(run)
    spelling, read = writing.spelling, torch.tensor(writing.spelling.tokens(prompt))
    if not len(read):
        raise UserError(f"--prompt {prompt!r}: its tokenizer makes no token of it; give other words")
    Writer(writing.model).read(read[:64])  # kernels load at their first call, which is not the prompt's time
    writer, began = Writer(writing.model), perf_counter()
    writer.read(read)
    prefilled = perf_counter()
    coming = writer.write(tokens, temperature=temperature, top_p=top_p, seed=seed)
    written, text = 0, ""
    shown = spelling.tell(read.tolist())
    if not as_json:
        _say(shown)
    with contextlib.suppress(KeyboardInterrupt):  # what is written by then is what was wanted
        for token in coming:
            if token == writing.end:
                break
            piece = spelling.tell([token])
            written, text = written + 1, text + piece
            if not as_json:
                _say(piece)
    last = spelling.rest()
    seconds = perf_counter() - prefilled
    figures = {
        "tokens": written,
        "seconds": round(seconds, 4),
        "tokens_per_second": round(written / seconds, 1),
        "prompt_tokens": len(read),
        "prompt_seconds": round(prefilled - began, 4),
        "state_bytes": state.nbytes(writer.state),
    }
    if as_json:
        print(json.dumps({"run": str(run), "prompt": prompt, "text": text + last, **figures}))
        return
    _say(f"{last}\n")
    rate, prefill = figures["tokens_per_second"], 1e3 * (prefilled - began)
    told = f"{written:,} {spelling.unit} in {seconds:.2f} s ({rate:,.0f} a second)"
    told += f", prompt of {len(read):,} in {prefill:.1f} ms"
    print(f"{told}, state {figures['state_bytes']:,} bytes throughout", file=sys.stderr)


def _say(text: str) -> None:
    code = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(code, "replace").decode(code))
    sys.stdout.flush()
