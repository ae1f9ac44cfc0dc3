"""The report of a comparison of generators: the answer, samples beside real images, the measures, two ideas at work."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from lamina.compare import report
from lamina.compare.generate.flat import both
from lamina.compare.generate.score import COLUMNS
from lamina.compare.report_charts import families, padded
from lamina.compare.report_families import family
from lamina.compare.report_pieces import figure, listed, named, part
from lamina.compare.report_table import table
from lamina.compare.report_text import Scale, clean, esc, exact, sentences, short, three

__all__ = ["page", "write"]

Row = dict[str, Any]
SCRIPTS = (*report.SCRIPTS, "moving.js")


def write(results: dict[str, Any], out: Path, *, shared_js: bool = False) -> None:
    """Writes report.html and results.csv into the folder `out`, each whole or not at all."""
    results = clean(results)
    report.put(results, out, page, _csv(results["rows"]), shared_js=shared_js)


def page(results: dict[str, Any], library: str, *, shared_js: bool = False) -> str:
    """The page as HTML. library: the text of plotly.min.js."""
    rows = results["rows"]
    title, rest = sentences(results["verdict"])
    chart = _frechet(results)
    budget, env = results["budget"], results["env"]
    facts = [
        str(results["data"]["source"]).rstrip("."), f"{exact(budget['params'])} weights",
        f"{short(budget['seconds'])} s of learning", f"{budget['seeds']} seeds", str(env.get("cpu") or ""),
    ]  # fmt: skip
    lead = (f"<p>{esc(rest)}</p>" if rest else "") + f'<p class="facts">{esc(" · ".join(f for f in facts if f))}</p>'
    return report.fill(
        results, library, shared_js=shared_js, scripts=SCRIPTS, kicker=f"lamina compare generate · {results['name']}",
        title=title, lead=lead, first=_grids(results) + figure(chart, _about(results), key=False),
        table=_table(results), parts=_plane() + _trials(results) + _method(results) + _environment(results),
        data={"families": families(rows), "charts": [chart], "moving": both()},
    )  # fmt: skip


def _grids(results: dict[str, Any]) -> str:
    """Samples of each, as they come, beside real images."""
    shown = [(named(row), f"64 samples of {row['model']}", row["grid"]) for row in results["rows"]]
    shown.append(("real, held out", "64 real images of the test part", results["real"]))
    cells = "".join(
        f'<figure class="grid"><img src="{esc(source)}" alt="{esc(alt)}"><figcaption>{name}</figcaption></figure>'
        for name, alt, source in shown
    )
    return f'<div class="grids">{cells}</div><p class="small">The first 64 samples of seed 0, as they come.</p>'


def _frechet(results: dict[str, Any]) -> dict[str, Any]:
    """Frechet distance of each: the mean, and the least and the most of the seeds."""
    spans, every = [], []
    for row in reversed(results["rows"]):
        seeds = row["frechet_seeds"]
        marks = [row["frechet"], min(seeds), max(seeds)] if len(seeds) > 1 else [row["frechet"]]
        every += marks
        words = ", ".join(three(score) for score in seeds)
        name, look = row["model"], family(row["family"]).name
        spans.append({"name": name, "label": name, "family": look, "marks": marks, "hover": f"{name}: {words}"})
    return {
        "id": "frechet",
        "alt": "Frechet distance of each generator. The table on this page holds the same numbers.",
        "x": {
            "title": "Frechet distance on LeNet features (log scale)", "log": True, "kind": "plain",
            "range": padded(every, True, 0.06),
        },
        "y": {"names": [span["label"] for span in spans]},
        "spans": spans,
    }  # fmt: skip


def _about(results: dict[str, Any]) -> str:
    rings = (
        " The mark is the mean, the rings are the least and the most of the seeds."
        if results["budget"]["seeds"] > 1
        else ""
    )
    return (
        "Further left is better: the samples' features are spread more like those of real images that nobody has "
        f"learned from.{rings} The features are those of a LeNet that was trained on the same images; the distance is "
        "not comparable with one on other features."
    )


def _table(results: dict[str, Any]) -> str:
    headers = [
        ("Generator", False),
        *((title, True) for _, title, _ in COLUMNS),
        ("Weights", True),
        ("Learning, s", True),
    ]
    body = []
    for row in results["rows"]:
        cells: list[tuple[Any, str]] = [(row["model"], named(row))]
        for key, _, _ in COLUMNS:
            sd = None if key == "ms" else row[f"{key}_sd"]
            text = Scale(key, "").show(row[key], sd).replace("-", "\u2212")
            strong = key == "frechet" and row["model"] == results["best"]
            cells.append((row[key], f"<strong>{text}</strong>" if strong else text))
        body.append([*cells, (row["weights"], exact(row["weights"])), (row["seconds"], three(row["seconds"]))])
    return table("rows", "The generators, a row for each", headers, body)


def _plane() -> str:
    """Both ideas on one plane, with a slider."""
    panels = "".join(
        f'<figure class="plane"><svg id="plane-{key}" viewBox="-4 -4 8 8" role="img" aria-label="{esc(alt)}"></svg>'
        f'<figcaption><b>{title}</b> <span id="plane-{key}-at"></span><br>{esc(text)}</figcaption></figure>'
        for key, title, alt, text in (
            (
                "diffusion", "Noise taken away.", "Points on their way from noise to eight clusters",
                "Every point goes on, and none is ever scored: each step moves it a little towards where such points "
                "come from.",
            ),
            (
                "genetic", "A population, scored.", "A population that gathers in some of eight clusters",
                "Every candidate is scored at every generation. Crosses: the worse half, of whom few have children.",
            ),
        )
    )  # fmt: skip
    body = (
        '<p class="slide"><button type="button" id="play" class="plain">Play</button> <label>From beginning to end '
        '<input type="range" id="slide" min="0" max="24" value="8"></label></p>'
        f'<div class="pair">{panels}</div>'
        '<p class="small">The rings are the target: eight Gaussians. The denoiser here is not a trained one but the '
        "exact one, what a network is asked to learn. The population's fitness is the target's log density: it finds "
        "the rings and, since the best have most children, does not keep all of them.</p>"
    )
    return part("plane", "Two ideas on one plane", "denoising beside selection", body, opened=True)


def _trials(results: dict[str, Any]) -> str:
    headers = [
        ("Generator", False),
        ("Seed", True),
        *((title, True) for _, title, _ in COLUMNS),
        ("Said while learning", False),
    ]
    body = [
        [
            (t["maker"], esc(t["maker"])), (t["seed"], str(t["seed"])),
            *((t["scores"][key], three(t["scores"][key])) for key, _, _ in COLUMNS),
            (len(t["notes"]), esc("; ".join(t["notes"])) or "nothing"),
        ]
        for t in results["trials"]
    ]  # fmt: skip
    return part(
        "trials", "Every training", f"{len(body)} of them", table("trials-values", "Every training", headers, body)
    )


def _method(results: dict[str, Any]) -> str:
    n, budget = exact(results["samples"]), results["budget"]
    keys = [
        (row["model"], "; ".join([row["says"], *(f"{k}={v}" for k, v in row["keys"].items())]))
        for row in results["rows"]
    ]
    text = (
        f"Each is sized to {exact(budget['params'])} numbers that it keeps, but for the Gaussian, whose covariance "
        f"has as many as it has. Each that learns by steps got {short(budget['seconds'])} s at the pace of a warm-up. "
        f"{n} samples and {n} images of the test part, which nobody has learned from, are compared by the features of "
        "a LeNet trained on the training part: Frechet distance (means and covariances), precision and recall "
        "(Kynkäänniemi et al. 2019, k=3), coverage (Naeem et al. 2020, k=5). Parzen windows as in the 2014 paper, "
        f"their width chosen on the dev part. A sample's time is that of one among {results['timed_at']}. Two are "
        "told apart where all seeds of one are ahead of all seeds of the other."
    )
    return part(
        "method", "How it was measured", "", f"<p>{esc(text)}</p>{listed(keys)}<pre>{esc(results['command'])}</pre>"
    )


def _environment(results: dict[str, Any]) -> str:
    return part("environment", "Environment", "", listed(list(results["env"].items())))


def _csv(rows: list[Row]) -> str:
    text = io.StringIO()
    keys = ["model", *(f"{key}{tail}" for key, _, _ in COLUMNS for tail in ("", "_sd")), "weights", "steps", "seconds"]
    writer = csv.DictWriter(text, keys, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
