"""Two gloo processes under `accelerate launch` train like one on the same whole batches."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lamina.core import Serial
from lamina.data import DataSet, Split
from lamina.layers import LSTM, BatchNorm, Linear
from lamina.tasks import make
from lamina.train import History, checkpoint, fit
from train_parts import SEQUENCE, Killed, killed_at


def ragged() -> DataSet:
    """60 sequences [6,3] of lengths 1..6 with NaN in the padding, three classes."""
    random = torch.Generator().manual_seed(1)
    n, frames = 60, 6
    x, lengths = torch.randn(n, frames, 3, generator=random), torch.randint(1, frames + 1, (n,), generator=random)
    x[torch.arange(frames) >= lengths[:, None]] = float("nan")
    split = Split(x, torch.randint(0, 3, (n,), generator=random), lengths)
    return DataSet("toy", "sequence", "classify", split, split, split, "made here", n_classes=3)


def trained(out: Path, stop: int | None = None) -> History:
    """20 steps on batches of 13 rows, which two processes share as 7 and 6, through BatchNorm."""
    torch.manual_seed(0)
    dataset = ragged()
    task = make(dataset, SEQUENCE, Serial(BatchNorm(6), LSTM(6, 6), BatchNorm(6), Linear(6, 6)))
    on_step = None if stop is None else killed_at(stop)
    return fit(
        task,
        dataset,
        steps=20,
        lr=1e-2,
        seed=0,
        batch_size=13,
        eval_every=10,
        out=out,
        checkpoint_every=5,
        on_step=on_step,
    )


def work(folder: Path) -> None:
    """What each of the two processes does: a whole run, and one that is stopped and goes on."""
    histories = {"two": trained(folder / "two")}
    with pytest.raises(Killed):
        trained(folder / "cut", stop=12)
    histories["cut"] = trained(folder / "cut")
    if os.environ["RANK"] == "0":
        (folder / "found.json").write_text(json.dumps({name: h.as_dict() for name, h in histories.items()}))


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> dict[str, History]:
    folder = tmp_path_factory.mktemp("launched")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # on a machine without GPUs --multi_gpu means two processes; --cpu would mean one
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    launch += ["--main_process_port", str(port), __file__, str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": ""}
    with subprocess.Popen(
        launch, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as started:
        try:
            _, errors = started.communicate(timeout=300)
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)  # the launcher and its two processes
            raise
    assert started.returncode == 0, errors[-3000:]
    found = checkpoint.latest(folder / "two" / "checkpoints")
    assert found is not None
    assert found[1]["run"]["processes"] == 2  # they really were two
    return {name: History.of(h) for name, h in json.loads((folder / "found.json").read_text()).items()}


def test_two_processes_give_the_loss_curve_of_one(launched: dict[str, History], tmp_path: Path) -> None:
    one, two = trained(tmp_path), launched["two"]
    assert len(one.loss) == len(two.loss) == 20
    for (_, mine), (_, theirs) in zip(one.loss, two.loss, strict=True):
        assert theirs == pytest.approx(mine, abs=1e-5)
    assert two.dev == one.dev
    assert one.loss[-1][1] < one.loss[0][1]


def test_two_processes_resume_bit_equal(launched: dict[str, History]) -> None:
    assert launched["cut"].loss == launched["two"].loss
    assert launched["cut"].dev == launched["two"].dev


if __name__ == "__main__":
    torch.set_num_threads(1)
    work(Path(sys.argv[1]))
