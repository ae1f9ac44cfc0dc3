"""The report of a comparison of recognisers: who hears best, every score with its spread, how it was measured."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from lamina import models
from lamina.compare import report
from lamina.compare.report_charts import families, padded
from lamina.compare.report_families import family
from lamina.compare.report_pieces import figure, listed, named, part
from lamina.compare.report_table import table
from lamina.compare.report_text import Scale, clean, esc, exact, short, three
from lamina.compare.speech.engine import PRETRAINED

__all__ = ["page", "verdict", "write"]

Row = dict[str, Any]
BETTER = ("accuracy",)  # scores of which more is better; the others are errors


def write(results: dict[str, Any], out: Path) -> None:
    """Writes report.html and results.csv into the folder `out`, each whole or not at all."""
    results = clean(results)
    report.put(results, out, page, _csv(results), shared_js=False)


def verdict(results: dict[str, Any]) -> str:
    """Who is best by the first score, and who cannot be told apart from it.

    Two are told apart where all seeds of one are ahead of all of the other; of one seed, where the intervals over the
    utterances do not meet.
    """
    rows = _ranked(results)
    if not rows:
        return "Every training diverged"
    column, (best, *others), alike = results["columns"][0], rows, _alike(results)
    said = f"{best['model']} hears best ({column} {_shown(best['scores'][column])} %)"
    if alike:
        listing = alike[0] if len(alike) == 1 else f"{', '.join(alike[:-1])} and {alike[-1]}"
        return f"{said}; {listing} cannot be told apart from it"
    behind = f"{others[0]['model']} is behind" if len(others) == 1 else "all others are behind"
    return f"{said}; {behind}" if others else said


def page(results: dict[str, Any], library: str, *, shared_js: bool = False) -> str:
    """The page as HTML. library: the text of plotly.min.js."""
    ranked = [row | {"family": _family(row["model"])} for row in _ranked(results)]
    lost = [row | {"family": _family(row["model"])} for row in results["rows"] if not row["scores"]]
    rows = ranked + lost
    env, seeds = results["env"], results["seeds"]
    facts = [
        str(results["data"]["source"]).rstrip("."), f"{exact(results['settings']['params'])} weights",
        f"{seeds} seeds" if seeds > 1 else "one seed", str(env.get("cpu") or ""),
    ]  # fmt: skip
    says = results["says"][:1].upper() + results["says"][1:]
    lead = f'<p>{esc(says)}.</p><p class="facts">{esc(" · ".join(f for f in facts if f))}</p>'
    chart = _chart(results, ranked) if ranked else None
    first = figure(chart, _about(results), key=False) if chart else '<p class="empty">No structure has a score.</p>'
    return report.fill(
        results, library, shared_js=shared_js, scripts=report.SCRIPTS, title=verdict(results), lead=lead, first=first,
        kicker=f"lamina compare speech · {results['name']}", table=_table(results, rows),
        parts=_seeds(results, rows) + _method(results) + part("environment", "Environment", "", listed([*env.items()])),
        data={"families": families(rows), "charts": [chart] if chart else []},
    )  # fmt: skip


def _ranked(results: dict[str, Any]) -> list[Row]:
    """The rows with scores, the best by the first of them in front."""
    done = [row for row in results["rows"] if row["scores"]]
    column = results["columns"][0] if done else ""
    return sorted(done, key=lambda row: row["scores"][column]["mean"], reverse=column in BETTER)


def _alike(results: dict[str, Any]) -> list[str]:
    """Those who cannot be told apart from the best."""
    rows = _ranked(results)
    column = results["columns"][0] if rows else ""
    sign = -1 if column in BETTER else 1
    spans = [sorted(sign * x for x in _span(row["scores"][column])) for row in rows]
    return [row["model"] for row, (least, _) in list(zip(rows, spans, strict=True))[1:] if least <= spans[0][1]]


def _span(score: dict[str, Any]) -> tuple[float, float]:
    """The least and the most of the seeds; of one seed the ends of its interval, where it has one."""
    seeds, (low, high) = score["seeds"], score["intervals"][0]
    return (min(seeds), max(seeds)) if len(seeds) > 1 or low is None else (low, high)


def _shown(score: dict[str, Any]) -> str:
    if score["sd"] is not None:
        return Scale("", "").show(score["mean"], score["sd"])
    low, high = score["intervals"][0]
    return three(score["mean"]) + ("" if low is None else f" ({three(low)} to {three(high)})")


def _family(model: str) -> str | None:
    """Of a structure, pretrained or not; none of a peer."""
    name = model.removesuffix(PRETRAINED)
    return models.find(name).family if name in models.MODELS else None


def _chart(results: dict[str, Any], rows: list[Row]) -> dict[str, Any]:
    """The first kind of score of each: characters wrong at every noise, or the accuracy."""
    kind = results["columns"][0].split(" ")[0]
    columns = [column for column in results["columns"] if column.split(" ")[0] == kind]
    spans, every = [], []
    for column in columns:
        for row in rows:
            score = row["scores"][column]
            marks = [score["mean"], *_span(score)]
            every += marks
            label = f"{row['model']}{column.removeprefix(kind)}"
            hover = f"{label}: {_shown(score)} %"
            spans.append({"name": label, "label": label, "family": family(row["family"]).name, "marks": marks,
                          "hover": hover})  # fmt: skip
    spans.reverse()
    log = min(every) > 0 and max(every) > 10 * min(every)
    return {
        "id": "scores",
        "alt": f"{kind} of each structure. The table on this page holds the same numbers.",
        "x": {
            "title": f"{kind}, %{' (log scale)' if log else ''}", "log": log, "kind": "plain",
            "range": padded(every, log, 0.06),
        },
        "y": {"names": [span["label"] for span in spans]},
        "spans": spans,
    }  # fmt: skip


def _about(results: dict[str, Any]) -> str:
    better = "right" if results["columns"][0] in BETTER else "left"
    several, one = "the least and the most of the seeds", "the 95 % interval over the utterances"
    rings = f"{several}, of one seed {one}" if results["seeds"] > 1 else f"{one}, where there is one"
    return f"Further {better} is better. The mark is the mean, the rings are {rings}."


def _table(results: dict[str, Any], rows: list[Row]) -> str:
    columns, ranked = results["columns"], _ranked(results)
    clear = len(ranked) > 1 and not _alike(results)
    body = []
    for row in rows:
        cells: list[tuple[Any, str]] = [(row["model"], named(row))]
        for column in columns:
            if not row["scores"]:
                cells.append((None, esc(row["status"])))
                continue
            text = esc(_shown(row["scores"][column]))
            strong = clear and column == columns[0] and row["model"] == ranked[0]["model"]
            cells.append((row["scores"][column]["mean"], f"<strong>{text}</strong>" if strong else text))
        trained = row["weights"] is not None
        cells.append((row["weights"], exact(row["weights"]) if trained else "as it comes"))
        cells.append((row["minutes"], three(row["minutes"]) if trained else "not trained"))
        body.append(cells)
    headers = [("Structure", False), *((f"{column}, %", True) for column in columns), ("Weights", True),
               ("Learning, min", True)]  # fmt: skip
    return table("rows", "The recognisers, a row for each", headers, body)


def _seeds(results: dict[str, Any], rows: list[Row]) -> str:
    """Every seed's scores, with the interval over its utterances."""
    body: list[list[tuple[Any, str]]] = []
    for row in rows:
        several = row["scores"][results["columns"][0]]["seeds"] if row["scores"] else []
        for seed in range(len(several)):
            cells: list[tuple[Any, str]] = [(row["model"], esc(row["model"])), (seed, str(seed))]
            for column in results["columns"]:
                score = row["scores"][column]
                one = {"sd": None, "mean": score["seeds"][seed], "intervals": [score["intervals"][seed]]}
                cells.append((one["mean"], esc(_shown(one))))
            body.append(cells)
    headers = [("Structure", False), ("Seed", True), *((f"{column}, %", True) for column in results["columns"])]
    return part("seeds", "Every seed", f"{len(body)} of them", table("seeds-values", "Every seed", headers, body))


