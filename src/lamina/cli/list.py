"""lamina list: the structures and the mixers."""

from __future__ import annotations

import json
from typing import Any

import typer

__all__ = ["register", "rows"]


def rows() -> list[dict[str, Any]]:
    """One row a model, then one a mixer: name, paper, year, kind, streams and the reason where it does not."""
    from lamina.models import MIXER_ROWS, MODELS

    models = [row for row in MODELS.values() if row.kind == "model"]
    found = []
    for row in [*sorted(models, key=lambda r: (r.year, r.name)), *MIXER_ROWS.values()]:
        streams, reason = row.streams(row.make({}))
        found.append(
            {
                "name": row.name,
                "paper": row.paper,
                "year": row.year,
                "kind": row.kind,
                "streams": streams,
                "reason": reason,
            }
        )
    return found


def register(app: typer.Typer) -> None:
    @app.command("list")
    def show_list(as_json: bool = typer.Option(False, "--json", help="For machines.")) -> None:
        """The structures and mixers, their papers, and whether they stream.

        Example:  lamina list --json
        """
        found = rows()
        if as_json:
            print(json.dumps(found, indent=2))
            return
        for row in [{"name": "name", "kind": "kind", "year": "year", "streams": "streams", "paper": "paper"}, *found]:
            streams = {True: "yes", False: "no"}.get(row["streams"], row["streams"])
            paper = f"{row['paper']} - {row['reason']}" if row.get("reason") else row["paper"]
            print(f"{row['name']:<21}{row['kind']:<7}{row['year']:<6}{streams:<9}{paper}")
