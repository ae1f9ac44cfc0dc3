"""Where sounds come from: a manifest, a folder, or the Hub; each gives utterances."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lamina.core.config import UserError
from lamina.data.audio import SOUNDS, read_audio
from lamina.data.folders import read_folder
from lamina.data.hub import read_hub
from lamina.data.manifest import Utterance, read_manifest

__all__ = ["HUB", "MANIFEST", "lowest", "read_source", "stamp"]

MANIFEST = "manifest.jsonl"  # of a folder
HUB = "hub:"
WIDEST = 16000  # Hz: beyond it, sounds are resampled


def read_source(path: str | Path, *, bare: bool = False) -> list[Utterance]:
    """The utterances of FILE.jsonl (`read_manifest`), of a folder that holds a manifest.jsonl or has one of the forms
    of `read_folder`, or of hub:org/name (`read_hub`). bare: to be heard alone, whatever text or label they have.
    """
    name = str(path)
    if name.startswith(HUB):
        return read_hub(name.removeprefix(HUB), bare=bare)
    path = Path(path)
    if not path.is_dir():
        if not path.exists() or path.suffix.lower() in SOUNDS:
            what = "is one sound" if path.exists() else "no such file or folder"
            raise UserError(f"{path}: {what}; give a manifest FILE.jsonl, or a folder of sounds")
        return read_manifest(path, bare=bare)
    return read_manifest(path / MANIFEST, bare=bare) if (path / MANIFEST).is_file() else read_folder(path, bare=bare)


def lowest(found: Sequence[Utterance]) -> int:
    """The rate that all are heard at: the lowest of them, WIDEST at most."""
    return min([WIDEST, *(one.sr or _rate(one) for one in found)])


def _rate(one: Utterance) -> int:
    """The rate of a file of which nothing is said; of one that cannot be read, the highest: it is named later."""
    try:
        return read_audio(one.audio, seconds=0)[1]
    except UserError:
        return WIDEST


def stamp(path: str | Path) -> int:
    """When the newest file of a source was changed, in ns; 0 of the Hub. Other parts may lie beside a manifest."""
    here = Path(str(path).removeprefix(HUB))
    files = [here, *here.rglob("*")] if here.is_dir() else here.parent.glob(f"*{here.suffix}") if here.suffix else []
    return max((file.stat().st_mtime_ns for file in files if file.exists()), default=0)  # a link may lead nowhere
