"""wav2vec 2.0's layers against torch's own, and the contrastive task: masks, codes, distractors, metrics, collapse."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import nn

import lamina
from lamina import Seq, models
from lamina.core import NotStreamable, UserError
from lamina.data import CannotTake
from lamina.layers import ConvPosition, FeatureEncoder, ProductQuantizer, SpanMask, TimeNorm
from lamina.layers.quantizer import perplexity
from lamina.layers.span_mask import spans
from lamina.models.wav2vec2 import Wav2Vec2
from lamina.tasks import Contrastive, make
from lamina.tasks.contrastive import contrasted, distractors
from lamina.train import evaluate, fit
from lamina.train.loop import further
from sound_parts import CODES, SMALL, labelled, unlabelled
from task_parts import ragged
from train_parts import Killed, equal, killed_at

HOW = {"steps": 12, "lr": 3e-3, "seed": 0, "batch_size": 8}


def task_of(**codes: Any) -> Contrastive:
    torch.manual_seed(0)
    row = models.find("wav2vec2")
    return cast(Contrastive, make(unlabelled(), row, models.create("wav2vec2", **SMALL), keys={**CODES, **codes}))


def test_a_norm_over_time_is_group_norm_of_each_row_alone() -> None:
    x = torch.randn(3, 9, 6) * 3 + 1
    ours, theirs = TimeNorm(6), nn.GroupNorm(6, 6)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        nn.init.normal_(one)
        other.data.copy_(one)
    y = ours(Seq.ragged(x, torch.tensor([9, 5, 0])))
    for row, n in enumerate((9, 5)):
        want = theirs(x[row : row + 1, :n].transpose(1, 2)).transpose(1, 2)
        assert torch.allclose(y.values[row : row + 1, :n], want, atol=1e-5)


def test_places_are_told_by_torchs_weight_norm() -> None:
    ours = ConvPosition(8, 6, groups=2)
    theirs = nn.utils.parametrizations.weight_norm(nn.Conv1d(8, 8, 6, padding=3, groups=2), dim=2)
    mine = ours.get_submodule("0.conv")
    theirs.parametrizations.weight.original0.data.copy_(mine.length.data.mul_(1.5))
    theirs.parametrizations.weight.original1.data.copy_(mine.weight)
    theirs.bias.data.copy_(mine.bias.data.normal_())
    x = torch.randn(2, 11, 8)
    want = nn.functional.gelu(theirs(x.transpose(1, 2))[:, :, :-1]).transpose(1, 2)
    assert torch.allclose(ours(Seq.of(x)).values, want, atol=1e-6)


def test_it_says_why_it_does_not_stream_and_which_part() -> None:
    with pytest.raises(NotStreamable, match=r"^0\.0: its mean and deviation over time"):
        models.create("wav2vec2").stream_spec()
    with pytest.raises(NotStreamable, match="attention over the whole input"):
        models.create("wav2vec2", conv_norm="layer", level=False).stream_spec()
    alone = FeatureEncoder((4, 4), (10, 3), (5, 2), norm="layer")
    assert alone.stream_spec().block == 10
    assert (alone.frames(400), alone.frames(19), alone.frames(20)) == (39, 0, 1)


def test_published_sizes_give_a_frame_every_20_ms() -> None:
    with torch.device("meta"):
        base = models.create(
            "wav2vec2", d_model=768, n_layers=12, n_heads=12, conv_channels=[512] * 7, kernel=128,
            conv_kernels=[10, 3, 3, 3, 3, 2, 2], conv_strides=[5, 2, 2, 2, 2, 2, 2],
        )  # fmt: skip
    assert (base.frames(16000), base.frames(400), base.frames(399)) == (49, 1, 0)
    assert sum(p.numel() for p in base.parameters()) == 94_371_712  # transformers.Wav2Vec2Model(Wav2Vec2Config())


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"d_model": 24}, "d_model=24 is not a multiple of groups=16"),
        ({"conv_kernels": [10, 8]}, "4 channels, 2 kernels, 4 strides"),
        ({"d_model": 48, "n_heads": 5}, "d_model=48 is not a multiple of n_heads=5"),
        ({"conv_chanels": [1]}, "did you mean 'conv_channels'?"),
        ({"mask": 1.5}, "mask=1.5"),
    ],
)
def test_a_bad_key_is_one_line(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message.replace("?", r"\?")) as error:
        lamina.create("wav2vec2", **keys)
    assert "\n" not in str(error.value)


def test_about_half_is_hidden_at_the_published_chance() -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([spans(500, 0.065, 10, generator=generator) for _ in range(200)])
    assert 0.46 < float(drawn.float().mean()) < 0.50  # 49 % but for the ends
    assert not spans(9, 0.9, 10).any()
    assert int(spans(20, 0.0, 4, least=1).sum()) == 4
    short = SpanMask(4, 0.0, 3).draw([7, 2, 0], 9, least=1)
    assert short[:, 7:].sum() == 0
    assert short.sum(1).tolist() == [3, 0, 0]


def test_masks_of_a_seed_hang_on_the_length_alone() -> None:
    mask = SpanMask(4, 0.2, 3)
    whole = mask.draw([30, 20], 30, seed=5)
    assert torch.equal(whole[1:, :20], mask.draw([20], 20, seed=5))
    assert not torch.equal(whole[0, :20], whole[1, :20])


def test_in_training_spans_are_the_vector_and_channels_zero() -> None:
    torch.manual_seed(0)
    layer, x = SpanMask(24, 0.1, 3, channels=0.1), torch.randn(2, 40, 24)
    y = layer(Seq.ragged(x, torch.tensor([40, 20]))).values
    dropped = (y == 0).all(1)
    changed = (y != x).where(~dropped[:, None], False).any(-1)
    assert 0 < int(dropped.sum()) < 24
    assert torch.equal(y[changed], torch.where(dropped[:, None], 0, layer.vector).expand_as(y)[changed])
    assert 0.1 < float(changed[0].float().mean()) < 0.6
    assert not changed[1, 20:].any()
    assert torch.equal(layer.eval()(Seq.of(x)).values, x)


def test_codes_are_straight_through() -> None:
    """In training the value is a row of each table and the gradient is the soft choice's, as torch's own has it."""
    torch.manual_seed(0)
    layer, x = ProductQuantizer(6, 8, 2, 5), torch.randn(7, 6, requires_grad=True)
    layer.temperature = 0.7
    torch.manual_seed(3)
    choice = layer.choose(x, noisy=True)
    for group in range(2):
        rows = layer.table[group][choice.codes[:, group]]
        assert torch.allclose(choice.values[:, 4 * group : 4 * group + 4], rows, atol=1e-6)
    torch.manual_seed(3)
    logits = layer.logits(x).unflatten(-1, (2, 5))
    hard = nn.functional.gumbel_softmax(logits, tau=0.7, hard=True)
    want = torch.einsum("agv,gvk->agk", hard, layer.table).flatten(1)
    assert torch.allclose(choice.values, want, atol=1e-6)
    seen = torch.randn(7, 8)
    for one, other in zip(*(torch.autograd.grad((v * seen).sum(), [x, layer.table, layer.logits.weight])
                            for v in (choice.values, want)), strict=True):  # fmt: skip
        assert torch.allclose(one, other, atol=1e-5)


def test_perplexity_counts_the_rows_in_use() -> None:
    assert float(perplexity(torch.full((2, 8), 1 / 8))) == pytest.approx(16)
    assert float(perplexity(torch.eye(8)[[0, 3]])) == pytest.approx(2)
    assert float(perplexity(torch.tensor([[0.5, 0.5, 0, 0], [1.0, 0, 0, 0]]))) == pytest.approx(3)


def test_a_share_that_underflows_leaves_the_gradient_of_diversity_finite() -> None:
    logits = torch.tensor([[0.0, 1.0, -200.0]], requires_grad=True)
    shares = logits.softmax(-1)
    assert shares[0, 2] == 0
    perplexity(shares).backward()
    alone = torch.tensor([[0.0, 1.0]], dtype=torch.float64, requires_grad=True)
    torch.special.entr(alone.softmax(-1)).sum().exp().backward()
    assert logits.grad is not None
    assert alone.grad is not None
    assert logits.grad[0].tolist() == pytest.approx([*alone.grad[0].tolist(), 0.0], abs=1e-6)


def test_distractors_are_others_and_all_of_them_come() -> None:
    drawn = distractors(5, 400, torch.Generator().manual_seed(0))
    for row in range(5):
        assert sorted(set(drawn[row].tolist())) == [i for i in range(5) if i != row]
        assert int(drawn[row].bincount().max()) < 150


def test_contrast_is_the_cosine_and_leaves_out_equal_codes() -> None:
    torch.manual_seed(1)
    c, q, codes = torch.randn(4, 3), torch.randn(4, 3), torch.tensor([[0, 1], [2, 1], [0, 1], [0, 0]])
    others = torch.tensor([[1, 2], [0, 3], [3, 0], [2, 1]])
    found = contrasted(c, q, codes, others, 0.1)
    for t in range(4):
        assert float(found[t, 0]) == pytest.approx(float(torch.cosine_similarity(c[t], q[t], 0)) / 0.1, rel=1e-4)
        for k, o in enumerate(others[t].tolist()):
            want = float(torch.cosine_similarity(c[t], q[o], 0)) / 0.1
            same = codes[o].tolist() == codes[t].tolist()
            assert float(found[t, 1 + k]) == (-torch.inf if same else pytest.approx(want, rel=1e-4))


def test_nothing_of_a_masked_frame_reaches_the_context() -> None:
    net = task_of().backbone.eval()
    assert isinstance(net, Wav2Vec2)
    z = torch.randn(1, 30, 8)
    hidden = torch.zeros(1, 30, dtype=torch.bool)
    hidden[0, 10:16] = True
    other = z.clone()
    other[0, 10:16] = torch.randn(6, 8)
    with torch.no_grad():
        assert torch.equal(net.relate(Seq.of(z), hidden).values, net.relate(Seq.of(other), hidden).values)


def test_scores_do_not_hang_on_the_batch() -> None:
    task, part = task_of().eval(), unlabelled().dev
    whole = further(task, part, 64)
    assert evaluate(task, part, 64) == pytest.approx(evaluate(task, part, 1), abs=1e-6)
    assert whole == pytest.approx(further(task, part, 5), rel=1e-5)
    assert 1 / 11 <= whole["chance"] < 0.5
    assert whole["code_share"] == pytest.approx(whole["code_perplexity"] / 16)


def test_it_learns_to_tell_codes_apart() -> None:
    """Tones of a pitch each 100 samples: what is masked is told from the frames beside it, well above chance."""
    task = task_of(distractors=20)
    history = fit(task, unlabelled(64), steps=150, lr=5e-3, seed=0, batch_size=16)
    more = further(task, unlabelled().dev)
    assert history.dev[-1][1] > 2 * more["chance"]
    assert history.loss[-1][1] < history.loss[0][1] - 0.2
    assert task.contrast.quantizer.temperature == pytest.approx(0.5, rel=0.02)


def test_a_run_goes_on_bit_equal(tmp_path: Any) -> None:
    straight, broken = task_of(), task_of()
    whole = fit(straight, unlabelled(), **HOW)
    with pytest.raises(Killed):
        fit(broken, unlabelled(), out=tmp_path, checkpoint_every=4, on_step=killed_at(10), **HOW)
    again = task_of()
    assert fit(again, unlabelled(), out=tmp_path, checkpoint_every=4, **HOW).loss == whole.loss
    assert equal(straight, again)


def test_a_collapse_of_the_codes_is_said() -> None:
    task, long = task_of(), [(step, 1.0) for step in range(1, 300)]
    assert task.watch(long, []) is None
    task.used.copy_(torch.eye(8)[[0, 1]])
    task.used[0, 1] = 0.05
    assert task.watch(long[:50], []) is None
    said = task.watch(long, [])
    assert said is not None
    assert said.startswith("the codes collapse")
    assert not any(c.isdigit() for c in said.replace("diversity=1", ""))


def test_sounds_too_short_to_mask_and_other_structures_are_refused() -> None:
    row = models.find("wav2vec2")
    with pytest.raises(CannotTake, match=r"gives 19 frames for tones's shortest sound of 4.. samples, of which a span"):
        make(unlabelled(), row, models.create("wav2vec2", **{**SMALL, "span": 40}), keys=CODES)
    with pytest.raises(CannotTake, match="needs features; told is a sound as its samples"):
        make(labelled(), models.find("lstm"), models.create("lstm"))
    with pytest.raises(UserError, match="did you mean 'n_codes'"):
        make(unlabelled(), row, models.create("wav2vec2", **SMALL), keys={"n_code": 3})


def test_features_are_refused() -> None:
    with pytest.raises(CannotTake, match="hears samples; ragged is a sequence of 3-wide frames"):
        make(ragged(), models.find("wav2vec2"), models.create("wav2vec2"))
