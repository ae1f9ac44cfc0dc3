"""Bytes of text: the sources of Python's own library, and one's own .txt file. The next byte is to be told."""

from __future__ import annotations

import hashlib
import sysconfig
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from lamina.core.config import UserError
from lamina.data.dataset import DataSet, Split

__all__ = ["library_files", "text", "text_file", "unread"]

BYTES = 256
LENGTH = 256  # frames of a window
MOST = {"dev": 256, "test": 1024}  # windows that are scored, evenly spread over the part
# what distributions leave out or build differently, and tables that are no text
LEFT_OUT = {
    "__pycache__", "dist-packages", "distutils", "encodings", "ensurepip", "idlelib", "lib2to3", "site-packages",
    "test", "tests", "tkinter", "turtledemo", "venv",
}  # fmt: skip
BUILT = ("_sysconfigdata", "sitecustomize", "usercustomize", "_distutils_system_mod")


def text(length: int = LENGTH) -> DataSet:
    """The sources of the standard library of the Python that runs: some 8 MB of code, comments and English.

    Whole files are held out: the SHA-256 of a file's name puts one in twenty into dev, one in twenty into test. The
    bytes differ from one version of Python to the next; `digest` tells whether two machines read the same. length:
    frames of a window. Raises UserError where this Python came without its sources.
    """
    parts = {name: b"".join(found) for name, found in _library().items()}
    total = sum(map(len, parts.values()))
    files = sum(map(len, _library().values()))
    version = sysconfig.get_python_version()
    source = f"the library of Python {version}: {files} source files, {total:,} bytes; whole files held out"
    return _dataset("text", parts, length, source, "text: this Python's library is too short")


def text_file(path: str | Path) -> DataSet:
    """One's own text in any encoding, read as bytes: the last tenth is held out, half of it dev and half test."""
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path}: is a folder; give one .txt file")
    if not path.is_file():
        raise UserError(f"{path}: no such file; give a data set's name or a .txt file")
    try:
        whole = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    if not whole:
        raise UserError(f"{path}: empty; give it some text")
    dev, test = len(whole) * 18 // 20, len(whole) * 19 // 20
    parts = {"train": whole[:dev], "dev": whole[dev:test], "test": whole[test:]}
    source = f"{path.name}: {len(whole):,} bytes; the last tenth held out"
    least = 20 * (LENGTH + 1)
    return _dataset(path.stem, parts, LENGTH, source, f"{path}: {len(whole):,} bytes; at least {least:,} are needed")


def unread(name: str, length: int) -> DataSet:
    """A text without its bytes: enough to build a task around where the text itself is not at hand."""
    none = Split(torch.empty(0, length, dtype=torch.int16), torch.empty(0, length, dtype=torch.int16))
    return DataSet(name, "tokens", "lm", none, none, none, "unread", n_classes=BYTES, n_vocab=BYTES)


def library_files() -> list[str]:
    """The library's source files that are read, as paths inside it, sorted."""
    root = Path(sysconfig.get_path("stdlib"))
    names = (path.relative_to(root) for path in root.rglob("*.py"))
    return sorted(
        name.as_posix()
        for name in names
        if not LEFT_OUT.intersection(name.parts)
        and not name.name.startswith(BUILT)
        and not name.parts[0].startswith("config-")
    )


def part_of(name: str) -> str:
    """Which part a file belongs to, by its name alone: one in twenty is dev, one in twenty test."""
    return {0: "dev", 1: "test"}.get(hashlib.sha256(name.encode()).digest()[0] % 20, "train")


@lru_cache(maxsize=1)
def _library() -> dict[str, list[bytes]]:
    root = Path(sysconfig.get_path("stdlib"))
    parts: dict[str, list[bytes]] = {"train": [], "dev": [], "test": []}
    for name in library_files():
        parts[part_of(name)].append((root / name).read_bytes())
    if not all(parts.values()):
        raise UserError(f"text: {root} holds no sources of the library; give a .txt file of your own")
    return parts


def _dataset(name: str, parts: dict[str, bytes], length: int, source: str, short: str) -> DataSet:
    if length < 1:
        raise UserError(f"{name}: length={length}; it must be at least 1")
    train, dev, test = (_windows(parts[part], length, MOST.get(part), short) for part in ("train", "dev", "test"))
    return DataSet(name, "tokens", "lm", train, dev, test, source, n_classes=BYTES, n_vocab=BYTES)


def _windows(content: bytes, length: int, most: int | None, short: str) -> Split:
    """The text cut into windows one after another: x [N,length] and y, the byte behind each; int16."""
    n = (len(content) - 1) // length
    if n < 1:
        raise UserError(short)
    # not uint8, in which NOT_ASKED would be the byte 255
    whole: Tensor = torch.frombuffer(bytearray(content), dtype=torch.uint8).to(torch.int16)
    x, y = whole[: n * length].reshape(n, length), whole[1 : n * length + 1].reshape(n, length)
    if most is not None and n > most:
        rows = torch.arange(most) * n // most
        return Split(x[rows], y[rows])
    return Split(x, y)
