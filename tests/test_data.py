"""Data: fixed splits, deterministic batches, views, and a plain word for whatever cannot be used."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lamina import data
from lamina.core import UserError
from lamina.data import AddingBatches, Batches, CannotTake, DataSet, Split, check, shard, view
from lamina.data.dataset import digest, stratified
from lamina.data.synthetic import adding, adding_examples

SEQUENCE, FRAME, IMAGE = (SimpleNamespace(name=v, view=v) for v in ("sequence", "frame", "image"))


@pytest.fixture(scope="module")
def digits() -> DataSet:
    return data.load("digits")


def toy(n: int = 6, task: str = "classify", lengths: torch.Tensor | None = None) -> DataSet:
    """Sequences [n,4,3] in three equal parts; row i is of class i % 2, or has the target i."""
    x = torch.arange(n * 12, dtype=torch.float32).reshape(n, 4, 3)
    y = torch.arange(n) % 2 if task == "classify" else torch.arange(n, dtype=torch.float32)[:, None]
    split = Split(x, y, lengths)
    kinds = {"n_classes": 2} if task == "classify" else {"d_target": 1}
    return DataSet("toy", "sequence", task, split, split, split, "made here", **kinds)


# ---- splits


def test_digits_has_three_disjoint_parts_that_never_change(digits: DataSet) -> None:
    assert [len(p) for p in (digits.train, digits.dev, digits.test)] == [1169, 269, 359]
    assert digits.digest == "a48d176eab5a212a"
    assert digits.shape == (1, 8, 8)
    assert (float(digits.train.x.min()), float(digits.train.x.max())) == (0.0, 1.0)
    from sklearn.datasets import load_digits

    y = torch.from_numpy(load_digits().target)
    parts = stratified(y, 0.15, 0.20)
    assert torch.equal(torch.cat(parts).sort().values, torch.arange(1797))  # disjoint, and nothing is lost
    assert torch.equal(digits.test.y, y[parts[2]])


def test_every_class_has_the_same_share_of_each_part(digits: DataSet) -> None:
    whole = torch.bincount(torch.cat([digits.train.y, digits.dev.y, digits.test.y]))
    for part, share in ((digits.dev, 0.15), (digits.test, 0.20)):
        assert (torch.bincount(part.y) - whole * share).abs().max() <= 0.5


def test_a_split_depends_on_the_seed_only() -> None:
    y = torch.arange(60) % 3
    state = torch.get_rng_state()
    first = stratified(y, 0.2, 0.2, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(first, stratified(y, 0.2, 0.2, seed=1), strict=True))
    assert not torch.equal(first[2], stratified(y, 0.2, 0.2, seed=2)[2])


def test_the_digest_sees_every_tensor() -> None:
    base = toy().train
    changed = [
        replace(base, x=base.x + 1e-3),
        replace(base, y=1 - base.y),
        replace(base, lengths=torch.full((6,), 4)),
        replace(base, x=base.x.reshape(6, 3, 4)),
    ]
    assert len({digest(base), *map(digest, changed)}) == 5
    assert digest(base) == digest(replace(base, x=base.x.clone()))


def test_describe_says_what_a_results_file_needs(digits: DataSet) -> None:
    found = digits.describe()
    assert list(found) == ["name", "kind", "task", "train", "dev", "test", "shape", "classes", "source", "digest"]
    assert (found["name"], found["kind"], found["classes"], found["shape"]) == ("digits", "image", 10, [1, 8, 8])


# ---- the adding problem


def test_adding_is_the_sum_of_the_two_marked_values() -> None:
    x, y = adding_examples(500, 11, torch.Generator().manual_seed(3))
    values, marks = x.unbind(-1)
    assert torch.equal((values * marks).sum(1, keepdim=True), y)
    assert torch.equal(marks[:, :5].sum(1), torch.ones(500))
    assert torch.equal(marks[:, 5:].sum(1), torch.ones(500))
    assert set(marks.unique().tolist()) == {0.0, 1.0}
    assert 0 <= float(values.min()) < float(values.max()) < 1


def test_the_constant_answer_1_costs_a_sixth() -> None:
    y = adding().train.y
    assert float((y - 1).square().mean()) == pytest.approx(1 / 6, rel=0.01)
    assert float(y.var()) == pytest.approx(1 / 6, rel=0.01)
    values = adding(frames=50, sizes=(2000, 2, 2)).train.x[..., 0]
    assert float(values.mean()) == pytest.approx(1 / 2, abs=0.005)
    assert float(values.var()) == pytest.approx(1 / 12, rel=0.02)


def test_adding_has_the_length_asked_for_and_one_digest_a_seed() -> None:
    small = adding(frames=20, seed=5, sizes=(30, 10, 10))
    assert small.shape == (20, 2)
    assert small.digest == adding(frames=20, seed=5, sizes=(30, 10, 10)).digest
    assert small.digest != adding(frames=20, seed=6, sizes=(30, 10, 10)).digest
    assert data.load("adding").digest == "1fe0902acb272517"
    with pytest.raises(UserError, match="frames=1; two frames are marked"):
        adding(frames=1)


def test_fresh_adding_batches_depend_on_seed_and_step_only() -> None:
    source = AddingBatches(frames=10, batch_size=8, seed=1)
    first = source(0)
    source(7)
    assert torch.equal(first["x"], AddingBatches(10, 8, 1)(0)["x"])
    assert not torch.equal(first["x"], source(1)["x"])
    assert not torch.equal(first["x"], AddingBatches(10, 8, 2)(0)["x"])
    assert first["x"].shape == (8, 10, 2)
    assert first["y"].shape == (8, 1)


# ---- batches


def test_an_epoch_holds_every_row_once_in_an_order_of_its_own() -> None:
    batches = Batches(toy(12).train, batch_size=4, seed=0)
    epochs = [torch.cat([batches.rows(e * 3 + i) for i in range(3)]) for e in range(3)]
    for epoch in epochs:
        assert torch.equal(epoch.sort().values, torch.arange(12))
    assert len({tuple(e.tolist()) for e in epochs}) == 3


def test_a_batch_depends_on_seed_and_step_whatever_was_asked_before() -> None:
    split = toy(10).train
    one, other = Batches(split, 3, seed=4), Batches(split, 3, seed=4)
    backwards = [other.rows(step) for step in reversed(range(9))]
    assert all(torch.equal(one.rows(s), r) for s, r in zip(range(9), reversed(backwards), strict=True))
    assert any(not torch.equal(one.rows(s), Batches(split, 3, seed=5).rows(s)) for s in range(9))
    batch = one(2)
    assert torch.equal(batch["x"], split.x[one.rows(2)])
    assert torch.equal(batch["y"], split.y[one.rows(2)])


def test_a_short_last_batch_is_left_out_and_a_small_split_is_one_batch() -> None:
    assert Batches(toy(10).train, 4, 0).per_epoch == 2
    small = Batches(toy(6).train, 64, 0)
    assert (small.batch_size, small.per_epoch) == (6, 1)
    with pytest.raises(ValueError, match="at least 1"):
        Batches(toy().train, 0, 0)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_the_shards_of_all_processes_are_the_batch(world: int) -> None:
    batch = Batches(toy(7, lengths=torch.arange(7) % 4 + 1).train, 7, 0)(0)
    parts = [shard(batch, rank, world) for rank in range(world)]
    for key, whole in batch.items():
        assert torch.equal(torch.cat([p[key] for p in parts]), whole)
    sizes = [len(p["x"]) for p in parts]
    assert max(sizes) - min(sizes) <= 1


# ---- checks


def broken(**changes: object) -> DataSet:
    base = toy(lengths=changes.pop("start", None))
    return replace(base, train=replace(base.train, **changes))


NAN = torch.zeros(6, 4, 3)
NAN[2, 1, 0] = float("nan")
INF = torch.zeros(6, 4, 3)
INF[5, 3, 2] = INF[1, 0, 0] = float("inf")

BAD = {
    "toy: train: empty; give it at least one example": broken(x=torch.zeros(0, 4, 3), y=torch.zeros(0).long()),
    "toy: train: one class only (1); add examples of another class": broken(y=torch.ones(6).long()),
    "toy: train: x holds NaN or inf in row 2; remove or repair the rows": broken(x=NAN),
    "toy: train: x holds NaN or inf in row 1 and 1 more; remove or repair the rows": broken(x=INF),
    "toy: train: row 4 has label 2, out of range; labels must be 0..1": broken(y=torch.tensor([0, 1, 0, 1, 2, 0])),
    "toy: train: row 0 has label -1, out of range; labels must be 0..1": broken(y=torch.tensor([-1, 1, 0, 1, 1, 0])),
    "toy: train: 6 examples but 5 targets; give one target an example": broken(y=torch.tensor([0, 1, 0, 1, 1])),
    "toy: train: 6 examples but lengths of shape (5,); give one an example": broken(lengths=torch.ones(5).long()),
    "toy: train: row 3 has length 5; lengths must be 1..4, the frames of x": broken(
        lengths=torch.tensor([1, 4, 2, 5, 1, 1])
    ),
    "toy: train: row 1 has length 0; lengths must be 1..4, the frames of x": broken(
        lengths=torch.tensor([1, 0, 2, 4, 1, 1])
    ),
    "toy: dev: examples of shape (4, 3), in train (4, 2); make them equal": broken(x=torch.zeros(6, 4, 2)),
    "toy: train: y is torch.float32 of shape (6,); classes must be integers, one an example": broken(y=torch.zeros(6)),
    "toy: train: examples of shape (0, 3) hold no number; give them frames": broken(x=torch.zeros(6, 0, 3)),
}


@pytest.mark.parametrize("message", BAD)
def test_data_nobody_can_train_on_is_said_in_one_line(message: str) -> None:
    with pytest.raises(UserError) as error:
        check(BAD[message])
    assert str(error.value) == message


def test_targets_are_checked_too() -> None:
    base = toy(task="regress")
    y = base.dev.y.clone()
    y[3] = float("inf")
    with pytest.raises(UserError, match="toy: dev: y holds NaN or inf in row 3"):
        check(replace(base, dev=replace(base.dev, y=y)))
    with pytest.raises(UserError, match=r"y has shape \(6,\); targets must be \[6,1\]"):
        check(replace(base, train=replace(base.train, y=base.train.y[:, 0])))


def test_padding_may_hold_nan() -> None:
    lengths = torch.tensor([4, 1, 2, 3, 4, 4])
    x = torch.zeros(6, 4, 3)
    x[torch.arange(4) >= lengths[:, None]] = float("nan")
    good = broken(x=x, lengths=lengths)
    assert check(good) is good


# ---- loading


def test_an_unknown_name_gets_the_nearest_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="unknown data set 'digit'; did you mean 'digits'"):
        data.load("digit")


def test_mnist_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.delenv("LAMINA_DATA", raising=False)
    with pytest.raises(UserError, match="LAMINA_DATA is not set; set it to the folder that holds mnist"):
        data.load("mnist")
    monkeypatch.setenv("LAMINA_DATA", str(tmp_path))
    with pytest.raises(UserError, match=r"mnist_train\.npz is not there"):
        data.load("mnist")
    path = tmp_path / "mnist" / "mnist_train.npz"
    path.parent.mkdir()
    path.write_bytes(b"not a zip")
    with pytest.raises(UserError, match="cannot be read"):
        data.load("mnist")
    np.savez(path, x=np.zeros((4, 28, 28), np.uint8))
    with pytest.raises(UserError, match=r"cannot be read .*it must hold x \[N,28,28\] and y"):
        data.load("mnist")


def test_mnist_holds_its_own_parts_out(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    (tmp_path / "mnist").mkdir()
    x = np.random.default_rng(0).integers(0, 256, (600, 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "mnist" / "mnist_train.npz", x=x, y=(np.arange(600) % 10).astype(np.uint8))
    monkeypatch.setenv("LAMINA_DATA", str(tmp_path))
    mnist = data.load("mnist")
    assert [len(p) for p in (mnist.train, mnist.dev, mnist.test)] == [500, 50, 50]
    assert mnist.shape == (1, 28, 28)
    pixels = torch.cat([mnist.train.x, mnist.dev.x, mnist.test.x]).mul(255).round().long()
    assert sorted(pixels.sum((1, 2, 3)).tolist()) == sorted(x.sum((1, 2), dtype=np.int64).tolist())


def test_own_files_are_tables_sequences_or_images(tmp_path) -> None:
    rng, y = np.random.default_rng(0), np.arange(40) % 4
    np.savez(tmp_path / "s.npz", x=rng.random((40, 5, 2)), y=y, lengths=np.arange(40) % 5 + 1)
    sequences = data.load(str(tmp_path / "s.npz"))
    assert (sequences.name, sequences.kind, sequences.task, sequences.n_classes) == ("s", "sequence", "classify", 4)
    assert [len(p) for p in (sequences.train, sequences.dev, sequences.test)] == [24, 8, 8]
    assert sequences.train.lengths is not None
    np.savez(tmp_path / "t.npz", x=rng.random((40, 5)), y=rng.random((40, 3)))
    table = data.load(str(tmp_path / "t.npz"))
    assert (table.kind, table.task, table.d_target, table.n_out) == ("table", "regress", 3, 3)
    np.savez(tmp_path / "i.npz", x=np.full((40, 3, 4, 4), 255, np.uint8), y=y)
    image = data.load(str(tmp_path / "i.npz"))
    assert (image.kind, float(image.train.x.max())) == ("image", 1.0)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((4, 2))}, "holds no y; write it with numpy.savez"),
        ({"x": np.zeros(4), "y": np.zeros(4)}, r"x has shape \(4,\); it must be \[N,D\]"),
        ({"x": np.zeros((4, 2)), "y": np.zeros(3)}, "4 rows of x, 3 of y; they must be equal"),
        (
            {"x": np.zeros((4, 2, 2)), "y": np.zeros(4, int), "lengths": np.ones(3, int)},
            "3 lengths; they must be equal",
        ),
        ({"x": np.zeros((4, 2)), "y": np.zeros(4, int), "lengths": np.ones(4, int)}, "lengths are for sequences"),
        ({"x": np.zeros((4, 2)), "y": np.array(list("abcd"))}, "y is of type <U1; it must hold numbers"),
        ({"x": np.zeros((4, 2)), "y": np.array([{}] * 4)}, "Python objects, which are never unpickled"),
        ({"x": np.zeros((0, 2)), "y": np.zeros(0, int)}, "mine.npz: empty; give it at least one example"),
        ({"x": np.zeros((9, 2)), "y": np.zeros(9, int)}, "one class only"),
    ],
)
def test_own_files_that_cannot_be_used(tmp_path, arrays: dict[str, np.ndarray], message: str) -> None:
    np.savez(tmp_path / "mine.npz", **arrays)
    with pytest.raises(UserError, match=message):
        data.load(str(tmp_path / "mine.npz"))


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(UserError, match=r"nowhere\.npz: no such file"):
        data.load("nowhere.npz")


# ---- views


def test_a_sequence_model_sees_an_images_rows(digits: DataSet) -> None:
    seen = view(digits, SEQUENCE, SimpleNamespace())
    assert (seen.text, seen.frames, seen.d_in) == ("8 rows of 8 as frames", 8, 8)
    mean, deviation = float(digits.train.x.mean()), float(digits.train.x.std())
    frames = seen(digits.test.x[:5])
    assert frames.dense
    assert torch.allclose(frames.values[3, 2], (digits.test.x[3, 0, 2] - mean) / deviation)
    every = seen(digits.train.x).values
    assert float(every.mean()) == pytest.approx(0, abs=1e-5)
    assert float(every.std()) == pytest.approx(1, abs=1e-5)


def test_a_frame_model_sees_the_flattened_example(digits: DataSet) -> None:
    seen = view(digits, FRAME, SimpleNamespace())
    assert (seen.text, seen.frames, seen.d_in) == ("64 values as one frame", 1, 64)
    rows = view(digits, SEQUENCE, SimpleNamespace())(digits.test.x[:3]).values
    assert torch.equal(seen(digits.test.x[:3]).values, rows.reshape(3, 1, 64))
    assert view(toy(), FRAME, SimpleNamespace()).d_in == 12


def test_colour_rows_are_frames_of_all_channels() -> None:
    x = torch.arange(2 * 3 * 2 * 4, dtype=torch.float32).reshape(2, 3, 2, 4)
    split = Split(x, torch.tensor([0, 1]))
    colour = DataSet("colour", "image", "classify", split, split, split, "made here", n_classes=2)
    seen = view(colour, SEQUENCE, SimpleNamespace())
    assert (seen.frames, seen.d_in) == (2, 12)
    frame = seen(x).values[1, 1] * colour.scale[1] + colour.scale[0]
    assert torch.allclose(frame, x[1, :, 1].flatten(), atol=1e-4)


def test_ragged_sequences_keep_their_lengths() -> None:
    lengths = torch.tensor([4, 1, 2, 3, 4, 4])
    ragged = toy(lengths=lengths)
    seen = view(ragged, SEQUENCE, SimpleNamespace())
    assert seen.text == "up to 4 frames of 3"
    assert torch.equal(seen(ragged.train.x, lengths).lengths(), lengths)
    with pytest.raises(CannotTake, match="needs examples of one length; toy's lengths differ"):
        view(ragged, FRAME, SimpleNamespace())


def test_an_image_model_sees_the_size_it_needs(digits: DataSet) -> None:
    lenet = SimpleNamespace(image_shape=(1, 32, 32))
    seen = view(digits, IMAGE, lenet)
    images = seen(digits.test.x[:4])
    assert seen.text == "8x8 resized to 32x32"
    assert images.shape == (4, 1, 32, 32)
    mean, deviation = digits.scale
    small = torch.nn.functional.avg_pool2d(images, 4) * deviation + mean  # smoothed, but the same picture
    assert torch.corrcoef(torch.stack([small[2].flatten(), digits.test.x[2].flatten()]))[0, 1] > 0.9
    assert view(digits, IMAGE, SimpleNamespace(image_shape=(3, 8, 8)))(digits.test.x[:4]).shape == (4, 3, 8, 8)
    assert view(digits, IMAGE, SimpleNamespace(image_shape=(1, 8, 8))).text == "8x8 as it is"
    assert view(digits, IMAGE, SimpleNamespace(image_shape=(1, 4, 4)))(digits.test.x[:4]).shape == (4, 1, 4, 4)


def test_padding_an_image_is_black_all_round(digits: DataSet) -> None:
    seen = view(digits, IMAGE, SimpleNamespace(image_shape=(1, 12, 12)))
    mean, deviation = digits.scale
    pixels = seen(digits.test.x[:4]) * deviation + mean
    assert seen.text == "8x8 padded to 12x12"
    assert torch.allclose(pixels[:, :, 2:10, 2:10], digits.test.x[:4], atol=1e-6)
    pixels[:, :, 2:10, 2:10] = 0
    assert torch.allclose(pixels, torch.zeros_like(pixels), atol=1e-6)


def test_a_structure_that_cannot_take_the_data_says_why() -> None:
    split = Split(torch.zeros(6, 5), torch.arange(6) % 2)
    table = DataSet("iris", "table", "classify", split, split, split, "made here", n_classes=2)
    tokens = SimpleNamespace(n_vocab=50)
    for dataset, entry, model, reason in (
        (adding(sizes=(2, 2, 2)), IMAGE, SimpleNamespace(), "needs images; adding is a sequence of 2-wide frames"),
        (table, SEQUENCE, SimpleNamespace(), "needs frames in order; iris is a table of 5 columns"),
        (toy(), SEQUENCE, tokens, "takes token ids; toy is a sequence of 3-wide frames"),
    ):
        with pytest.raises(CannotTake) as error:
            view(dataset, entry, model)
        assert error.value.reason == reason


def test_a_channel_count_that_does_not_fit() -> None:
    split = Split(torch.rand(4, 3, 8, 8), torch.arange(4) % 2)
    colour = DataSet("colour", "image", "classify", split, split, split, "made here", n_classes=2)
    with pytest.raises(CannotTake, match="needs images of 1 channels; colour has 3"):
        view(colour, IMAGE, SimpleNamespace(image_shape=(1, 32, 32)))
