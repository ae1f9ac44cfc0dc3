"""Pretraining of structures that hear frames: their data, what is hidden, and fine-tuning from it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile
import torch
from safetensors.torch import load_file

from lamina import data, models, tasks
from lamina.cli import _run
from lamina.core import Seq, UserError
from lamina.data import DataSet, Split
from lamina.data.features import Features
from lamina.data.ragged import Ragged
from lamina.train import Order, Start, evaluate_run, fit, load_run
from sound_parts import CODES, tones, write

RATE = 8000
SETS = [f"--set={key}={value}" for key, value in {"d_model": 16, **CODES}.items()]
QUICK = ["--steps", "3", "--batch-size", "8"]


def cycles(n: int, seed: int) -> Split:
    """Frames of a cycle of six vectors, each three frames long, from anywhere in it, with a little noise."""
    g = torch.Generator().manual_seed(seed)
    alphabet = torch.randn(6, 8, generator=torch.Generator().manual_seed(7))
    rows = []
    for _ in range(n):
        length, first = (int(torch.randint(a, b, (), generator=g)) for a, b in ((30, 50), (0, 18)))
        rows.append(alphabet[(first + torch.arange(length)) // 3 % 6] + 0.05 * torch.randn(length, 8, generator=g))
    x = Ragged(rows, 50)
    return Split(x, torch.zeros(n, dtype=torch.int64), x.lengths)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def cyclic() -> DataSet:
    parts = [cycles(n, seed) for seed, n in enumerate((96, 32, 32))]
    return DataSet("cycles", "audio", "contrastive", *parts, "made here", n_classes=1, rate=RATE)


def task_of(dataset: DataSet, model: str, **keys: object) -> tasks.ContrastiveFrames:
    torch.manual_seed(0)
    built = models.create(model, d_model=16, **keys)
    found = tasks.make(dataset, models.find(model), built, keys=dict(CODES))
    assert isinstance(found, tasks.ContrastiveFrames)
    return found


@pytest.mark.parametrize("model", ["lstm", "attention_lstm", "conformer", "mamba"])
def test_what_is_masked_is_not_heard(cyclic: DataSet, model: str) -> None:
    """Other features at the masked frames leave all frames as they were, and other features elsewhere do not."""
    task = task_of(cyclic, model).eval()
    z = task.hear(cyclic.dev.rows(slice(4)))
    hidden = task.mask.draw(z.lengths().tolist(), z.mask.shape[1], least=2, seed=1)
    noise = torch.randn_like(z.values)
    for where, same in ((hidden, True), (~hidden, False)):
        other = z.with_values(torch.where(where[..., None], noise, z.values))
        before, after = (task.relate(one, hidden).values[hidden] for one in (z, other))
        assert torch.equal(before, after) == same


def test_a_causal_structure_learns_to_tell_what_comes(cyclic: DataSet) -> None:
    task = task_of(cyclic, "lstm", n_layers=1)
    fit(task, cyclic, steps=250, lr=1e-2, seed=0, batch_size=16)
    with torch.no_grad():
        told = task.eval()(cyclic.test.rows(slice(None)))
    right = float((told.logits.argmax(-1) == 0).float().mean())
    chance = float((1 / told.logits.isfinite().sum(-1)).mean())
    assert right > 3 * chance
    assert len(told.codes.unique(dim=0)) >= 6


def test_frames_are_those_of_the_pieces(tmp_path: Path) -> None:
    """2.2 s in two pieces of 1.1 s."""
    sounds = tones(20, 0, 17_600, 17_600)
    for i, sound in enumerate(sounds):
        soundfile.write(tmp_path / f"{i:02}.wav", sound.numpy(), RATE, subtype="FLOAT")
    found = data.load(f"unlabelled_frames:{tmp_path},seconds=2")
    pieces = Features(RATE)(piece for sound in sounds for piece in sound.tensor_split(2))
    assert (found.kind, found.task, found.rate, found.features) == ("audio", "contrastive", RATE, Features(RATE))
    assert [len(part) for part in (found.train, found.dev, found.test)] == [32, 4, 4]
    for part in (found.train, found.dev, found.test):
        assert all(any(torch.equal(part.x.row(i), piece) for piece in pieces) for i in range(len(part)))
    assert "1 min in pieces, at 8000 Hz" in found.source
    assert data.where(f"unlabelled_frames:{tmp_path}") == f"unlabelled_frames:{tmp_path.resolve()},seconds=8"


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pretrained")
    sounds = write(folder / "sounds", 30, RATE)
    assert _run(["pretrain", "attention_lstm", str(sounds), "--out", str(folder / "run"), *QUICK, *SETS]) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, lines = tmp_path_factory.mktemp("told"), []
    for i, sound in enumerate(tones(12, 0, 4000, 7000)):
        soundfile.write(folder / f"{i}.wav", sound.numpy(), RATE)
        part = "train" if i < 8 else "dev" if i < 10 else "test"
        lines.append({"audio": f"{i}.wav", "split": part, "text": "AB"[i % 2] + "BA"[i % 3 % 2]})
    (folder / "told.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    return folder / "told.jsonl"


def test_a_run_that_goes_on_to_fine_tuning(pretrained: Path, manifest: Path, tmp_path: Path) -> None:
    """Stem and structure are taken over; the codes and the vector at masked frames stay behind."""
    scores = evaluate_run(load_run(pretrained), "dev")
    assert set(scores) >= {"score", "chance", "code_perplexity", "code_share"}
    around = load_file(pretrained / "task.safetensors")
    assert {"masked.vector", "contrast.context.weight"} <= around.keys()
    begun = Start.read(pretrained)
    keys = begun.agreed("attention_lstm", {"dropout": 0.1})
    task = Order("attention_lstm", keys, str(manifest), start=str(pretrained)).build(data.load(str(manifest)))
    for name, weight in begun.weights.items():
        assert torch.equal(task.state_dict()[name], weight)
    assert "stem.linear.weight" in begun.weights
    out = tmp_path / "run"
    command = ["train", "attention_lstm", str(manifest), "--from", str(pretrained), "--out", str(out), *QUICK]
    assert _run(command) == 0
    assert load_run(out).facts["order"]["start"] == str(pretrained)


def test_other_features_and_structures_are_refused(pretrained: Path, manifest: Path) -> None:
    begun = Start.read(pretrained)
    with pytest.raises(UserError, match="holds a attention_lstm, not a lstm"):
        begun.agreed("lstm", {})
    name = f"speech:{manifest},norm=0.99"
    with pytest.raises(UserError, match=r"heard other features, not those with norm=0\.99"):
        Order("attention_lstm", begun.keys, name, start=str(pretrained)).build(data.load(name))


def test_who_hears_no_sounds_or_fewer_frames_is_refused(cyclic: DataSet, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["pretrain", "lenet", "espeak_strings"]) == 2
    assert "lenet: hears no sounds; pretrain wav2vec2, or a structure of frames" in capsys.readouterr().err
    with pytest.raises(UserError, match="asks at each frame, but it gives 32 frames for 64"):
        task_of(cyclic, "conformer", subsample=2)
    with pytest.raises(UserError, match="of which a span of 60 is to be masked"):
        tasks.make(cyclic, models.find("lstm"), models.create("lstm", d_model=8), keys={"span": 60})


def test_rows_do_not_hang_on_each_other(cyclic: DataSet) -> None:
    """While a part is scored, a row alone is told as in its batch."""
    task = task_of(cyclic, "lstm").eval()
    with torch.no_grad():
        whole = task(cyclic.dev.rows(slice(6)))
        alone = [task(cyclic.dev.rows(slice(i, i + 1))).logits for i in range(6)]
    assert isinstance(task.hear(cyclic.dev.rows(slice(2))), Seq)
    torch.testing.assert_close(whole.logits, torch.cat(alone), rtol=0, atol=1e-4)
