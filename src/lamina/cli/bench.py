"""lamina bench: speed as ratios against peers, within one run."""

from __future__ import annotations

import json

import typer

from lamina.core.config import nearest

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    @app.command("bench")
    def bench(
        what: str = typer.Argument("step", help="step: one streamed frame of an LSTM beside PyTorch's own."),
        threads: int = typer.Option(1, min=1, help="Threads of PyTorch."),
        rounds: int = typer.Option(500, min=1, help="Timed rounds."),
        as_json: bool = typer.Option(False, "--json", help="For machines."),
    ) -> None:
        """Speed against peers: the outputs must agree first, then medians of interleaved calls.

        Example:  lamina bench step --threads 2 --json
        """
        import torch

        from lamina.bench import bench_step

        known = {"step": bench_step}
        if what not in known:
            raise nearest(what, known, "benchmark")
        torch.set_num_threads(threads)
        found = known[what](rounds=rounds)
        if as_json:
            print(json.dumps(found, indent=2))
            return
        print(found["what"], f"({threads} thread{'s' * (threads > 1)}, torch {torch.__version__})")
        for name, t in found["times"].items():
            print(f"  {name:<10} {t['us_p50']:>8.1f} us   ({t['us_p5']:.0f} to {t['us_p95']:.0f})")
        print(f"  {found['ratio_to_LSTMCell']:.2f} x LSTMCell, {found['ratio_to_nn.LSTM']:.2f} x nn.LSTM")
