"""What a server says of its recogniser: its delay, and the state of a stream beside the cache that it avoids."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from lamina.core import UserError
from lamina.core import state as trees
from lamina.speech.decode import Decoder
from lamina.speech.recogniser import Recogniser

__all__ = ["About"]


@dataclass(frozen=True)
class About:
    """model and family as `lamina list` names them. rate: Hz. algorithmic_ms: of sound, from the first sample of a
    frame to its answer. state_bytes: of one stream, its decoder's too. cache_bytes: what attention over the whole
    stream would keep a second, keys and values of every layer in float32; None where the model has no width. cache: how
    that is counted.
    """

    model: str
    family: str
    rate: int
    algorithmic_ms: float
    state_bytes: int
    cache_bytes: float | None
    cache: str
    weights: int

    @classmethod
    def of(cls, recogniser: Recogniser, decoder: Decoder) -> About:
        """UserError where the recogniser does not stream."""
        from lamina.models import find

        reason = recogniser.streams
        order, layer = recogniser.facts["order"], recogniser.layer
        if reason is not None:
            raise UserError(
                f"{order['model']} does not stream ({reason}); `lamina transcribe` reads files with it, and a causal "
                "structure, such as attention_lstm, streams"
            )
        config = getattr(recogniser.parts()[0], "config", None)
        width = getattr(config, "d_model", None)
        layers = getattr(config, "n_layers", None) or len(getattr(config, "mixers", "").split(","))
        cache_bytes, cache = None, ""
        if isinstance(width, int):
            cache_bytes = 2 * layers * width * 4 / recogniser.seconds
            cache = f"2 x {layers} layers x {width} wide x 4 bytes every {1e3 * recogniser.seconds:g} ms"
        return cls(
            model=order["model"],
            family=find(order["model"]).family,
            rate=recogniser.rate,
            algorithmic_ms=round(1e3 * float(recogniser.latency), 3),
            state_bytes=trees.nbytes(layer.init_state(1)) + sum(t.nbytes for t in decoder.init_state().values()),
            cache_bytes=cache_bytes,
            cache=cache,
            weights=sum(p.numel() for p in layer.parameters()),
        )

    def facts(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)
