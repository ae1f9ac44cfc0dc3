"""The report of a comparison: one self-contained HTML page whose title is the answer, and the rows as CSV."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import os
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from lamina.compare.report_charts import families
from lamina.compare.report_csv import csv_text
from lamina.compare.report_parts import details, first
from lamina.compare.report_rows import order, probed
from lamina.compare.report_table import comparison
from lamina.compare.report_text import clean, embed, esc, exact, scale_of, sentences, short
from lamina.core.config import UserError

__all__ = ["SCRIPTS", "fill", "page", "put", "write"]

POLICY = "style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
SCRIPTS = ("labels.js", "charts.js", "page.js")
Page = Callable[..., str]


def write(results: dict[str, Any], out: Path, *, shared_js: bool = False) -> None:
    """Writes report.html and results.csv into the folder `out`, each whole or not at all.

    results: what results.json holds; NaN and infinity count as missing. shared_js: the page reads plotly.min.js from
    beside it, written there once, instead of carrying its own 5 MB. A full disk or a folder that cannot be written is a
    UserError that says so.
    """
    results = clean(results)
    rows = order(results.get("rows") or [], str(results.get("better")))
    put(results, out, page, csv_text(results, rows), shared_js=shared_js)


def put(results: dict[str, Any], out: Path, draw: Page, rows: str, *, shared_js: bool) -> None:
    """Writes the page that `draw` makes of the results, and its rows as CSV."""
    library = _plotly()
    files = {"results.csv": rows, "report.html": draw(results, library, shared_js=shared_js)}
    if shared_js and not _same(out / "plotly.min.js", library):
        files = {"plotly.min.js": library, **files}
    for name, text in files.items():
        _put(out / name, text)


def page(results: dict[str, Any], library: str, *, shared_js: bool = False) -> str:
    """The page as HTML. library: the text of plotly.min.js. Text from the results is escaped wherever it stands.

    The page's own policy lets it load nothing: scripts run only if their hash is named in it.
    """
    rows = [probed(row) for row in order(results.get("rows") or [], str(results.get("better")))]
    scale = scale_of(results)
    name = str(results.get("name") or "data")
    verdict = str(results.get("verdict") or f"A comparison on {name}")
    title, rest = sentences(verdict.removesuffix(str(results.get("rule") or "")))  # the rule stands in the details
    picture, charts = first(results, rows, scale)
    parts, more = details(results, rows, scale)
    return fill(
        results, library, shared_js=shared_js, scripts=SCRIPTS, kicker=f"lamina compare · {name}", title=title,
        lead=(f"<p>{esc(rest)}</p>" if rest else "") + f'<p class="facts">{esc(_facts(results))}</p>', first=picture,
        table=comparison(results, rows, scale), parts=parts,
        data={"families": families(rows), "charts": charts + more},
    )  # fmt: skip


def fill(
    results: dict[str, Any], library: str, *, shared_js: bool, scripts: tuple[str, ...], kicker: str, title: str,
    lead: str, first: str, table: str, parts: str, data: dict[str, Any],
) -> str:  # fmt: skip
    """The page with its places filled: kicker and title are text, the rest safe HTML; data is what the scripts read."""
    own = "\n".join(_asset(script) for script in scripts)
    inline = [own] if shared_js else [library, own]
    tags = '<script src="plotly.min.js"></script>\n' if shared_js else ""
    tags += "\n".join(f"<script>{text}</script>" for text in inline)
    allowed = " ".join(f"'sha256-{_digest(text)}'" for text in inline) + (" 'self'" if shared_js else "")
    return Template(_asset("page.html")).substitute(
        policy=f"default-src 'none'; script-src {allowed}; {POLICY}",
        version=esc(results.get("lamina") or ""),
        title=esc(title),
        style=_asset("page.css"),
        kicker=esc(kicker),
        lead=lead,
        first=first,
        table=table,
        parts=parts,
        data=embed(data),
        scripts=tags,
    )


def _facts(results: dict[str, Any]) -> str:
    """One line that says what was held equal."""
    budget, data, env = (results.get(k) or {} for k in ("budget", "data", "env"))
    facts = [str(data["source"]).rstrip(".")] if data.get("source") else []
    if budget.get("params"):
        within = f" ± {short(100 * budget['tolerance'])} %" if budget.get("tolerance") else ""
        facts.append(f"{exact(budget['params'])}{within} weights each")
    if budget.get("seeds"):
        n = len(budget["seeds"])
        steps = f" of {exact(budget['steps'])} steps" if budget.get("steps") else ""
        facts.append(f"{n} seed{'s' if n != 1 else ''}{steps}")
    if budget.get("lr_grid"):
        facts.append("the same learning rates tried for each")
    if env.get("cpu"):
        facts.append(str(env["cpu"]))
    return " · ".join(facts)


def _plotly() -> str:
    """plotly.min.js of the installed plotly package, read without importing it."""
    found = importlib.util.find_spec("plotly")
    for folder in (found.submodule_search_locations or []) if found else []:
        file = Path(folder) / "package_data" / "plotly.min.js"
        if file.is_file():
            return file.read_text(encoding="utf-8")
    raise UserError("the report needs plotly's plotly.min.js, which is not installed; run: pip install plotly")


def _asset(name: str) -> str:
    return (resources.files("lamina.compare") / "report_assets" / name).read_text(encoding="utf-8")


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _same(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


def _put(path: Path, text: str) -> None:
    """Writes a whole file or nothing: a temporary name first, then a rename."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8", newline="\n")
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(f"cannot write {path}: {error.strerror}; free the space or choose another --out") from None
