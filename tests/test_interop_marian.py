"""Marian's encoder-decoder of transformers with random weights: the same numbers, the same targets, and back."""

import json

import pytest
import sentencepiece
import torch
from transformers import MarianConfig, MarianMTModel, MarianTokenizer

import lamina
from interop_parts import MASK, assert_near, stirred
from lamina import Seq, interop, run_steps
from lamina.interop.marian_words import MarianWords
from lamina.tasks import search
from lamina.train.translator import Translator

pytestmark = pytest.mark.interop


def _peer(**keys):
    sizes = {
        "vocab_size": 50, "decoder_vocab_size": 50, "d_model": 32, "encoder_layers": 3, "decoder_layers": 2,
        "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48,
        "max_position_embeddings": 64, "pad_token_id": 49, "decoder_start_token_id": 49, "eos_token_id": 0,
        "activation_function": "swish", "scale_embedding": True, "forced_eos_token_id": None, "init_std": 0.3,
    }  # fmt: skip
    torch.manual_seed(0)
    peer = stirred(MarianMTModel(MarianConfig(**sizes | keys)))
    with torch.no_grad():
        peer.final_logits_bias.normal_(std=0.1)
        for side in (peer.model.encoder, peer.model.decoder):  # no weights: they were stirred too
            side.embed_positions.weight.copy_(side.embed_positions.create_weight())
    return peer


@pytest.mark.parametrize("keys", [{}, {"scale_embedding": False, "dropout": 0.0, "activation_function": "relu"}])
@torch.no_grad()
def test_same_numbers_as_a_whole_and_as_a_stream(keys, tmp_path):
    peer = _peer(**keys)
    peer.save_pretrained(tmp_path / "theirs")
    model = lamina.load(tmp_path / "theirs")
    source, target = torch.randint(1, 49, (4, 20)), torch.randint(1, 49, (4, 9))
    theirs = peer(source, attention_mask=MASK.long(), decoder_input_ids=target, output_hidden_states=True)
    paths = interop.blocks(model)
    with lamina.taps(model, paths) as seen:
        y = model(Seq.of(target), Seq(source, MASK))
    assert_near(y.values, theirs.logits)
    for path, hidden in zip(paths, theirs.encoder_hidden_states[1:], strict=True):
        assert_near(seen[path].values, hidden, MASK)
    stem, backbone, _ = model.parts()
    memory = backbone.encoder(stem(Seq(source, MASK)))
    steps = run_steps(backbone.decoder, stem(Seq.of(target)), memory=memory)
    assert_near(steps.values, theirs.decoder_hidden_states[-1])
    interop.export(model, tmp_path / "ours")
    again = MarianMTModel.from_pretrained(tmp_path / "ours")
    for a, b in zip(peer.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(("beams", "penalty"), [(1, 1.0), (4, 1.0), (3, 0.6)])
@torch.no_grad()
def test_same_targets(beams, penalty, tmp_path):
    peer = _peer()
    peer.final_logits_bias[0, 0] += 1.5  # ends of all lengths
    peer.save_pretrained(tmp_path)
    model, source = lamina.load(tmp_path), torch.randint(1, 49, (4, 20))
    theirs = peer.generate(
        source, attention_mask=MASK.long(), num_beams=beams, length_penalty=penalty, max_new_tokens=24, do_sample=False,
        early_stopping=False,
    )  # fmt: skip
    ours = search(model.teller(), Seq(source, MASK), beams=beams, most=24, length_penalty=penalty)
    lengths = set()
    for row, words in zip(theirs.tolist(), ours, strict=True):
        want = row[1:]
        want = want[: want.index(0)] if 0 in want else want
        assert words == want
        lengths.add(len(words))
    assert len(lengths) > 1


def _words(folder):
    """SentencePiece models of a few sentences, and the numbers of their pieces: unknown, end and pad among them."""
    texts = [f"the {a} {v} the {b}." for a in ("cat", "dog", "hen") for b in ("cow", "fox") for v in ("sees", "bites")]
    for side in ("source", "target"):
        model = str(folder / side)
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts), model_prefix=model, vocab_size=20, bos_id=-1, eos_id=-1, minloglevel=2
        )
        (folder / f"{side}.model").rename(folder / f"{side}.spm")
    known = sentencepiece.SentencePieceProcessor(model_file=str(folder / "source.spm"))
    pieces = ["</s>", "<unk>", *sorted({known.id_to_piece(i) for i in range(len(known))} - {"<unk>"})]
    (folder / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate([*pieces, "<pad>"])}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"source_lang": "a", "target_lang": "b"}))
    return texts, len(pieces) + 1


def test_words_are_theirs_and_a_text_goes_all_the_way(tmp_path):
    texts, n = _words(tmp_path)
    theirs, ours = MarianTokenizer.from_pretrained(tmp_path), MarianWords(tmp_path)
    assert [[*row, 0] for row in ours.pieces(texts)] == theirs(texts)["input_ids"]
    numbers = ours.pieces(texts)[0]
    assert ours.spelled(numbers) == theirs.decode(numbers, skip_special_tokens=True) == texts[0]
    pad = n - 1
    peer = _peer(vocab_size=n, decoder_vocab_size=n, pad_token_id=pad, decoder_start_token_id=pad)
    peer.save_pretrained(tmp_path)
    told = Translator.read(tmp_path).translate(texts[:3], beams=2, length_penalty=1.0)
    given = theirs(texts[:3], return_tensors="pt", padding=True)
    most = 2 * given["input_ids"].shape[1] + 10
    want = peer.generate(**given, num_beams=2, length_penalty=1.0, max_new_tokens=most, early_stopping=False)
    assert told == [ours.spelled([w for w in row[1:].tolist() if w not in (0, pad)]) for row in want]
    (tmp_path / "source.spm").unlink()
    with pytest.raises(lamina.UserError, match=r"holds no source\.spm, so its words cannot be read"):
        Translator.read(tmp_path)
