"""Live: one listener fed as the sound comes, and the three latencies of what it is told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from time import perf_counter

import torch
from torch import Tensor

from lamina.speech.decode import Decoder
from lamina.speech.listeners import Caption, Listeners
from lamina.speech.recogniser import Recogniser
from lamina.speech.settling import Settling

__all__ = ["Latencies", "captions"]


@dataclass
class Latencies:
    """Milliseconds. algorithmic: of sound that must be heard before it is answered, on the fastest computer; compute:
    of each push that was answered by a step; emission: of sound from each word's end until it stood, as it is, in the
    stable text.
    """

    algorithmic: float
    compute: list[float] = field(default_factory=list)
    emission: list[float] = field(default_factory=list)
    _settling: Settling = field(default_factory=Settling)

    def see(self, caption: Caption, compute: float | None = None) -> None:
        """The next caption, and the seconds that it took if there was a step."""
        if compute is not None:
            self.compute.append(1e3 * compute)
        self._settling.see(caption)
        self.emission += [emission for _, emission in self._settling.settled(caption)]

    def figures(self) -> dict[str, float | None]:
        """The algorithmic one, p50, p95 and p99 of compute, and the median of emission, None where no word was told."""
        found: dict[str, float | None] = {"algorithmic_ms": round(self.algorithmic, 3)}
        times = torch.tensor(self.compute or [0.0], dtype=torch.float64)
        for p in (50, 95, 99):
            found[f"compute_p{p}_ms"] = round(float(times.quantile(p / 100)), 3)
        emitted = torch.tensor(self.emission, dtype=torch.float64)
        found["emission_p50_ms"] = round(float(emitted.quantile(0.5)), 3) if len(emitted) else None
        return found


def captions(
    recogniser: Recogniser, sounds: Iterable[Tensor], latencies: Latencies, decoder: Decoder | None = None
) -> Iterator[Caption]:
    """A caption for each piece of sound [n], and the last one at its end."""
    listeners = Listeners(recogniser, 1, decoder)
    row = listeners.join()
    listeners.push({row: torch.zeros(listeners.spec.block)})  # kernels load at their first call, which is nobody's time
    listeners.finish(row)
    for sound in sounds:
        stepped, began = len(sound) >= listeners.short(row), perf_counter()
        caption = listeners.push({row: sound})[row]
        latencies.see(caption, perf_counter() - began if stepped else None)
        yield caption
    caption = listeners.finish(row)
    latencies.see(caption)
    yield caption
