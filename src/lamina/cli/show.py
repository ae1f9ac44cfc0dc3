"""lamina show NAME: what a structure is, what it costs, when to use it and when not."""

from __future__ import annotations

import json
from typing import Any

import typer

__all__ = ["page", "register"]


def page(name: str) -> dict[str, Any]:
    """All that lamina says of a structure; the sizes are measured on the default config."""
    import torch

    from lamina.core import Layer, cost, state
    from lamina.core.compose import channels
    from lamina.models import find

    row = find(name)
    network = row.make({})
    streams, reason = row.streams(network)
    if isinstance(network, Layer):
        sizes = cost(network)
    else:  # a generator takes more than an image and says what
        sizes = cost(network, *(network.example() if row.task else (torch.zeros(1, *network.image_shape),)))
    frames, ends = "T," if isinstance(network, Layer) else "", (network.d_in, network.d_out)
    shapes = " -> ".join(f"[B,{frames}{','.join(map(str, channels(end)))}]" for end in ends)
    tree = {n: list(t.shape) for n, t in state.flatten(network.init_state(1)).items()} if streams else {}
    return {
        "name": row.name, "kind": row.kind, "paper": row.paper, "year": row.year, "family": row.family,
        "idea": row.idea, "equations": row.equations, "shapes": shapes, "streams": streams, "reason": reason,
        "config": network.config.model_dump(mode="json"), "cost": sizes.as_dict(), "state": tree,
        "use": row.use, "avoid": row.avoid, "references": list(row.references),
    }  # fmt: skip


def register(app: typer.Typer) -> None:
    @app.command("show")
    def show(
        name: str = typer.Argument(help="A structure or a mixer; `lamina list` names them."),
        as_json: bool = typer.Option(False, "--json", help="For machines."),
    ) -> None:
        """One structure: idea, equations, shapes, state, cost, when to use it and when not.

        Example:  lamina show transformer
        """
        found = page(name)
        print(json.dumps(found, indent=2) if as_json else _text(found))


def _text(found: dict[str, Any]) -> str:
    sizes = found["cost"]
    streams = (
        f"yes: {sizes['state_bytes']:,} bytes of state a stream, latency {sizes['latency_frames']:g} frames"
        if found["streams"]
        else f"no: {found['reason']}"
    )
    parts = [
        ("", f"{found['name']} ({found['year']}): {found['paper']}"),
        ("idea", found["idea"]),
        ("equations", found["equations"]),
        ("shapes", found["shapes"]),
        ("streams", streams),
        ("cost", f"{sizes['params']:,} weights, {sizes['flops_per_frame']:,.0f} FLOPs a frame (default config)"),
        ("state", "\n".join(f"{n}  {shape}" for n, shape in found["state"].items()) or "none"),
        ("config", "  ".join(f"{k}={v}" for k, v in found["config"].items())),
        ("use it", found["use"]),
        ("not", found["avoid"]),
        ("read", "\n".join(found["references"])),
    ]
    return "\n".join(f"{title:<11}" + text.replace("\n", "\n" + " " * 11) if title else text for title, text in parts)
