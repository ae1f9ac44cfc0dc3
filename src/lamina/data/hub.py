"""Audio sets of the Hugging Face Hub, read from the Parquet files that it keeps of each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from lamina.core.config import UserError
from lamina.data.audio import needs
from lamina.data.manifest import ALSO, PARTS, Utterance, parted
from lamina.data.problems import Problems

__all__ = ["read_hub"]

CONVERTED = "refs/convert/parquet"  # the branch that the Hub itself writes
TEXTS, LABELS, SPEAKERS = ("text", "sentence", "transcription", "transcript"), ("label", "intent"), ("speaker_id",)


def read_hub(name: str, *, bare: bool = False) -> list[Utterance]:
    """The utterances of org/name on the Hub, or of a folder of its Parquet files.

    A row has a column of sounds {"bytes", "path"}, and what is said in one called text, sentence, transcription or
    transcript, or a class called label. The files' names say the part: train-00000-of-00002.parquet, or a folder train
    or partial-train. The sounds stay in memory as they are packed. Raises UserError that names the rows that are wrong,
    or the sets where the folder holds several.
    """
    parquet = needs("pyarrow.parquet", f"{name}: a set of the Hub", "hub")
    folder = Path(name) if Path(name).is_dir() else _fetched(name)
    problems, found = Problems(name), []
    files = {file: _place(file.relative_to(folder)) for file in sorted(folder.rglob("*.parquet"))}
    if len(sets := sorted({str(where) for part, where in files.values() if part})) > 1:
        raise UserError(f"{name}: holds {len(sets)} sets ({', '.join(sets)}); give the folder of one: hub:FOLDER")
    for file, (part, _) in files.items():
        for n, row in _rows(parquet, file):
            with problems.kept():
                found.append(_utterance(f"{name}: {file.name}: row {n}", part, row, bare))
    problems.told()
    if not found:
        raise UserError(f"{name}: holds no row in a .parquet file; give a set of sounds, such as org/name")
    return found if bare else parted(found, name)


def _rows(parquet: ModuleType, file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        table = parquet.ParquetFile(file)
        n = 0
        for batch in table.iter_batches(64):
            for row in batch.to_pylist():
                yield n, row
                n += 1
    except (OSError, ValueError) as error:  # pyarrow's own errors are of both kinds
        raise UserError(f"{file}: cannot be read as Parquet ({str(error).splitlines()[0]}); fetch it again") from None


def _utterance(where: str, part: str, row: dict[str, Any], bare: bool) -> Utterance:
    sound = next((v for v in row.values() if isinstance(v, dict) and "bytes" in v), None)
    if sound is None or not sound["bytes"]:
        raise UserError(f"{where}: has no sound; its columns are {', '.join(row)}")
    text, label, speaker = (next((row[k] for k in keys if row.get(k) not in (None, "")), None)
                            for keys in (TEXTS, LABELS, SPEAKERS))  # fmt: skip
    if text is None and label is None and not bare:
        raise UserError(f"{where}: says nothing of its sound; one of {', '.join((*TEXTS, *LABELS))} is needed")
    return Utterance(
        where, part, sound["bytes"], text=None if text is None else " ".join(str(text).split()),
        label=None if label is None else str(label), speaker="" if speaker is None else str(speaker),
    )  # fmt: skip


def _place(file: Path) -> tuple[str, Path]:
    """The part that a file's name, or a folder of its path, begins with, "" for none; and in what folder that lies."""
    for here in (file, *file.parents):
        first = here.name.removeprefix("partial-").split("-")[0].split(".")[0]
        if (part := ALSO.get(first, first)) in PARTS:
            return part, here.parent
    return "", file.parent


def _fetched(name: str) -> Path:
    hub = needs("huggingface_hub", f"{name}: a set of the Hub", "hub")
    said = "no such branch"
    for revision in (CONVERTED, None):
        try:
            folder = Path(hub.snapshot_download(name, repo_type="dataset", revision=revision,
                                                allow_patterns=["*.parquet"]))  # fmt: skip
        except Exception as error:  # of the network, of its disk, of a name that is unknown or closed: many kinds
            said = (str(error).strip().splitlines() or [type(error).__name__])[0]
            continue
        if any(folder.rglob("*.parquet")):
            return folder
    raise UserError(
        f"{name}: the Hugging Face Hub did not give it ({said}); give a folder, or try again with a network"
    )
