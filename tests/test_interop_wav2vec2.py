"""wav2vec 2.0's checkpoints, written by transformers with random weights, give transformers' numbers, and go back."""

import json

import pytest
import torch
import transformers

import lamina
from interop_parts import assert_near, stirred
from lamina import Seq, UserError, interop

pytestmark = pytest.mark.interop
LENGTHS = (300, 171, 90)
FORMS = {"base": {"feat_extract_norm": "group", "do_stable_layer_norm": False},
         "large": {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True},
         "base, norms before": {"feat_extract_norm": "group", "do_stable_layer_norm": True},
         "layer norms, no dropout": {"feat_extract_norm": "layer", "hidden_dropout": 0.0}}  # fmt: skip

CONFORMER = {"position_embeddings_type": "relative", "hidden_act": "swish", "conv_depthwise_kernel_size": 5}


def _peer(head, kind="", **keys):
    sizes = {"vocab_size": 12, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
             "intermediate_size": 40, "conv_dim": [16, 20, 24], "conv_kernel": [10, 3, 2], "conv_stride": [5, 2, 2],
             "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 4, "num_codevectors_per_group": 6,
             "codevector_dim": 12, "proj_codevector_dim": 14}  # fmt: skip
    made = getattr(transformers, f"Wav2Vec2{kind}Config")(**sizes | keys)
    return stirred(getattr(transformers, f"Wav2Vec2{kind}{head}")(made))


def _sounds():
    """A batch of three lengths, NaN behind their ends, each at mean 0 and variance 1 as the processor makes it."""
    x = torch.full((len(LENGTHS), max(LENGTHS), 1), float("nan"))
    for row, n in enumerate(LENGTHS):
        sound = torch.randn(n)
        x[row, :n, 0] = (sound - sound.mean()) / sound.std()
    return Seq.ragged(x, torch.tensor(LENGTHS))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("head", ["Model", "ForCTC", "ForPreTraining"])
@torch.no_grad()
def test_same_numbers_there_and_back(head, form, tmp_path):
    peer, x = _peer(head, **FORMS[form]), _sounds()
    peer.save_pretrained(tmp_path / "theirs")
    model = lamina.load(tmp_path / "theirs")
    with lamina.taps(model, interop.blocks(model)) as seen:
        y = model(x)
    for row, n in enumerate(LENGTHS):  # each alone: only so do their group norms see no padding
        theirs = peer(x.values[row : row + 1, :n, 0], output_hidden_states=True)
        frames = model.frames(n)
        assert int(y.mask[row].sum()) == frames == theirs.hidden_states[-1].shape[1]
        for ours, want in zip(seen.values(), theirs.hidden_states[1 : len(seen)], strict=False):
            assert_near(ours.values[row : row + 1, :frames], want)
        if head == "ForCTC":
            assert_near(y.values[row : row + 1, :frames], theirs.logits)
        elif head == "Model":
            assert_near(y.values[row : row + 1, :frames], theirs.last_hidden_state)
    interop.export(model, tmp_path / "ours")
    again = type(peer).from_pretrained(tmp_path / "ours").eval()
    for name, want in peer.state_dict().items():
        assert torch.equal(again.state_dict()[name], want), name


@pytest.mark.parametrize("form", ["base", "large"])
@torch.no_grad()
def test_both_sides_of_the_contrast(form, tmp_path):
    peer, x = _peer("ForPreTraining", **FORMS[form]), _sounds()
    peer.save_pretrained(tmp_path)
    model = lamina.load(tmp_path)
    hidden = torch.zeros(len(LENGTHS), model.frames(max(LENGTHS)), dtype=torch.bool)
    hidden[:, 1:4] = True
    ours = model.contrasted(x, hidden)
    for row, n in enumerate(LENGTHS):
        frames = model.frames(n)
        theirs = peer(x.values[row : row + 1, :n, 0], mask_time_indices=hidden[row : row + 1, :frames])
        for got, want in zip(ours, (theirs.projected_states, theirs.projected_quantized_states), strict=True):
            assert_near(got[row : row + 1, :frames], want)


