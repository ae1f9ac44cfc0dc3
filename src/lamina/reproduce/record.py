"""Records: one JSON file a seed, one a claim and tier, and the last verdicts."""

from __future__ import annotations

import ast
import hashlib
import json
import os
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import lamina
from lamina.core.config import SCHEMA, UserError, check_schema
from lamina.reproduce.claim import Claim, Plan, Tier
from lamina.train import checkpoint

__all__ = ["code_digest", "experiment_digest", "fallen", "keep", "read_verdicts", "record", "write"]

GROUNDS = ("ops", "core", "layers", "models", "data", "tasks", "train")  # the packages that a result depends on
HERE, SHARED = "lamina.reproduce.", ("learn", "translation", "samples", "fitted")  # what experiments may share
VERDICTS = ("PASS", "MEASURED", "FAIL")  # the better first
WORDS = ("plan", "picture", "joint")  # the functions of a claim that measure nothing


def record(claim: Claim, tier: Tier, plan: Plan, trials: list[dict[str, Any]]) -> dict[str, Any]:
    """A claim's record from the records of its seeds. PASS when every figure with a rule keeps it for every seed; FAIL
    else, but a claim with parts is MEASURED where each part with figures has its verdict and one is false.
    """
    joint = claim.joint(trials) if claim.joint else {}
    figures = [
        figure.judge([joint[figure.key]] if figure.key in joint else [t["figures"].get(figure.key) for t in trials])
        for figure in plan.figures
    ]
    ruled = [f["met"] for f in figures if f["met"] is not None]
    by_key = {f["key"]: f for f in figures}
    parts = [part.judge(by_key) for part in plan.parts]
    due = [found["verdict"] for part, found in zip(plan.parts, parts, strict=True) if part.figures]
    verdict = "PASS" if ruled and all(ruled) else "FAIL"
    if "false" in due and "not measured" not in due:
        verdict = "MEASURED"
    head = figures[0]
    return {
        "schema": SCHEMA,
        "lamina": lamina.__version__,
        "claim": claim.name,
        "tier": tier,
        "structure": claim.structure,
        "source": claim.source,
        "says": claim.says,
        "paper": claim.paper,
        "measure": head["name"],
        "ours": head["ours"],
        "spread": head["spread"],
        "unit": head["unit"],
        "seeds": list(plan.seeds),
        "minutes": round(sum(t["minutes"] for t in trials), 2),
        "verdict": verdict,
        "figures": figures,
        **({"parts": parts} if parts else {}),
        "note": plan.note,
        "settings": plan.settings,
        "data": trials[0].get("data"),
        "env": trials[0]["env"],
        "code": sorted({t["code"] for t in trials}),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "trials": [f"{tier}-seed{seed}.json" for seed in plan.seeds],
    }


@cache
def code_digest(claim: Claim) -> str:
    """A hash of all source that a claim's numbers can depend on."""
    root = Path(lamina.__file__).parent
    files = [path for name in GROUNDS for path in sorted((root / name).rglob("*.py"))]
    return _digest(*(path.read_text() for path in files), experiment_digest(claim))


@cache
def experiment_digest(claim: Claim) -> str:
    """A hash of the experiment's own source: what `trial` can call, without the plan, the picture and the words."""
    tree = ast.parse(Path(claim.trial.__code__.co_filename).read_text())
    code = [n for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef) and n.name not in WORDS]
    imported = {n.module.removeprefix(HERE) for n in tree.body if isinstance(n, ast.ImportFrom) and n.module}
    shared = ["net", *(name for name in SHARED if name in imported)]  # net counts for all, as it did from the start
    return _digest(*map(ast.unparse, code), *(Path(__file__).with_name(f"{name}.py").read_text() for name in shared))


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def write(path: Path, facts: dict[str, Any]) -> None:
    """A JSON object, one key a line, under a temporary name first."""
    rows = [f" {json.dumps(key)}: {json.dumps(_short(value), allow_nan=False)}" for key, value in facts.items()]
    write_text(path, "{\n" + ",\n".join(rows) + "\n}\n")


def write_text(path: Path, text: str) -> None:
    """A text file, whole or not at all."""
    part = path.with_name(f"{path.name}.part")
    with checkpoint.said_plainly(path, part):
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)


def read_verdicts(path: Path) -> dict[str, dict[str, Any]]:
    """claim -> tier -> {"verdict", "ours", ...} of a file that `keep` wrote."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; make it with `lamina reproduce --all --keep {path}`")
    found = checkpoint.read_json(path)
    check_schema(found.get("schema"), str(path))
    verdicts = found.get("verdicts")
    if not isinstance(verdicts, dict) or not all(isinstance(v, dict) for v in verdicts.values()):
        raise UserError(f"{path}: holds no verdicts; make it again with `lamina reproduce --all --keep {path}`")
    return verdicts


def fallen(records: list[dict[str, Any]], verdicts: dict[str, dict[str, Any]]) -> list[str]:
    """The claims whose verdict at that tier is worse than before, and those of which a part was true and is not now."""
    return [r["claim"] for r in records if _fell(r, verdicts.get(r["claim"], {}).get(r["tier"], {}))]


def _fell(now: dict[str, Any], before: dict[str, Any]) -> bool:
    said = before.get("parts", {})
    lost = any(said.get(part["name"]) == "true" and part["verdict"] != "true" for part in now.get("parts", []))
    return lost or VERDICTS.index(now["verdict"]) > VERDICTS.index(before.get("verdict", "FAIL"))


def keep(records: list[dict[str, Any]], path: Path) -> None:
    """Writes these verdicts over the older ones of the same claim and tier; the others stay."""
    verdicts = read_verdicts(path) if path.exists() else {}
    for r in records:
        row = {
            key: _short(r[key])
            for key in ("verdict", "measure", "ours", "spread", "unit", "seeds", "minutes", "created")
        }
        if "parts" in r:
            row["parts"] = {part["name"]: part["verdict"] for part in r["parts"]}
        verdicts.setdefault(r["claim"], {})[r["tier"]] = row
    ordered = {name: dict(sorted(verdicts[name].items())) for name in sorted(verdicts)}
    write_text(path, json.dumps({"schema": SCHEMA, "verdicts": ordered}, indent=1, allow_nan=False) + "\n")


def _short(value: Any) -> Any:
    """Numbers to six significant digits: records are committed and read by people."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _short(v) for key, v in value.items()}
    return [_short(v) for v in value] if isinstance(value, list | tuple) else value
