"""CTC: labels learnt from frames that nobody has aligned with them (Graves, Fernandez, Gomez & Schmidhuber 2006)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby, product
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lamina import data, ops
from lamina.core import Seq
from lamina.data import NOT_ASKED, DataSet, Split
from lamina.data.batch import in_order
from lamina.data.speech import BLANK
from lamina.reproduce.claim import Claim, Figure, Plan, Tell, Tier, digits3
from lamina.reproduce.learn import Learned, learn
from lamina.reproduce.picture import Axis, Dots, draw, ink
from lamina.speech.decode import PrefixBeam
from lamina.tasks import Batch, Ctc, Task
from lamina.tasks.ctc import best_path, errors
from lamina.train import Order

__all__ = ["CLAIM", "Uniform", "UniformOrder", "beyond_enumeration", "uniform"]

SIZES = ((1, 6), (2, 5), (3, 4), (4, 4), (5, 3), (6, 3), (8, 2))  # frames and classes whose every path is written out
BEAM = 32
READINGS = ("best_path", "prefix")


def plan(tier: Tier) -> Plan:
    figures = (
        Figure("behind", "label errors of CTC - the fewer of framewise training's", "%", below=0.0),
        Figure("prefix_behind", "label errors of prefix search - those of the best path", "%",
               "TIMIT 30.51 and 31.47 % (p)", most=0.0),
        Figure("loss_error", "loss beside every path written out, the largest difference", "nats", most=1e-10),
        Figure("prefix", "label errors, CTC, prefix search", "%", "TIMIT 30.51 % (p)"),
        # 100 % is what silence scores
        Figure("best_path", "label errors, CTC, best path", "%", "TIMIT 31.47 % (p)", below=100.0),
        Figure("framewise_best_path", "label errors, uniformly cut frames, best path", "%", "TIMIT, HMM: 35.21 % (p)"),
        Figure("framewise_prefix", "label errors, uniformly cut frames, prefix search", "%"),
        Figure("likelier", "strings to which prefix search gives a likelier reading, CTC", "%"),
    )  # fmt: skip
    keys = {"n_heads": 4, "left": 64, "n_layers": 2, "kernel": 15}
    shared = (
        "A causal Conformer, trained twice from the same first weights on the same batches: by CTC, and by the "
        "cross-entropy of each frame where every string's frames are shared out among its digits evenly (a blank in "
        f"between where two are equal). Prefix search: {BEAM} hypotheses. Label errors: edits / reference digits, of "
        "the test part, looked at once."
    )
    if tier == "ci":
        settings = {
            "data": "espeak_strings:snr=10", "keys": {**keys, "d_model": 32, "d_ff": 128}, "steps": 200,
            "batch_size": 16, "rates": [3e-3],
        }  # fmt: skip
        note = "One seed, one rate: 3 to 7 digits said by eSpeak NG, noise 10 dB below, unheard voices. "
        return Plan((0,), settings, figures, note + shared)
    settings = {
        "data": "digit_strings:snr=10", "keys": {**keys, "d_model": 64, "d_ff": 256}, "steps": 800, "batch_size": 16,
        "rates": [1e-3, 3e-3],
    }  # fmt: skip
    note = (
        "3 to 7 recordings of the Free Spoken Digit Dataset joined, white noise 10 dB below; the recordings judged are "
        "in no other part, their four speakers are. The better of two rates by the dev part, for each training. "
    )
    return Plan((0, 1, 2), settings, figures, note + shared)


def trial(settings: dict[str, Any], seed: int, folder: Path, tell: Tell) -> dict[str, Any]:
    """One seed: the loss, then both trainings, the test part of each looked at once."""
    dataset = data.load(settings["data"])
    keys = {**settings["keys"], "warm_start": 0}  # all paths from the first step, as the paper has it
    one = Order(
        "conformer", keys, settings["data"], steps=settings["steps"], seed=seed,
        batch_size=settings["batch_size"],
    )  # fmt: skip
    orders = {"ctc": one, "framewise": UniformOrder(one)}
    found = {
        name: learn(cast(Order, order), settings["rates"], dataset, folder / name, tell)
        for name, order in orders.items()
    }
    figures: dict[str, float | None] = {
        "loss_error": beyond_enumeration(seed),
        **_read(found["ctc"], dataset.test),
        **{f"framewise_{key}": number for key, number in _read(found["framewise"], dataset.test).items()},
    }
    rivals = [figures[f"framewise_{name}"] for name in READINGS]
    figures["behind"] = _less(figures["best_path"], None if None in rivals else min(rivals))
    figures["prefix_behind"] = _less(figures["prefix"], figures["best_path"])
    learned = {
        name: one.facts() | {"loss": [[step, loss] for step, loss in one.history.loss if step % 5 == 0]}
        for name, one in found.items()
    }
    return {"figures": figures, "learned": learned, "data": dataset.describe()}


@dataclass(frozen=True)
class UniformOrder:
    """An order whose network learns from uniformly cut frames: what `learn` asks of an order."""

    order: Order
    lr: float = 0.0

    @property
    def steps(self) -> int:
        return self.order.steps

    @property
    def seed(self) -> int:
        return self.order.seed

    @property
    def batch_size(self) -> int:
        return self.order.batch_size

    def build(self, dataset: DataSet) -> Task:
        return Uniform(cast(Ctc, replace(self.order, lr=self.lr).build(dataset)))


class Uniform(Task):
    """A CTC task that learns by the cross-entropy of every frame, its labels by `uniform`; scored as CTC is."""

    def __init__(self, task: Ctc) -> None:
        nn.Module.__init__(self)  # Task's own would make a second stem and head
        self.view, self.n_out, self.metric = task.view, task.n_out, task.metric
        self.stem, self.backbone, self.head = task.stem, task.backbone, task.head
        self._alone = (task,)  # in a tuple: its modules are not registered once more

    def pool(self, frames: Seq, batch: Batch) -> Tensor:
        return self._alone[0].pool(frames, batch)

    def criterion(self, prediction: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        targets = uniform(batch["y"], self.lengths(batch), prediction.shape[1])
        loss = F.cross_entropy(prediction.flatten(0, 1), targets.flatten(), ignore_index=NOT_ASKED, reduction="sum")
        return loss, (targets != NOT_ASKED).sum()

    def each(self, prediction: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        return self._alone[0].each(prediction, batch)

    def lengths(self, batch: Batch) -> Tensor:
        return self._alone[0].lengths(batch)


def uniform(y: Tensor, lengths: Tensor, frames: int) -> Tensor:
    """Rows of labels [N,U] shared out evenly among their frames: [N,frames], NOT_ASKED behind the end of a row.

    Frame t of n has label floor(t U / n); the last one of a label has the blank where the next label is the same.
    """
    n_labels = (y != NOT_ASKED).sum(1, keepdim=True)
    t, n = torch.arange(frames, device=y.device)[None], lengths[:, None]
    at, then = (((t + k) * n_labels // n).clamp(max=n_labels - 1) for k in (0, 1))
    now, coming = y.gather(1, at), y.gather(1, then)
    same = (at != then) & (now == coming)
    return now.masked_fill(same, BLANK).masked_fill(t >= n, NOT_ASKED)


@torch.no_grad()
def _read(found: Learned, split: Split) -> dict[str, float | None]:
    """Label errors of the best path and of prefix search, %, and how often the second is the likelier, %."""
    if found.history.diverged:
        return dict.fromkeys((*READINGS, "likelier"))
    task = cast(Ctc | Uniform, found.task.eval())
    beam = PrefixBeam(task.n_out, BEAM)
    wrong, labels, likelier = dict.fromkeys(READINGS, 0), 0, 0
    for reference, log_p in (one for rows in in_order(split, 512) for one in _rows(task, split.rows(rows))):
        path = best_path(log_p[None], torch.tensor([len(log_p)]))[0]
        prefix = [one.label for one in beam.whole(log_p)]
        for name, reading in zip(READINGS, (path, prefix), strict=True):
            wrong[name] += errors(reference, reading)
        labels += len(reference)
        likelier += _nats(log_p, prefix) < _nats(log_p, path) - 1e-9
    return {name: 100 * n / labels for name, n in wrong.items()} | {"likelier": 100 * likelier / len(split)}


def _rows(task: Ctc | Uniform, batch: Batch) -> Iterator[tuple[list[int], Tensor]]:
    """Of every row the reference and the log-probabilities [T,n_out], in float64."""
    log_p = task(batch).double().log_softmax(-1)
    for y, n, row in zip(batch["y"], task.lengths(batch).tolist(), log_p, strict=True):
        yield y[y != NOT_ASKED].tolist(), row[:n]


def _nats(log_p: Tensor, labels: list[int]) -> float:
    """-ln p(labels), over all paths."""
    y = torch.tensor([labels], dtype=torch.int64).reshape(1, -1)
    return float(ops.ctc_loss(log_p[None], y, torch.tensor([len(log_p)]), torch.tensor([len(labels)])))


def beyond_enumeration(seed: int) -> float:
    """The largest difference of the loss, by its definition and by PyTorch's kernel, from every path written out, for
    every labelling of SIZES in float64.
    """
    generator, most = torch.Generator().manual_seed(seed), 0.0
    for frames, n_out in SIZES:
        x = 2 * torch.randn(frames, n_out, generator=generator, dtype=torch.float64)
        paths = torch.tensor(list(product(range(n_out), repeat=frames)))
        p = x.softmax(-1)[torch.arange(frames), paths].prod(1)
        truth: dict[tuple[int, ...], float] = {}
        for path, one in zip(paths.tolist(), p.tolist(), strict=True):
            labels = tuple(label for label, _ in groupby(path) if label != BLANK)
            truth[labels] = truth.get(labels, 0.0) + one
        n, longest = len(truth), max(map(len, truth))
        y = torch.tensor([[*labels, *[NOT_ASKED] * (longest - len(labels))] for labels in truth])
        wanted = -torch.tensor(list(truth.values()), dtype=torch.float64).log()
        counts = torch.tensor([len(labels) for labels in truth])
        for impl in ("ref", "aten"):
            loss = ops.ctc_loss(x.expand(n, -1, -1), y, torch.full((n,), frames), counts, impl=impl)
            most = max(most, float((loss - wanted).abs().max()))
    return most


def _less(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def picture(record: dict[str, Any], trials: list[dict[str, Any]]) -> str:
    found = {f["key"]: f["ours"] for f in record["figures"]}
    rows = []
    for key, words, colour in (
        ("framewise_best_path", "even cut, best path", "attention"),
        ("framewise_prefix", "even cut, prefix", "attention"), ("best_path", "CTC, best path", "recurrence"),
        ("prefix", "CTC, prefix", "recurrence"),
    ):  # fmt: skip
        scores = [s for t in trials if (s := t["figures"][key]) is not None]
        rows.append((words, scores, ink(colour)))
    seeds = "One seed" if len(trials) == 1 else f"{len(trials)} seeds, a dot each; the bar is their range"
    answer = (
        f"A network trained by CTC makes {digits3(found['best_path'])} errors in 100 spoken digits, trained on evenly "
        f"cut frames {digits3(found['framewise_best_path'])}"
    )
    note = (
        f"{seeds}, the same network, steps and batches; labels too many are errors too. Prefix search: "
        f"{digits3(found['prefix'])} %. The loss differs from every path written out by "
        f"{digits3(max(t['figures']['loss_error'] for t in trials))} nats at most."
    )
    return draw(answer, note, [Dots(rows, Axis("label errors of the test part, %", low=0))])


CLAIM = Claim(
    name="ctc",
    structure="conformer",
    source="Graves, Fernandez, Gomez & Schmidhuber 2006 (ICML)",
    says="A network can learn labels from frames that nobody has aligned with them: sum over all alignments.",
    paper="TIMIT label error 30.51 % by prefix search, 31.47 % by best path, 35.21 % for an HMM (p)",
    plan=plan,
    trial=trial,
    picture=picture,
)