@pytest.mark.parametrize("head", ["Model", "ForCTC", "ForPreTraining"])
@torch.no_grad()
def test_conformer_blocks_with_relative_positions(head, tmp_path):
    """What nothing uses, the convolution for places and the count of batches, does not go back."""
    peer, x = _peer(head, "Conformer", **CONFORMER), _sounds()
    for i, norm in enumerate(module for module in peer.modules() if isinstance(module, torch.nn.BatchNorm1d)):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 1.0 + i)
    peer.save_pretrained(tmp_path / "theirs")
    model = lamina.load(tmp_path / "theirs")
    y = model(x)
    for row, n in enumerate(LENGTHS):
        sound, frames = x.values[row : row + 1, :n, 0], model.frames(n)
        body = getattr(peer, "wav2vec2_conformer", peer)
        want = peer(sound).logits if head == "ForCTC" else body(sound).last_hidden_state
        assert_near(y.values[row : row + 1, :frames], want)
    interop.export(model, tmp_path / "ours")
    again = type(peer).from_pretrained(tmp_path / "ours").eval()
    for name, want in peer.state_dict().items():
        if "pos_conv_embed" not in name and "num_batches_tracked" not in name:
            assert torch.equal(again.state_dict()[name], want), name


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ({"position_embeddings_type": "rotary"}, "only 'relative'; its rotary ones turn the frames"),
        ({"hidden_act": "gelu"}, "hidden_act='gelu' is not built here, only 'swish'"),
    ],
)
def test_other_conformers_say_so(what, message, tmp_path):
    _peer("Model", "Conformer", **CONFORMER | what).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=message):
        lamina.load(tmp_path)


@torch.no_grad()
def test_the_loss_is_theirs(tmp_path):
    """The same masks and distractors: the contrastive loss of each, and the loss of idle codes."""
    from transformers.models.wav2vec2.modeling_wav2vec2 import _sample_negative_indices

    from lamina.layers.quantizer import perplexity
    from lamina.tasks.contrastive import contrasted

    peer, sound = _peer("ForPreTraining", num_negatives=5), _sounds().values[:1]
    peer.save_pretrained(tmp_path)
    model = lamina.load(tmp_path)
    frames = model.frames(LENGTHS[0])
    hidden = torch.arange(frames)[None] % 5 < 2
    others = torch.tensor(_sample_negative_indices((1, frames), 5, hidden.numpy())).long()
    theirs = peer(sound[..., 0], mask_time_indices=hidden, sampled_negative_indices=others)
    (_, net), x = list(model.children_in_order())[1], Seq.of(sound)
    z = net.hear(x)
    choice = model.contrast.quantizer.choose(z.values[hidden], noisy=False)
    context = model.contrast.context(net.relate(z, hidden).values[hidden])
    place = torch.full((frames,), -1)
    place[hidden[0]] = torch.arange(int(hidden.sum()))
    logits = contrasted(context, model.contrast.code(choice.values), choice.codes, place[others[0][hidden[0]]], 0.1)
    loss = torch.nn.functional.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64), reduction="sum")
    assert float(loss) == pytest.approx(float(theirs.contrastive_loss), rel=1e-5)
    chosen = torch.nn.functional.one_hot(choice.codes, 6).double().mean(0)
    assert float(perplexity(chosen)) == pytest.approx(float(theirs.codevector_perplexity), rel=1e-5)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ({"hidden_act": "relu"}, "hidden_act='relu' is not built here, only 'gelu'"),
        ({"add_adapter": True}, "add_adapter=True is not built here"),
        ({"num_hidden_layers": 1}, "nothing of ours takes 'wav2vec2.encoder.layers.1."),
        ({"conv_stride": [5, 2]}, "3 channels, 3 kernels, 2 strides"),
    ],
)
def test_what_is_broken_says_so(what, message, tmp_path):
    _peer("ForCTC").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | what))
    with pytest.raises(UserError) as error:
        lamina.load(tmp_path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
