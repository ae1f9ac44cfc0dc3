"""Folders of sounds: Kaldi's tables, and sounds with a text of the same name beside each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lamina.core.config import UserError
from lamina.data.audio import SOUNDS
from lamina.data.lines import read_text
from lamina.data.manifest import ALSO, PARTS, Utterance, parted
from lamina.data.problems import Problems

__all__ = ["read_folder"]

WAVS, SEGMENTS, TEXT, SPEAKERS = "wav.scp", "segments", "text", "utt2spk"  # Kaldi's names
Reader = Callable[[Path, str, bool, Problems], list[Utterance]]


def read_folder(folder: str | Path, *, bare: bool = False) -> list[Utterance]:
    """The utterances of a folder, in one of two forms:

    Kaldi's (Povey et al. 2011): wav.scp and text, perhaps segments and utt2spk. A command in wav.scp (a line that ends
    in "|") is not run but refused.
    Sounds, each beside a .txt of the same name that holds what is said; the folder of a sound is its speaker.

    Folders of these forms called train, dev and test inside are the parts; without them some utterances are held out,
    as `parted` says. bare: to be heard alone, whatever texts they have. Raises UserError that names every file and
    line that is wrong.
    """
    folder, problems = Path(folder), Problems(str(folder))
    parts = {word: ALSO.get(word, word) for word in (*PARTS, *ALSO)}
    inside = {folder / word: part for word, part in parts.items() if (folder / word).is_dir()}
    found: list[Utterance] = []
    for where, part in (inside or {folder: ""}).items():
        reader: Reader = _kaldi if (where / WAVS).is_file() else _beside
        found += reader(where, part, bare, problems)
    problems.told()
    if not found:
        raise UserError(f"{folder}: holds no {WAVS} and no sound ({', '.join(SOUNDS)}); give the folder that does")
    return found if bare else parted(found, str(folder))


def _beside(folder: Path, part: str, bare: bool, problems: Problems) -> list[Utterance]:
    found = []
    for audio in sorted(path for path in folder.rglob("*") if path.suffix.lower() in SOUNDS):
        text = None
        with problems.kept():
            written = audio.with_suffix(".txt")
            if written.is_file() and not bare:
                text = " ".join(read_text(written, "what is said in a sound").split())
            if not text and not bare:
                what = "is empty" if written.is_file() else "is not there"
                raise UserError(f"{written}: {what}; write what is said in {audio.name}, or take the sound away")
        speaker = audio.parent.relative_to(folder).as_posix()
        found.append(Utterance(str(audio), part, audio, text=text or None, speaker=speaker))
    return found


def _kaldi(folder: Path, part: str, bare: bool, problems: Problems) -> list[Utterance]:
    wavs, told = {}, _table(folder / WAVS, problems)
    for key, line in told.items():
        with problems.kept():
            if line.endswith("|"):
                raise UserError(f"{folder / WAVS}: {key} is a command, which is not run ({line[:40]}...); "
                                "write its sound to a file and give the path")  # fmt: skip
            wavs[key] = Path(line)  # as Kaldi reads it: from the current folder; else from its own
            if not wavs[key].is_file() and (folder / line).is_file():
                wavs[key] = folder / line
    texts = _table(folder / TEXT, problems) if (folder / TEXT).is_file() or not bare else {}
    speakers = _table(folder / SPEAKERS, problems) if (folder / SPEAKERS).is_file() else {}
    cut = (folder / SEGMENTS).is_file()
    spans = _table(folder / SEGMENTS, problems) if cut else {key: key for key in told}
    for key in sorted(texts.keys() - spans.keys()):
        with problems.kept():
            raise UserError(
                f"{folder / TEXT}: {key} has no sound; add it to {SEGMENTS if cut else WAVS}, or take it away"
            )
    found = []
    for key, span in spans.items():
        with problems.kept():
            start, seconds, wav = _span(folder, key, span) if cut else (0.0, None, key)
            if wav not in told:
                raise UserError(f"{folder / SEGMENTS}: {key} is of {wav}, which {WAVS} does not give; add it there")
            if wav not in wavs:
                continue  # refused above
            if not texts.get(key) and not bare:
                raise UserError(f"{folder / TEXT}: says nothing for {key}; add the line, or leave the utterance out")
            found.append(Utterance(
                f"{folder}: {key}", part, wavs[wav], text=texts.get(key), speaker=speakers.get(key, ""), start=start,
                seconds=seconds,
            ))  # fmt: skip
    return found


def _span(folder: Path, key: str, line: str) -> tuple[float, float, str]:
    """Where an utterance begins, how long it is, and of which recording: "rec1 0.5 2.25"."""
    try:
        wav, begin, end = line.split()
        start, seconds = float(begin), float(end) - float(begin)
    except ValueError:
        raise UserError(f"{folder / SEGMENTS}: {key} {line!r} is not RECORDING START END; write seconds") from None
    if not (start >= 0 and 0 < seconds < float("inf")):
        raise UserError(f"{folder / SEGMENTS}: {key} is from {begin} to {end} s; it must end behind its beginning")
    return start, seconds, wav


def _table(path: Path, problems: Problems) -> dict[str, str]:
    """The lines of a file by their first word."""
    found: dict[str, str] = {}
    for n, line in enumerate(read_text(path, "a table of Kaldi").splitlines(), 1):
        key, _, rest = " ".join(line.split()).partition(" ")
        with problems.kept():
            if key in found:
                raise UserError(f"{path}: line {n}: {key} stands there twice; give it once")
            if key:
                found[key] = rest
    return found
