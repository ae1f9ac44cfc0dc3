"""Which structures take part: those named, or those that can take the data, each with its size or its reason."""

from __future__ import annotations

import torch

from lamina import models
from lamina.compare.budget import solve
from lamina.compare.plan import Entry, Settings
from lamina.compare.structure import structure
from lamina.compare.studies import STUDIES, Study
from lamina.data import CannotTake, DataSet

__all__ = ["MOST", "entries", "entry"]

MOST = 8  # structures by default


def entries(settings: Settings, dataset: DataSet) -> tuple[tuple[Entry, ...], tuple[str, ...]]:
    """The structures' parts of the plan in the order of MODELS, and the names that only --all would add.

    Those that cannot take the data, or whose widths all miss the budget, are there with their reason; who translates
    only where there are pairs, and nobody else there; who makes images, nowhere. Where more than eight could run, the
    families take turns, so that every idea is shown before a second of its kind.
    """
    asked = settings.models or (_study(settings).models() if settings.study and not settings.all else ())
    if asked:
        names = list(dict.fromkeys(structure(name).name for name in asked))
        return tuple(entry(name, settings, dataset) for name in names), ()
    pairs = dataset.kind == "pairs"
    takers = {name for name, row in models.MODELS.items() if (row.view == "pairs") == pairs and row.task is None}
    every = [name for name in _distinct(list(models.MODELS)) if name in takers]
    known = [name for name in every if settings.all or models.MODELS[name].kind == "model"]
    others = [name for name in every if name not in known]
    found = {name: entry(name, settings, dataset) for name in _by_year(known)}
    if settings.all:
        return tuple(found.values()), ()
    ready = [name for name, e in found.items() if e.ready]
    kept = _turns(ready)[:MOST]
    shown = tuple(e for name, e in found.items() if not e.ready or name in kept)
    return shown, tuple([name for name in ready if name not in kept] + others)


def entry(name: str, settings: Settings, dataset: DataSet) -> Entry:
    """One structure's part of the plan."""
    found = structure(name)
    if found.model.task is not None:
        return Entry(name, "cannot take the data", f"makes {dataset.kind}s; it does not answer")
    fixed = _study(settings).keys.get(found.model.name, {}) if settings.study else {}
    try:
        solved = solve(found.model.name, dataset, settings.params, {**fixed, **found.keys}, found.taps)
    except CannotTake as error:
        return Entry(name, "cannot take the data", error.reason)
    if not solved.feasible:
        return Entry(name, "infeasible", solved.reason(settings.params), solved.keys, params=solved.params)
    with torch.device("meta"):
        task = found.build(solved.keys, dataset)
    config = task.backbone.config.model_dump(mode="json")  # type: ignore[union-attr, operator]
    view = f"{task.view.text}, {found.where}" if found.where else task.view.text
    return Entry(name, "ready", None, solved.keys, config, solved.params, view)


def _study(settings: Settings) -> Study:
    return STUDIES[settings.study.partition(":")[0]]


def _distinct(names: list[str]) -> list[str]:
    """One name a network: the stack around window attention is the transformer, which is the name that stays."""
    kept: dict[object, str] = {}
    for name in sorted(names, key=lambda name: models.MODELS[name].kind != "model"):
        row = models.MODELS[name]
        kept.setdefault((row.build, row.config_of({})), name)
    return [name for name in names if name in kept.values()]


def _by_year(names: list[str]) -> list[str]:
    return sorted(names, key=lambda name: (models.MODELS[name].year, name))


def _turns(names: list[str]) -> list[str]:
    """The first of every family, then the second of every family, and so on."""
    seen: dict[str, int] = {}
    turn: dict[str, int] = {}
    for name in names:
        family = models.MODELS[name].family
        turn[name] = seen[family] = seen.get(family, -1) + 1
    return sorted(names, key=lambda name: turn[name])
