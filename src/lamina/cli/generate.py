"""lamina generate: a trained language model writes on from a prompt."""

from __future__ import annotations

import codecs
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
    run: Annotated[Path, typer.Argument(help="The folder that `lamina train` wrote: of text, or of your own .txt.")],
    prompt: Annotated[str, typer.Option(help="The text to write on from.")],
    tokens: Annotated[int, typer.Option(help="How many bytes to write.")] = 256,
    temperature: Annotated[float, typer.Option(help="0 takes the likeliest byte; 1 draws as the model says.")] = 0.8,
    top_p: Annotated[float, typer.Option(help="Draw from the likeliest bytes with this probability together.")] = 0.95,
    seed: Annotated[int, typer.Option(help="The same seed writes the same text.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the text and the figures as JSON.")] = False,
) -> None:
    """Write text from a prompt, as it comes, with a state whose size does not change.

    The prompt is read in one long step. Ctrl-C ends the text; figures stand on stderr at the end.

    lamina train mamba text --steps 2000, then

    lamina generate runs/train-mamba-text --prompt "def "

    lamina generate runs/train-mamba-text --prompt "class " --tokens 1000 --temperature 0.5 --seed 3
    """
    import torch

    from lamina.core import UserError, state
    from lamina.tasks import Writer
    from lamina.train import load_language_model

    if not prompt:
        raise UserError("--prompt is empty; give at least one character to write on from")
    if tokens < 1:
        raise UserError(f"--tokens {tokens}: it must be at least 1")
    task = load_language_model(run)
    read = torch.tensor(list(prompt.encode(errors="surrogateescape")))  # a byte of the shell's that is no UTF-8 stays
    Writer(task).read(read[:64])  # kernels load at their first call, which is not the prompt's time
    writer, began = Writer(task), perf_counter()
    writer.read(read)
    prefilled = perf_counter()
    coming = writer.write(tokens, temperature=temperature, top_p=top_p, seed=seed)
    written, text = 0, ""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")  # an unfinished character waits for its rest
    if not as_json:
        _say(decoder.decode(bytes(read.tolist())))
    with contextlib.suppress(KeyboardInterrupt):  # what is written by then is what was wanted
        for token in coming:
            piece = decoder.decode(bytes([token]))
            written, text = written + 1, text + piece
            if not as_json:
                _say(piece)
    last = decoder.decode(b"", final=True)
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
    told = f"{written:,} bytes in {seconds:.2f} s ({rate:,.0f} a second), prompt of {len(read):,} in {prefill:.1f} ms"
    print(f"{told}, state {figures['state_bytes']:,} bytes throughout", file=sys.stderr)


def _say(text: str) -> None:
    code = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(code, "replace").decode(code))
    sys.stdout.flush()
