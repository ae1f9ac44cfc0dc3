"""Checkpoints: resumed runs are bit-equal, and whatever does not fit gets a message."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
import torch

from lamina.core import Pointwise, Seq, UserError
from lamina.layers import GRU
from lamina.train import History, checkpoint, fit
from train_parts import QUICK, Killed, equal, killed_at, parity, small


@pytest.mark.parametrize("at", [2, 7, 11])
def test_a_resumed_run_is_bit_equal(tmp_path: Path, at: int) -> None:
    dataset = parity()
    whole, again = small(dataset), small(dataset)
    one = fit(whole, dataset, **QUICK, eval_every=4, out=tmp_path / "whole", checkpoint_every=3)
    with pytest.raises(Killed):
        fit(again, dataset, **QUICK, eval_every=4, out=tmp_path / "cut", checkpoint_every=3, on_step=killed_at(at))
    fresh = small(dataset, seed=9)  # other first weights: all must come from the checkpoint, if there is one
    fresh = fresh if at > 3 else small(dataset)
    seen = []
    two = fit(fresh, dataset, **QUICK, eval_every=4, out=tmp_path / "cut", on_step=lambda s, _: seen.append(s))
    assert seen[0] == (at - 1) // 3 * 3 + 1
    assert one.loss == two.loss
    assert one.dev == two.dev
    assert equal(whole, fresh)
    kept = [checkpoint.latest(tmp_path / name / "checkpoints")[0] for name in ("whole", "cut")]
    assert kept[0].keys() == kept[1].keys()
    assert all(torch.equal(kept[0][k], kept[1][k]) for k in kept[0])  # moments and random state too
    assert {k.split(".")[0] for k in kept[0]} == {"model", "optim", "rng"}


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    dataset = parity()
    task, again = small(dataset), small(dataset, seed=3)
    history = fit(task, dataset, **QUICK, out=tmp_path)
    second = fit(again, dataset, **QUICK, out=tmp_path, on_step=killed_at(1))
    assert second == history
    assert equal(task, again)


def test_a_run_of_a_gpu_goes_on_without_one(tmp_path: Path) -> None:
    dataset = parity()
    whole, again = small(dataset), small(dataset)
    fit(whole, dataset, **QUICK, out=tmp_path / "whole")
    with pytest.raises(Killed):
        fit(again, dataset, **QUICK, out=tmp_path / "cut", checkpoint_every=3, on_step=killed_at(7))
    folder = tmp_path / "cut" / "checkpoints"
    tensors, facts = checkpoint.latest(folder)
    tensors["rng.0.cuda"] = torch.zeros(16, dtype=torch.uint8)  # as torch.cuda.get_rng_state gives it
    checkpoint.write(folder, facts["step"], tensors, {key: facts[key] for key in ("run", "history", "ended")})
    fresh = small(dataset)
    fit(fresh, dataset, **QUICK, out=tmp_path / "cut")
    assert equal(whole, fresh)


def test_checkpoints_are_safetensors_and_json_and_only_the_newest_stays(tmp_path: Path) -> None:
    dataset = parity()
    fit(small(dataset), dataset, **QUICK, out=tmp_path, checkpoint_every=5)
    files = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file())
    assert files == ["checkpoints/00000012/checkpoint.json", "checkpoints/00000012/state.safetensors"]
    facts = json.loads((tmp_path / files[0]).read_text())
    assert (facts["schema"], facts["step"], facts["run"]["data"]) == (1, 12, "sums")
    assert History.of(facts["history"]).loss[0][0] == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"lr": 0.02}, "lr 0.01, here 0.02"), ({"seed": 4}, "seed 0, here 4"), ({"steps": 13}, "steps 12, here 13")],
)
def test_the_folder_of_another_run_is_refused(tmp_path: Path, changes: dict[str, float], message: str) -> None:
    dataset = parity()
    fit(small(dataset), dataset, **QUICK, out=tmp_path)
    with pytest.raises(UserError, match=rf"holds another run \({message}\); choose another folder"):
        fit(small(dataset), dataset, **(QUICK | changes), out=tmp_path)


def test_other_data_or_another_structure_is_another_run(tmp_path: Path) -> None:
    dataset = parity()
    fit(small(dataset), dataset, **QUICK, out=tmp_path)
    with pytest.raises(UserError, match=r"holds another run \(digest"):
        fit(small(dataset), parity(48), **QUICK, out=tmp_path)
    with pytest.raises(UserError, match=r"holds another run \(model Serial, here GRU\)"):
        fit(small(dataset, build=lambda: GRU(6, 6)), dataset, **QUICK, out=tmp_path)


def test_damaged_and_foreign_checkpoints_get_a_message(tmp_path: Path) -> None:
    dataset = parity()
    fit(small(dataset), dataset, **QUICK, out=tmp_path)
    folder = tmp_path / "checkpoints" / "00000012"
    facts = json.loads((folder / "checkpoint.json").read_text())
    (folder / "checkpoint.json").write_text(json.dumps(facts | {"schema": 99}))
    with pytest.raises(UserError, match="schema 99 is newer than this lamina reads"):
        fit(small(dataset), dataset, **QUICK, out=tmp_path)
    (folder / "checkpoint.json").write_text("{")
    with pytest.raises(UserError, match=r"checkpoint\.json: cannot be read .*; remove it and start again"):
        fit(small(dataset), dataset, **QUICK, out=tmp_path)
    (folder / "checkpoint.json").write_text(json.dumps(facts))
    content = (folder / "state.safetensors").read_bytes()
    (folder / "state.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"state\.safetensors: cannot be read"):
        fit(small(dataset), dataset, **QUICK, out=tmp_path)


def test_a_full_disk_leaves_the_last_checkpoint_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = parity()
    real, calls = checkpoint.save_file, []

    def full(tensors: dict[str, torch.Tensor], path: Path) -> None:
        calls.append(path)
        if len(calls) == 2:
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        real(tensors, path)

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(UserError, match="the disk is full; free some space or choose another folder"):
        fit(small(dataset), dataset, **QUICK, out=tmp_path, checkpoint_every=4)
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["00000004"]
    whole, rest = small(dataset), small(dataset)
    fit(whole, dataset, **QUICK)
    fit(rest, dataset, **QUICK, out=tmp_path)
    assert equal(whole, rest)


def test_tied_weights_are_kept(tmp_path: Path) -> None:
    class Tied(Pointwise):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.d_in = self.d_out = width
            self.one, self.two = torch.nn.Linear(width, width), torch.nn.Linear(width, width)
            self.two.weight = self.one.weight

        def forward(self, x: Seq, memory: Seq | None = None) -> Seq:
            return x.with_values(self.two(self.one(x.zeroed()).tanh()))

    dataset = parity()
    whole, cut, rest = (small(dataset, build=lambda: Tied(6)) for _ in range(3))
    fit(whole, dataset, **QUICK)
    with pytest.raises(Killed):
        fit(cut, dataset, **QUICK, out=tmp_path, checkpoint_every=3, on_step=killed_at(8))
    fit(rest, dataset, **QUICK, out=tmp_path)
    assert equal(whole, rest)


def test_a_diverged_run_stays_diverged(tmp_path: Path) -> None:
    dataset = parity()
    settings = QUICK | {"lr": 1e30}
    task, again = small(dataset), small(dataset, seed=3)
    history = fit(task, dataset, **settings, out=tmp_path)
    assert history.diverged
    text = (tmp_path / "checkpoints" / f"{len(history.loss):08d}" / "checkpoint.json").read_text()
    assert "NaN" not in text
    second = fit(again, dataset, **settings, out=tmp_path, on_step=killed_at(1))
    assert second.diverged
    assert second.loss[:-1] == history.loss[:-1]
    assert equal(task, again)
