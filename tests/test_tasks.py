"""Tasks: losses and scores that do not depend on padding or batching, around every structure alike."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from lamina import data, models
from lamina.core import Layer, Seq, Serial, run_steps
from lamina.data import CannotTake, DataSet
from lamina.layers import GRU, BatchNorm, Linear, Subsample
from lamina.tasks import Classify, Regress, Task, make
from lamina.train import evaluate
from task_parts import ragged

SEQUENCE = SimpleNamespace(name="mine", view="sequence")


def small(dataset: DataSet, backbone: Layer | None = None) -> Task:
    torch.manual_seed(1)
    return make(dataset, SEQUENCE, backbone or GRU(6, 5))


@pytest.mark.parametrize("task", ["classify", "regress"])
@pytest.mark.parametrize("subsampled", [False, True])
def test_a_ragged_batch_costs_what_its_rows_cost_alone(task: str, subsampled: bool) -> None:
    dataset = ragged(task)
    model = small(dataset, Serial(Subsample(6, 8, 2), GRU(8, 5)) if subsampled else None)
    whole = dataset.train.rows(slice(None))
    loss, count = model.loss(whole)
    alone = [0.0, 0.0]
    for row, length in enumerate(dataset.train.lengths):
        batch = {"x": whole["x"][row : row + 1, :length], "y": whole["y"][row : row + 1]}
        part, n = model.loss(batch)
        alone = [alone[0] + part.item(), alone[1] + n.item()]
    assert loss.item() == pytest.approx(alone[0], rel=1e-5)
    assert float(count) == alone[1] == (9 if task == "classify" else 18)


@pytest.mark.parametrize("task", ["classify", "regress"])
def test_gradients_of_a_ragged_batch_are_finite(task: str) -> None:
    dataset = ragged(task)
    model = small(dataset, Serial(BatchNorm(6), GRU(6, 5)))
    loss, count = model.loss(dataset.train.rows(slice(None)))
    (loss / count).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_classification_is_cross_entropy_over_the_mean_of_real_frames() -> None:
    dataset = ragged("classify")
    model = small(dataset)
    batch = dataset.train.rows(slice(None))
    frames = model.backbone(model.stem(model.view(batch["x"], batch["lengths"]))).values
    mean = torch.stack([frames[i, :n].mean(0) for i, n in enumerate(batch["lengths"])])
    logits = mean @ model.head.weight.T + model.head.bias
    assert torch.allclose(model(batch), logits, atol=1e-6)
    wanted = -(logits.log_softmax(-1)[torch.arange(9), batch["y"]]).sum()
    assert model.loss(batch)[0].item() == pytest.approx(wanted.item(), rel=1e-5)
    found, count = model.judge(logits, batch)
    assert (int(found), int(count)) == (int((logits.argmax(-1) == batch["y"]).sum()), 9)


def test_regression_is_squared_error_from_the_last_real_frame() -> None:
    dataset = ragged("regress")
    model = small(dataset)
    batch = dataset.train.rows(slice(None))
    frames = model.backbone(model.stem(model.view(batch["x"], batch["lengths"]))).values
    last = torch.stack([frames[i, n - 1] for i, n in enumerate(batch["lengths"])])
    answer = last @ model.head.weight.T + model.head.bias
    assert torch.allclose(model(batch), answer, atol=1e-6)
    assert model.loss(batch)[0].item() == pytest.approx((answer - batch["y"]).square().sum().item(), rel=1e-5)
    assert evaluate(model, dataset.train) == pytest.approx((answer - batch["y"]).square().mean().item(), rel=1e-5)


def test_dense_and_ragged_roads_pool_alike() -> None:
    values = torch.randn(3, 5, 4)
    for kind, dataset in ((Classify, ragged("classify")), (Regress, ragged("regress"))):
        task = small(dataset)
        assert isinstance(task, kind)
        full = Seq.ragged(values, torch.tensor([5, 5, 5]))
        assert torch.allclose(task.pool(Seq.of(values), {}), task.pool(full, {}), atol=1e-6)
        none = task.pool(Seq.ragged(values, torch.tensor([0, 5, 5])), {})
        assert torch.equal(none[0], torch.zeros(4))


@pytest.mark.parametrize("batch_size", [1, 4, 9, 512])
def test_a_score_does_not_depend_on_the_batch_size(batch_size: int) -> None:
    for task in ("classify", "regress"):
        dataset = ragged(task)
        model = small(dataset).train()
        assert evaluate(model, dataset.test, batch_size) == pytest.approx(evaluate(model, dataset.test), rel=1e-5)
        assert model.training  # as it was


def test_metrics_say_which_way_is_better() -> None:
    assert (Classify.metric.name, Classify.metric.better) == ("accuracy", "higher")
    assert (Regress.metric.name, Regress.metric.better) == ("mse", "lower")


@pytest.mark.parametrize("name", ["lstm", "mlp", "rnn", "transformer"])
def test_stem_and_head_are_the_same_for_every_structure(name: str) -> None:
    digits = data.load("digits")
    backbone = models.create(name)
    task = make(digits, models.find(name), backbone)
    assert isinstance(task.stem, Linear)
    assert (task.stem.d_in, task.stem.d_out) == (64 if name == "mlp" else 8, backbone.d_in)
    assert (task.head.in_features, task.head.out_features) == (backbone.d_out, 10)
    assert task(digits.test.rows(slice(0, 3))).shape == (3, 10)


def test_an_image_model_brings_its_own_head() -> None:
    digits = data.load("digits")
    task = make(digits, models.find("lenet"), models.create("lenet"))
    assert task.stem is None
    assert task.head is None
    assert sum(p.numel() for p in task.parameters()) == 61706
    assert task(digits.test.rows(slice(0, 3))).shape == (3, 10)
    with pytest.raises(CannotTake, match="lenet gives 7 outputs, digits needs 10; create it with n_classes=10"):
        make(digits, models.find("lenet"), models.create("lenet", n_classes=7))
    with pytest.raises(CannotTake, match="needs images; adding is a sequence of 2-wide frames"):
        make(data.load("adding"), models.find("lenet"), models.create("lenet", n_classes=1))
    with pytest.raises(TypeError, match="no frames"):
        task.encoder()


def test_the_encoder_streams_with_the_tasks_own_weights() -> None:
    digits = data.load("digits")
    task = make(digits, models.find("lstm"), models.create("lstm", d_model=12)).eval()
    encoder = task.encoder()
    frames = task.view(digits.test.x[:2])
    whole = encoder(frames)
    assert torch.allclose(run_steps(encoder, frames).values, whole.values, atol=1e-6)
    assert torch.allclose(task.head(task.pool(whole, {})), task(digits.test.rows(slice(0, 2))), atol=1e-6)
    assert {id(p) for p in encoder.parameters()} < {id(p) for p in task.parameters()}
