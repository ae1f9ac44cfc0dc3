"""lamina translate: sentences from one language into another, by what was trained on pairs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from time import perf_counter
from typing import Annotated

import typer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    app.command("translate")(translate)


def translate(
    run: Annotated[Path, typer.Argument(help="A run on pairs of texts; or a folder of MarianMT, or org/name.")],
    text: Annotated[str, typer.Argument(help="A sentence, or FILE.txt with one a line.")],
    beams: Annotated[int, typer.Option(help="Targets that are followed at once; 1 takes the likeliest word.")] = 4,
    length_penalty: Annotated[float, typer.Option(help="Above 0 favours longer targets.")] = 0.6,
    reference: Annotated[Path | None, typer.Option(help="A file of right answers, a line each: prints BLEU.")] = None,
    attention: Annotated[Path | None, typer.Option(help="Write FILE.svg: where each word looked.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print translations and figures as JSON.")] = False,
) -> None:
    """Translate a sentence, or a file line by line.

    lamina train transformer_seq2seq pairs:my.tsv --steps 5000         (a source, a tab and its target a line), then

    lamina translate runs/train-transformer_seq2seq-my "A man sleeps." --attention map.svg

    lamina translate runs/train-transformer_seq2seq-my test.en.txt --reference test.de.txt > test.out.txt
    """
    from lamina.core import UserError
    from lamina.data.lines import read_text
    from lamina.tasks.bleu import bleu
    from lamina.train.translator import Translator

    path = Path(text)
    file = path.suffix == ".txt"
    texts = read_text(path, "a sentence, or a .txt with one a line").splitlines() if file else [text]
    if not any(line.strip() for line in texts):
        raise UserError(f"{path if file else 'the text'}: empty; give a sentence")
    if attention is not None and (file or attention.suffix != ".svg"):
        raise UserError(f"--attention {attention}: it draws one sentence into a FILE.svg")
    references = None if reference is None else read_text(reference, "a .txt with a line each").splitlines()
    if references is not None and len(references) != len(texts):
        raise UserError(f"{reference}: {len(references)} lines for {len(texts)} sentences; give one for each")
    translator = Translator.read(run)
    began = perf_counter()
    found = translator.translate(texts, beams=beams, length_penalty=length_penalty)
    seconds = perf_counter() - began
    score = None if references is None else bleu(found, references)
    if attention is not None:
        _draw(translator, texts[0], found[0], attention)
    if as_json:
        more = {} if score is None else {"bleu": score}
        print(json.dumps({"run": str(run), "translations": found, "seconds": round(seconds, 3), **more}))
        return
    for line in found:
        print(line)
    if score is not None:
        print(f"BLEU {score:.2f}, {len(texts):,} sentences in {seconds:.1f} s", file=sys.stderr)


def _draw(translator: object, text: str, target: str, path: Path) -> None:
    from lamina.core import UserError
    from lamina.models.io import write_text
    from lamina.reproduce.picture import draw, ink
    from lamina.reproduce.word_map import WordMap
    from lamina.train.translator import Translator

    assert isinstance(translator, Translator)
    source, words, maps = translator.align(text, target)
    parts = []
    for i, weights in enumerate(maps.values(), 1):
        heads = f", mean of {len(weights)} heads" if len(weights) > 1 else ""
        title = f"layer {i}{heads}" if len(maps) > 1 else f"rows: the words told; columns: the source{heads}"
        parts.append(WordMap(source, words, weights.mean(0).tolist(), title, ink("attention")))
    if not path.parent.is_dir():
        raise UserError(f"{path.parent}: no such folder; make it first")
    write_text(path, draw("Where each word looked in the source", f"{text} → {target}", parts))
