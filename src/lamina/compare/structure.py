"""A structure's name in a comparison: a model's, and perhaps "+conv" or "-conv" for the short convolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lamina import models
from lamina.core.config import UserError
from lamina.data import DataSet
from lamina.models import Model
from lamina.tasks import Task
from lamina.train import Order

__all__ = ["TAPS", "Structure", "both_ways", "structure"]

TAPS = 4  # of the short convolution that "+conv" adds
MIXED = -1  # in place of taps: a hybrid's mixers differ


@dataclass(frozen=True)
class Structure:
    """name: as a comparison writes it. keys: what the name sets. taps: of a short convolution behind the stem."""

    name: str
    model: Model
    keys: dict[str, Any]
    taps: int

    def order(self, keys: dict[str, Any], dataset: DataSet, **how: Any) -> Order:
        """The order to train it with these keys."""
        return Order(self.model.name, keys, dataset.name, taps=self.taps, **how)

    def build(self, keys: dict[str, Any], dataset: DataSet, seed: int = 0) -> Task:
        return self.order(keys, dataset, seed=seed).build(dataset)

    @property
    def where(self) -> str:
        """Where its short convolution stands, for a table; "" without one."""
        if self.taps:
            return f"short convolution of {self.taps} behind the stem"
        own = self.keys.get("short_conv", _own(self.model))
        if own == MIXED:
            return "each mixer with its own short convolution or none"
        return f"short convolution of {own} in each mixer" if own else ""


def structure(name: str) -> Structure:
    """ "deltanet" is the model as it is; "deltanet+conv" has a short convolution, "mamba-conv" has none.

    A structure with a key short_conv has it there, in each of its mixers; any other behind the stem, which is the same
    for all. Raises UserError for an unknown model, and for a convolution to leave out that is not there.
    """
    base, sign = name.strip(), ""
    for suffix in ("+conv", "-conv"):
        if base.endswith(suffix):
            base, sign = base.removesuffix(suffix), suffix[0]
    model = models.find(base)
    own = _own(model)
    if sign == "-" and not own:
        raise UserError(f"{name}: {model.name} has no short convolution to leave out; write {model.name}")
    if not sign or (sign == "+" and own and own != MIXED):
        return Structure(model.name, model, {}, 0)
    if sign == "+" and own is None:
        return Structure(f"{model.name}+conv", model, {}, TAPS)
    return Structure(f"{model.name}{sign}conv", model, {"short_conv": TAPS if sign == "+" else 0}, 0)


def both_ways(name: str) -> tuple[str, str]:
    """The names of a model without a short convolution and with one."""
    own = _own(models.find(name))
    if own == MIXED:
        return f"{name}-conv", f"{name}+conv"
    return (f"{name}-conv", name) if own else (name, f"{name}+conv")


def _own(model: Model) -> int | None:
    """The taps of the short convolution that a model has unasked; MIXED where they are its mixers' own; None where it
    knows no such key."""
    field = model.config_of({}).model_fields.get("short_conv")
    if field is None:
        return None
    return MIXED if field.default is None else int(field.default)