def _method(results: dict[str, Any]) -> str:
    settings, n = results["settings"], results["seeds"]
    text = (
        f"Each structure is sized to {exact(settings['params'])} weights and learns for {exact(settings['steps'])} "
        f"updates of {settings['batch_size']} utterances at a learning rate of {short(settings['lr'])} at most. The "
        "test part is looked at once, after the last update. Errors are edits over the whole part; intervals are 95 % "
        "by bootstrap over its utterances. " + _first(settings) + "Two are told apart where all seeds of one are ahead "
        "of all seeds of the other; of one seed, where the intervals do not meet."
    )
    keys = [(model, " ".join(f"{k}={v}" for k, v in own.items()) or "as it is") for model, own in
            settings["models"].items()]  # fmt: skip
    command = f"lamina compare speech {results['name']} --seeds {n}"
    told = listed([("data", settings["data"]), *keys, *_machines(results)])
    return part("method", "How it was measured", "", f"<p>{esc(text)}</p>{told}<pre>{esc(command)}</pre>")


def _machines(results: dict[str, Any]) -> list[tuple[str, str]]:
    """Who learned where."""
    on: dict[str, list[str]] = {}
    for row in results["rows"]:
        if row.get("machine"):
            on.setdefault(row["machine"], []).append(row["model"])
    return [(f"learned on {machine}", "; ".join(rows)) for machine, rows in on.items()]


def _first(settings: dict[str, Any]) -> str:
    if not settings.get("unlabelled"):
        return ""
    return (
        f"Pretrained: the same structure first tells masked spans of {settings['unlabelled'].partition(':')[2]}, whose "
        f"texts are unread, for {exact(settings['first'])} updates; its minutes hold both. "
    )


def _csv(results: dict[str, Any]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["model", "status", *(f"{c}{t}" for c in results["columns"] for t in ("", "_sd")), "weights",
                     "minutes"])  # fmt: skip
    for row in results["rows"]:
        scores = [row["scores"].get(column, {}) for column in results["columns"]]
        values = [score.get(key) for score in scores for key in ("mean", "sd")]
        writer.writerow([row["model"], row["status"], *values, row["weights"], row["minutes"]])
    return text.getvalue()
