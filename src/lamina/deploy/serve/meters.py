"""Counts and times of a server, for Prometheus."""

from __future__ import annotations

from typing import Any

from lamina.data.audio import needs

__all__ = ["Meters"]

TIMES = (0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.1, 0.2, 0.5, 1.0)  # seconds


class Meters:
    """What one server counts; `text` is what /metrics shows."""

    def __init__(self) -> None:
        client = _client()
        self.registry = r = client.CollectorRegistry()
        self.listeners = client.Gauge("lamina_listeners", "Streams that are rows of the batch now.", registry=r)
        self.ticks = client.Counter("lamina_ticks", "Steps of all rows that had sound.", registry=r)
        self.rows = client.Histogram(
            "lamina_tick_rows", "Rows in a tick.", registry=r, buckets=(1, 2, 4, 8, 16, 32, 64, 128)
        )
        self.tick = client.Histogram("lamina_tick_seconds", "Of a tick.", registry=r, buckets=TIMES)
        self.compute = client.Histogram(
            "lamina_compute_seconds",
            "From the message that makes a block of sound whole to its caption.",
            registry=r,
            buckets=TIMES,
        )
        self.sound = client.Counter("lamina_sound_seconds", "Sound heard, of all streams.", registry=r)
        self.errors = client.Counter("lamina_errors", "Clients closed, by kind of error.", ["kind"], registry=r)
        self.vanished = client.Counter("lamina_vanished", "Clients gone without an end.", registry=r)

    def text(self) -> bytes:
        """All of it in Prometheus's text format."""
        return bytes(_client().generate_latest(self.registry))


def _client() -> Any:
    return needs("prometheus_client", "lamina serve", "serve")
