"""Where sounds come from: a manifest, a folder, or the Hub; each gives utterances."""

from __future__ import annotations

from pathlib import Path

from lamina.data.folders import read_folder
from lamina.data.hub import read_hub
from lamina.data.manifest import Utterance, read_manifest

__all__ = ["HUB", "MANIFEST", "read_source", "stamp"]

MANIFEST = "manifest.jsonl"  # of a folder
HUB = "hub:"


def read_source(path: str | Path, *, bare: bool = False) -> list[Utterance]:
    """The utterances of FILE.jsonl (`read_manifest`), of a folder that holds a manifest.jsonl or has one of the forms
    of `read_folder`, or of hub:org/name (`read_hub`). bare: they may have neither text nor label.
    """
    name = str(path)
    if name.startswith(HUB):
        return read_hub(name.removeprefix(HUB), bare=bare)
    path = Path(path)
    if not path.is_dir():
        return read_manifest(path, bare=bare)
    return read_manifest(path / MANIFEST, bare=bare) if (path / MANIFEST).is_file() else read_folder(path, bare=bare)


def stamp(path: str | Path) -> int:
    """When the newest file of a source was changed, in ns; 0 of the Hub. Other parts may lie beside a manifest."""
    here = Path(str(path).removeprefix(HUB))
    files = [here, *here.rglob("*")] if here.is_dir() else here.parent.glob(f"*{here.suffix}") if here.suffix else []
    return max((file.stat().st_mtime_ns for file in files), default=0)
