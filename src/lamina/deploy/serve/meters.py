"""Counts and times of a server, for Prometheus."""

from __future__ import annotations

import importlib
from types import ModuleType

from lamina.core.config import UserError

__all__ = ["Meters", "needs"]

TIMES = (0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.1, 0.2, 0.5, 1.0)  # seconds


def needs(module: str) -> ModuleType:
    """A module of the extra `serve`; without it a UserError that says how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(f"lamina serve needs {module} ({error}); run: pip install 'lamina[serve]'") from None


class Meters:
    """What one server counts; `text` is what /metrics shows."""

    def __init__(self) -> None:
        client = needs("prometheus_client")
        self.registry = r = client.CollectorRegistry()
        self.listeners = client.Gauge("lamina_listeners", "Streams that are rows of the batch now.", registry=r)
        self.ticks = client.Counter("lamina_ticks", "Steps of all rows that had sound.", registry=r)
        self.rows = client.Histogram(
            "lamina_tick_rows", "Rows in a tick.", registry=r, buckets=(1, 2, 4, 8, 16, 32, 64, 128)
        )
        self.tick = client.Histogram("lamina_tick_seconds", "Of a tick.", registry=r, buckets=TIMES)
        self.compute = client.Histogram(
            "lamina_compute_seconds",
            "From a message of sound to its caption.",
            registry=r,
            buckets=TIMES,
        )
        self.sound = client.Counter("lamina_sound_seconds", "Sound heard, of all streams.", registry=r)
        self.errors = client.Counter("lamina_errors", "Clients closed, by kind of error.", ["kind"], registry=r)
        self.vanished = client.Counter("lamina_vanished", "Clients gone without an end.", registry=r)

    def text(self) -> bytes:
        """All of it in Prometheus's text format."""
        return bytes(needs("prometheus_client").generate_latest(self.registry))
