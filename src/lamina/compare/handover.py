"""A data set as one file, so that worker processes need not load, import or make it again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from lamina import data
from lamina.data import DataSet, Split, Vocabulary
from lamina.models.io import write_weights
from lamina.train import checkpoint

__all__ = ["read", "write"]

PARTS = ("train", "dev", "test")


def write(dataset: DataSet, path: Path) -> None:
    """Writes the tensors and the words of a data set, whole or not at all."""
    tensors = {}
    for name in PARTS:
        split = getattr(dataset, name)
        for key in ("x", "y", "lengths"):
            if getattr(split, key) is not None:
                # a copy: a text's x and y share memory, which safetensors refuses
                tensors[f"{name}.{key}"] = getattr(split, key).clone(memory_format=torch.contiguous_format)
    words: dict[str, Any] = {
        k: getattr(dataset, k) for k in ("name", "kind", "task", "source", "n_classes", "d_target", "n_vocab")
    }
    words["labels"] = list(dataset.labels)
    words["vocabulary"] = dataset.vocabulary and dataset.vocabulary.text()
    words["fresh"] = dataset.examples is not None
    part = path.with_name(f"{path.name}.part")
    with checkpoint.said_plainly(path, part):
        write_weights(path, tensors, {"dataset": json.dumps(words)})


def read(path: Path) -> DataSet:
    """The data set that `write` wrote."""
    with safe_open(path, "pt") as file:
        words: dict[str, Any] = json.loads(file.metadata()["dataset"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for n in PARTS:
        words[n] = Split(tensors[f"{n}.x"], tensors[f"{n}.y"], tensors.get(f"{n}.lengths"))
    words["labels"] = tuple(words["labels"])
    words["vocabulary"] = words["vocabulary"] and Vocabulary.of(words["vocabulary"])
    if words.pop("fresh"):  # what makes the examples is code, which the name finds
        words["examples"] = data.load(words["name"]).examples
    return DataSet(**words)
