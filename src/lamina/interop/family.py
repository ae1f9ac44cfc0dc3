"""Family: one kind of foreign checkpoint; Pretrained: what becomes of one, a stem, a backbone and a head in a row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from lamina.core import Layer, Seq, Serial
from lamina.core.config import UserError
from lamina.interop.weights import Shapes, Weight
from lamina.layers import Embedding, Linear

__all__ = ["NEEDED", "Family", "Pretrained", "before", "stored", "told", "told_weights", "wanted"]

HEAD = "lm_head.weight"  # of a decoder


class Pretrained(Serial):
    """stem, backbone and, where the checkpoint has one, a head: [B,T] tokens or [B,T,*d_in] frames -> [B,T,d_out].

    A layer like every other: it streams if its backbone does. `family` and `source` (their config.json) say where it
    comes from, and `lamina.interop.export` writes it back. Output weights that are tied to the embedding stay tied.
    """

    def __init__(self, stem: Layer, backbone: Layer, head: Layer | None = None) -> None:
        super().__init__(*([stem, backbone] if head is None else [stem, backbone, head]))
        self.family = ""
        self.source: dict[str, Any] = {}
        self.shapes: Shapes = {}  # of their weights

    def encode(self, x: Seq) -> Seq:
        """The last frames before the head, [B,T,d_model]."""
        (_, stem), (_, backbone), *_ = self.children_in_order()
        return backbone(stem(x))


NEEDED = object()  # of an option that has no default


@dataclass(frozen=True)
class Family:
    """name: their `model_type`. names are those of its weights, with their shapes.

    build(config, names): the network with fresh weights. table(config, names): which of theirs go where.
    block(config, i): the path of the i-th block in it. ignored: patterns of names that hold nothing to learn.
    options: what `load` takes by keyword, with its default or NEEDED; build and table find it in config.
    marks: keys of a config.json that has no model_type. file: the name of the weights beside it.

    A state dict without a config.json: recognises(names) says whether it is of this kind, read(names, options) gives
    what a config.json would have said.
    """

    name: str
    build: Callable[[dict[str, Any], Shapes], Pretrained]
    table: Callable[[dict[str, Any], Shapes], list[Weight]]
    block: Callable[[dict[str, Any], int], str]
    depth: str = "num_hidden_layers"  # the key of their config that counts blocks
    ignored: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    marks: tuple[str, ...] = ()
    file: str = "model.safetensors"
    recognises: Callable[[Shapes], bool] | None = None
    read: Callable[[Shapes, dict[str, Any]], dict[str, Any]] | None = None


def wanted(config: dict[str, Any], **values: Any) -> None:
    """Refuses a config whose key has another value than the one that this structure is; an absent key is right."""
    for key, value in values.items():
        found = config.get(key, value)
        if found != value:
            raise UserError(f"config.json: {key}={found!r} is not built here, only {value!r}")


def before(names: Shapes, word: str) -> str:
    """The prefix `word` where the names carry it: a checkpoint with a head has one, one of frames alone has not."""
    return word if any(name.startswith(word) for name in names) else ""


def stored(config: dict[str, Any], names: Shapes, head: str) -> bool:
    """Whether the head's weights stand in the checkpoint themselves, as they must where they are not tied."""
    return head in names or config.get("tie_word_embeddings") is False


def told(embedding: Embedding, config: dict[str, Any], names: Shapes, word: str) -> Layer | None:
    """The head that tells tokens, where there is one: tied to the embedding if it says so or stores no weights."""
    if not before(names, word):
        return None
    head = Linear(cast(int, embedding.d_out), cast(int, embedding.n_vocab), bias=False)
    if config.get("tie_word_embeddings") is True or not stored(config, names, HEAD):
        head.linear.weight = embedding.table.weight
    return head


def told_weights(config: dict[str, Any], names: Shapes, word: str, embedding: str) -> list[Weight]:
    """Where that head's weights come from."""
    if not before(names, word):
        return []
    return [Weight("2.linear.weight", (HEAD if stored(config, names, HEAD) else embedding,))]
