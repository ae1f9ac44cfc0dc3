"""CTC decoding beside flashlight-text and pyctcdecode: how probable the found labels are first, then the time."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lamina import ops
from lamina.bench.peer import EXTRA
from lamina.bench.peers import flashlight, pyctcdecode
from lamina.bench.row import Target
from lamina.bench.timing import interleaved
from lamina.speech.decode import PrefixBeam
from lamina.train.machine import environment

__all__ = ["DECODE_ROWS", "DecodeRow", "bench_decode", "decode_lines"]

Decode = Callable[[Tensor], list[int]]
FRAMES, N_OUT, BEAM = 500, 32, 32
SLACK = 1e-6  # nats by which ours may be the less probable: readings that are equal but for rounding
PEERS: dict[str, tuple[str, str, Callable[[int, int], Decode]]] = {
    "flashlight-text": ("flashlight", EXTRA, flashlight.decoder),
    "pyctcdecode": ("pyctcdecode", "pip install --no-deps pyctcdecode==0.5.0 pygtrie==2.6.2", pyctcdecode.decoder),
}


@dataclass(frozen=True)
class DecodeRow:
    """make() is what is decoded, log-probabilities [T,n_out] float32."""

    name: str
    make: Callable[[], Tensor]
    target: Target

    @property
    def title(self) -> str:
        return f"{self.name} {FRAMES}x{N_OUT} beam {BEAM}"


def _log_p(peak: float) -> Tensor:
    """Normal logits; the class of a path of blanks with a label at every seventh frame or so is `peak` above them."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(FRAMES, N_OUT, generator=generator)
    said = torch.rand(FRAMES, generator=generator) < 1 / 7
    path = torch.randint(1, N_OUT, (FRAMES,), generator=generator).where(said, 0)
    x[torch.arange(FRAMES), path] += peak
    return x.log_softmax(-1)


DECODE_ROWS = (
    DecodeRow("decode_peaky", partial(_log_p, 8.0), Target(1, 2)),
    DecodeRow("decode_flat", partial(_log_p, 0.0), Target(1, 2)),
)


def bench_decode(
    rows: tuple[DecodeRow, ...], *, peers: bool = True, rounds: int = 11, tell: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """ln p of what each finds, by the CTC loss in float64: red where a peer's is the more probable. No time is taken
    then. Microseconds of a whole utterance, medians of interleaved calls; ratio = the quickest peer's over ours.
    """
    missing = {
        name: f"{name} is not installed; {install}"
        for name, (module, install, _) in PEERS.items()
        if peers and importlib.util.find_spec(module) is None
    }
    decoders: dict[str, Decode] = {"lamina": _ours()}
    if peers:
        decoders |= {name: made(N_OUT, BEAM) for name, (*_, made) in PEERS.items() if name not in missing}
    found = [_gated(row, decoders, tell) for row in rows]
    red = [f"{row.title}: {facts['red']}" for row, facts in zip(rows, found, strict=True) if facts["red"]]
    for row, facts in zip(rows, found, strict=True) if not red else ():
        tell(f"{row.title}: time")
        log_p = row.make()
        times = interleaved({name: partial(one, log_p) for name, one in decoders.items()}, rounds, warmup=1)
        rival = min((name for name in decoders if name != "lamina"), key=lambda n: times[n].median, default=None)
        ratio = times[rival].median / times["lamina"].median if rival else None
        facts |= {
            "times": {name: t.as_dict() for name, t in times.items()}, "peer": rival, "ratio": ratio,
            "must": row.target.must, "aim": row.target.aim, "met": row.target.met(ratio) if ratio else None,
        }  # fmt: skip
    versions = [f"{name} {importlib.metadata.version(name)}" for name in decoders if name != "lamina"]
    return {"red": red, "rows": found, "missing": list(missing.values()), "peers": versions, "env": environment()}


def _ours() -> Decode:
    beam = PrefixBeam(N_OUT, BEAM)
    return lambda log_p: [one.label for one in beam.whole(log_p)]


def _gated(row: DecodeRow, decoders: dict[str, Decode], tell: Callable[[str], None]) -> dict[str, Any]:
    log_p = row.make()
    nats = {}
    for name, decode in decoders.items():
        tell(f"{row.title}: what {name} finds")
        nats[name] = _ln_p(log_p, decode(log_p))
    best = max(nats, key=nats.__getitem__)
    red = nats[best] > nats["lamina"] + SLACK
    return {
        "name": row.name, "title": row.title, "ln_p": nats,
        "red": f"finds ln p {nats['lamina']:.6g}, {best} {nats[best]:.6g}" if red else None,
    }  # fmt: skip


def _ln_p(log_p: Tensor, labels: list[int]) -> float:
    y = torch.tensor([labels], dtype=torch.int64).reshape(1, -1)
    return -float(ops.ctc_loss(log_p[None].double(), y, torch.tensor([len(log_p)]), torch.tensor([len(labels)])))


def decode_lines(found: dict[str, Any]) -> Iterator[str]:
    """The result on a terminal."""
    for row in found["rows"]:
        yield f"{'RED ' if row['red'] else ''}{row['title']}" + (f": {row['red']}" if row["red"] else "")
        for name, nats in row["ln_p"].items():
            took = ""
            if time := row.get("times", {}).get(name):
                took = f", {time['us_p50'] / 1e3:.1f} ms ({time['us_p5'] / 1e3:.1f} to {time['us_p95'] / 1e3:.1f})"
            yield f"  {name:<16} ln p {nats:.2f}{took}"
        if row.get("ratio"):
            asked = f"asked {row['must']:g}, aimed at {row['aim']:g}"
            yield f"  {row['ratio']:.1f} times as fast as {row['peer']} ({asked})"
    yield from found["missing"]
    env = found["env"]
    yield ", ".join([*found["peers"], f"{env['threads']} thread{'s' * (env['threads'] > 1)}", env["cpu"]])
