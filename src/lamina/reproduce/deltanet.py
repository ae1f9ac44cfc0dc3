"""DeltaNet: recall where sums of outer products saturate, and a chunk form that trains fast (Yang et al. 2024)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lamina import data, ops
from lamina.bench.timing import interleaved
from lamina.reproduce.claim import Claim, Figure, Plan, Tell, Tier, digits3
from lamina.reproduce.learn import learn
from lamina.reproduce.picture import Axis, Chart, Line, draw, ink
from lamina.train import Order

__all__ = ["CLAIM", "forms"]

TAPS = 4  # of the short convolution
WORDS = {"deltanet": "DeltaNet", "retnet": "retention", "linear_attention": "linear attention"}


def plan(tier: Tier) -> Plan:
    full = tier == "full"
    frames, pairs, models = 64, [4, 8, 16], ["deltanet", "retnet"]
    if full:
        frames, pairs, models = 128, [4, 8, 16, 32], ["deltanet", "retnet", "linear_attention"]
    settings: dict[str, Any] = {
        "data": f"mqar:pairs={'+'.join(map(str, pairs))},length={frames},vocab={2 * frames}",
        "models": models,
        "train": {
            "keys": {"d_model": 32, "n_layers": 2, "n_heads": 1},
            "steps": 3000 if full else 1500,
            "batch_size": 64 if full else 32,
            "rates": [3e-3, 1e-2] if full else [1e-2],
        },
        "op": {"shape": [4, 512, 4, 64], "rounds": 10 if full else 4},
    }
    most = f"of {pairs[-1]} pairs"
    figures = [
        Figure("deltanet+conv", f"DeltaNet, right answers {most}", "%", "100 % (p)", least=97.0),
        Figure("retnet+conv", f"retention, right answers {most}", "%", most=60.0),
        Figure("chunk", "token loop / chunk form, forward and backward", "x", least=10.0),
        Figure("numba", "token loop / the compiled kernel", "x"),
    ]
    figures += [
        Figure(f"{m}{conv}", f"{WORDS[m]} {'with' if conv else 'without'} the short convolution", "%")
        for m in models
        for conv in ("", "+conv")
        if conv == "" or m == "linear_attention"
    ]
    note = (
        f"MQAR in {frames} frames: {', '.join(map(str, pairs[:-1]))} and {pairs[-1]} pairs trained on together, each "
        f"number tested alone. Two blocks of width 32 with one head, so that a state is a matrix of 32 x 32 a block. "
        f"The rule is on {pairs[-1]} pairs, with a short convolution of {TAPS} over q, k and v in both; the table "
        f"has each without it too. Each network learns at "
        f"{'the better of two rates' if full else 'one rate'}, {settings['train']['steps']:,} steps. The loop over "
        "tokens and the chunk form run the same delta rule: 4 sequences, 512 frames, 4 heads of 64, one thread."
    )
    if not full:
        note += " The full tier has 32 pairs in 128 frames, as many as a key has numbers, and linear attention."
    return Plan((0, 1, 2) if full else (0,), settings, tuple(figures), note)


def trial(settings: dict[str, Any], seed: int, folder: Path, tell: Tell) -> dict[str, Any]:
    """One seed: every network with and without the short convolution, then the forms of the delta rule in turn."""
    dataset, how = data.load(settings["data"]), settings["train"]
    recall: dict[str, dict[str, float | None]] = {}
    learned = {}
    for model in settings["models"]:
        for taps in (TAPS, 0):
            name = f"{model}+conv" if taps else model
            order = Order(
                model,
                {**how["keys"], "short_conv": taps},
                settings["data"],
                steps=how["steps"],
                seed=seed,
                batch_size=how["batch_size"],
            )
            found = learn(order, how["rates"], dataset, folder / name, tell)
            recall[name] = {str(pairs): found.score(part, 100) for pairs, part in dataset.probes.items()}
            learned[name] = found.facts()
    tell("the delta rule's forms", 0, 1)
    ms = forms(**settings["op"], seed=seed)
    most = str(max(dataset.probes))
    return {
        "figures": {
            **{name: right[most] for name, right in recall.items()},
            "chunk": None if ms is None else ms["ref"] / ms["chunk"],
            "numba": None if ms is None else ms["ref"] / ms["numba"],
        },
        "recall": recall,
        "ms": ms,
        "learned": learned,
        "data": dataset.describe(),
    }


def forms(shape: list[int], rounds: int, seed: int = 0) -> dict[str, float] | None:
    """Milliseconds of the delta rule forward and backward, [B,T,H,K], by each form; None where two of them disagree."""
    generator = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(shape, generator=generator) for _ in range(3))
    q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
    beta = torch.rand(shape[:3], generator=generator)
    inputs = [x.requires_grad_() for x in (q, k, v, beta)]
    weights = torch.randn(shape, generator=generator)

    def run(impl: str) -> Callable[[], tuple[Tensor, ...]]:
        return lambda: torch.autograd.grad((weights * ops.delta_rule(*inputs, impl=impl)[0]).sum(), inputs)

    calls = {impl: run(impl) for impl in ("chunk", "numba", "ref")}
    truth = torch.cat([x.flatten() for x in calls["ref"]()])
    for impl in ("chunk", "numba"):
        off = (torch.cat([x.flatten() for x in calls[impl]()]) - truth).abs().max()
        if not off <= 1e-4 * truth.abs().max():
            return None
    times = interleaved(calls, rounds, warmup=1)
    return {impl: time.median / 1000 for impl, time in times.items()}


def picture(record: dict[str, Any], trials: list[dict[str, Any]]) -> str:
    found = {f["key"]: f for f in record["figures"]}
    pairs = [int(n) for n in trials[0]["recall"]["deltanet"]]
    ours, theirs = (digits3(found[key]["ours"], "%") for key in ("deltanet+conv", "retnet+conv"))
    answer = f"Of {pairs[-1]} pairs in one state DeltaNet recalls {ours}, retention {theirs}"
    charts = []
    for conv, words in (("+conv", "with a short convolution"), ("", "without it")):
        lines = []
        for model in record["settings"]["models"]:
            whole = [row for t in trials if None not in (row := [t["recall"][model + conv][str(n)] for n in pairs])]
            mean = [sum(column) / len(whole) for column in zip(*whole, strict=True)]
            # one family, one colour: the corrected memory is solid, sums are dashed
            colour, dash = ink("retention and delta"), model != "deltanet"
            lines.append(Line(pairs[: len(mean)], mean, colour, WORDS[model], dash=dash, marks=True))
        charts.append(
            Chart(
                lines,
                Axis("pairs to recall (log)", log=True, ticks=tuple(pairs)),
                Axis(f"{words}: right answers, %", low=0, high=100),
                rules=((97.0, "accepted ≥ 97 %"), (60.0, "accepted ≤ 60 %")) if conv else (),
                height=240,
            )
        )
    note = (
        f"{'One seed' if len(trials) == 1 else f'Mean of {len(trials)} seeds'}; by chance "
        f"{digits3(200 / record['data']['classes'], '%')} would be right. At 512 frames the chunk form is "
        f"{digits3(found['chunk']['ours'])} times as fast as the loop over tokens, the compiled kernel "
        f"{digits3(found['numba']['ours'])} times, forward and backward."
    )
    return draw(answer, note, charts)


CLAIM = Claim(
    name="deltanet",
    structure="deltanet",
    source="Yang et al. 2024, arXiv:2406.06484; Schlag et al. 2021, arXiv:2102.11174",
    says="A memory that corrects what a key held recalls where sums saturate, and still trains in parallel.",
    paper="MQAR solved where retention and linear attention saturate; the chunk form makes training parallel (p)",
    plan=plan,
    trial=trial,
    picture=picture,
)
