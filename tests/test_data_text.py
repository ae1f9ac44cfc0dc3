"""Text: which files of the library are read, whole files held out, windows, and one's own .txt."""

from __future__ import annotations

import importlib
import sysconfig
from collections import Counter
from pathlib import Path

import pytest
import torch

from lamina import data
from lamina.core import UserError
from lamina.data import batches
from lamina.data.text import LENGTH, library_files, part_of
from lamina.layers import GRU
from lamina.models import find
from lamina.tasks import make

texts = importlib.import_module("lamina.data.text")  # whose function has the module's name


@pytest.fixture(scope="module")
def library():
    return data.load("text")


def test_the_library_is_what_every_python_has() -> None:
    files = library_files()
    assert files == sorted(set(files))
    assert {"argparse.py", "asyncio/events.py", "json/decoder.py", "pydoc_data/topics.py", "this.py"} <= set(files)
    folders = {part for name in files for part in Path(name).parts}
    assert not folders & {"test", "idlelib", "site-packages", "encodings", "__pycache__", "lib2to3"}
    assert not any("_sysconfigdata" in name for name in files)  # differs from build to build
    assert sum((Path(sysconfig.get_path("stdlib")) / name).stat().st_size for name in files) > 4_000_000


def test_a_file_is_held_out_by_its_name_alone() -> None:
    assert [part_of(n) for n in ("argparse.py", "ast.py", "this.py")] == ["test", "dev", "train"]
    shares = Counter(part_of(f"module{i}.py") for i in range(4000))
    assert all(150 < shares[part] < 350 for part in ("dev", "test"))


def test_the_library_s_parts_share_no_window(library) -> None:
    seen = [{bytes(row) for row in split.x.tolist()} for split in (library.train, library.dev, library.test)]
    assert [len(rows) for rows in seen[1:]] == [256, 1024]
    assert not seen[0] & seen[1]
    assert not seen[1] & seen[2]
    assert len(seen[0] & seen[2]) <= 2  # licences are quoted in several files
    assert (library.task, library.n_vocab, library.shape) == ("lm", 256, (LENGTH,))
    assert "source files" in library.source
    assert "bytes; whole files held out" in library.source
    assert library.digest == data.load("text").digest != data.load("text:length=64").digest


def test_targets_are_the_next_bytes(library) -> None:
    for split in (library.train, library.dev):
        assert torch.equal(split.x[:, 1:], split.y[:, :-1])
    assert torch.equal(library.train.y[:-1, -1], library.train.x[1:, 0])


def test_batches_are_windows_at_random_places(library) -> None:
    source = batches(library, 8, seed=0)
    batch = source(5)
    assert batch["x"].shape == batch["y"].shape == (8, LENGTH)
    assert torch.equal(batch["x"][:, 1:], batch["y"][:, :-1])
    assert torch.equal(batches(library, 8, seed=0)(5)["x"], batch["x"])
    assert not torch.equal(source(6)["x"], batch["x"])
    assert not torch.equal(batches(library, 8, seed=1)(5)["x"], batch["x"])
    text = bytes(library.train.x.flatten().tolist())
    assert all(bytes(row.tolist()) in text for row in batch["x"])


def test_every_byte_of_a_short_text_is_reached(tmp_path) -> None:
    path = tmp_path / "mine.txt"
    path.write_bytes(bytes(range(256)) * 24)
    mine = data.load(str(path))
    windows = batches(mine, 64, seed=0)
    seen = torch.cat([windows(step)["y"][:, -1] for step in range(40)]).unique()
    assert len(seen) == 256
    assert len(windows.text) == len(mine.train) * LENGTH + 1
    asked = make(mine, find("gru"), GRU(4, 4)).asked(windows(0))
    assert asked.all()  # the byte 255 too


def test_one_s_own_text_is_split_in_order(tmp_path) -> None:
    path = tmp_path / "mine.txt"
    whole = bytes(i * i % 251 for i in range(60_000))
    path.write_bytes(whole)
    mine = data.load(str(path))
    assert (mine.name, mine.task) == ("mine", "lm")
    assert bytes(mine.train.x[0].tolist()) == whole[:LENGTH]
    assert bytes(mine.dev.x[0].tolist()) == whole[54_000 : 54_000 + LENGTH]
    assert bytes(mine.test.x[0].tolist()) == whole[57_000 : 57_000 + LENGTH]
    assert mine.source == "mine.txt: 60,000 bytes; the last tenth held out"


def test_a_text_that_cannot_be_used_gets_one_line(tmp_path, monkeypatch) -> None:
    (tmp_path / "empty.txt").write_bytes(b"")
    (tmp_path / "short.txt").write_text("too short to learn from")
    (tmp_path / "folder.txt").mkdir()
    for name, message in (
        ("empty.txt", r"empty\.txt: empty; give it some text"),
        ("short.txt", r"short\.txt: 23 bytes; at least 5,140 are needed"),
        ("folder.txt", r"folder\.txt: is a folder; give one \.txt file"),
        ("none.txt", r"none\.txt: no such file; give a data set's name or a \.txt file"),
    ):
        with pytest.raises(UserError, match=message) as error:
            data.load(str(tmp_path / name))
        assert "\n" not in str(error.value)
    (tmp_path / "least.txt").write_bytes(b"x" * 20 * (LENGTH + 1))
    assert len(data.load(str(tmp_path / "least.txt")).test) == 1
    monkeypatch.setattr(texts.sysconfig, "get_path", lambda name: str(tmp_path))
    texts._library.cache_clear()
    with pytest.raises(UserError, match=r"holds no sources of the library; give a \.txt file of your own"):
        data.load("text")
    texts._library.cache_clear()
    monkeypatch.undo()
    with pytest.raises(UserError, match="text: length=0; it must be at least 1"):
        data.load("text:length=0")
