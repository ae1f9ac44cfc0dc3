"""Model: a row of MODELS: paper and year (1986 ...), a validated config, the function that builds the network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from lamina.core import Config, NotStreamable
from lamina.core.layer import Layer

__all__ = ["Knob", "Model"]


@dataclass(frozen=True)
class Knob:
    """A config key that sets a model's size: its least value, and the number it must be a multiple of."""

    key: str
    least: int
    multiple: int = 1


@dataclass(frozen=True)
class Model:
    """What lamina knows of a structure.

    view says what it takes: "frame" (each example as one frame), "sequence" (frames in time), "image", or "pixels"
    (images as they are, which it makes itself). task: what it learns, whatever the data set asks; None for what that
    asks. ema: the decay of the average of its weights that is kept, 0 for none.
    knobs are the keys that set its size, coarse first. config_of gives the config class for the keys at hand: a stack
    has the keys of its mixer. kind is "model" or "mixer".
    """

    name: str
    paper: str
    year: int
    family: str
    view: str
    config_of: Callable[[dict[str, Any]], type[Config]]
    build: Callable[[Any], nn.Module]
    knobs: tuple[Knob, ...]
    idea: str
    equations: str
    use: str
    avoid: str
    references: tuple[str, ...]
    kind: str = "model"
    task: str | None = None
    ema: float = 0.0

    def make(self, keys: dict[str, Any]) -> nn.Module:
        """The network for these keys; it carries its own `config` and `name`."""
        config = self.config_of(keys).of(keys, self.name)
        network = self.build(config)
        network.config, network.name = config, self.name  # type: ignore[assignment]
        return network

    def streams(self, network: nn.Module) -> tuple[bool, str | None]:
        """Whether the network streams, and the reason if not."""
        if not isinstance(network, Layer):
            return False, "it makes a whole image at once" if self.task else "it sees a whole image at once"
        try:
            network.stream_spec()
        except NotStreamable as reason:
            return False, str(reason)
        return True, None
