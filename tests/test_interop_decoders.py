"""Decoders of transformers with random weights: the same numbers on ragged batches, as a stream too, and back."""

import json

import pytest
import tokenizers
import torch
import transformers

import lamina
from interop_parts import MASK, assert_near, stirred
from lamina import Seq, UserError, cli, interop, run_steps

pytestmark = pytest.mark.interop
FAMILIES = {
    "Mamba": {"hidden_size": 32, "num_hidden_layers": 3, "state_size": 8, "expand": 2, "conv_kernel": 3},
    "GPT2": {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 40, "bos_token_id": 1, "eos_token_id": 2},
    "GPTNeoX": {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48,
                "max_position_embeddings": 40, "use_parallel_residual": False, "rotary_pct": 1.0, "bos_token_id": 1,
                "eos_token_id": 2},
    "Llama": {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
              "intermediate_size": 48, "max_position_embeddings": 40},
}  # fmt: skip
LM = {
    "GPTNeoX": "GPTNeoXForCausalLM",
    "Mamba": "MambaForCausalLM",
    "GPT2": "GPT2LMHeadModel",
    "Llama": "LlamaForCausalLM",
}


def _peer(family, head, **keys):
    config = getattr(transformers, f"{family}Config")(vocab_size=50, **FAMILIES[family] | keys)
    return stirred(getattr(transformers, LM[family] if head else f"{family}Model")(config))


CASES = [(family, head) for family in FAMILIES for head in ("plain", "tied", "own")]
CASES.remove(("GPTNeoX", "tied"))  # its head is its own


@pytest.mark.parametrize(("family", "head"), CASES)
@torch.no_grad()
def test_same_numbers_as_a_whole_and_as_a_stream(family, head, tmp_path):
    peer = _peer(family, head != "plain", tie_word_embeddings=head == "tied")
    peer.save_pretrained(tmp_path / "theirs")
    model, tokens = lamina.load(tmp_path / "theirs"), torch.randint(4, 50, (4, 20))
    theirs = peer(tokens, attention_mask=MASK.long(), output_hidden_states=True)
    want = theirs.last_hidden_state if head == "plain" else theirs.logits
    x, paths = Seq(tokens, MASK), interop.blocks(model)
    with lamina.taps(model, paths) as seen:
        y = model(x)
    assert_near(y.values, want, MASK)
    # theirs end with the last block behind the norm; Mamba's begin with the first block, the others' before it
    blocks = theirs.hidden_states[:-1] if family == "Mamba" else theirs.hidden_states[1:-1]
    for path, hidden in zip(paths, blocks, strict=family == "Mamba"):
        assert_near(seen[path].values, hidden, MASK)
    assert_near(model.encode(x).values, theirs.hidden_states[-1], MASK)
    assert_near(run_steps(model, x).values, want, MASK)
    interop.export(model, tmp_path / "ours")
    again = type(peer).from_pretrained(tmp_path / "ours")
    for a, b in zip(peer.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_trained_on_it_gives_their_gradient(tmp_path):
    """Of the embedding, which is the head too."""
    peer = _peer("Llama", True, tie_word_embeddings=True)
    peer.save_pretrained(tmp_path)
    model, tokens = lamina.load(tmp_path), torch.randint(4, 50, (4, 20))
    for logits in (model(Seq(tokens, MASK)).values, peer(tokens, attention_mask=MASK.long()).logits):
        torch.nn.functional.cross_entropy(logits[MASK], tokens[MASK]).backward()
    assert_near(dict(model.named_parameters())["0.table.weight"].grad, peer.model.embed_tokens.weight.grad)


def test_heads_that_were_one_cannot_go_back_apart(tmp_path):
    _peer("Llama", True).save_pretrained(tmp_path)
    model = lamina.load(tmp_path)
    attention = dict(model.named_modules())["1.0.1.1"]
    with torch.no_grad():
        attention.qkv.weight[32:] += torch.randn(64, 32)  # keys and values, two of ours for one of theirs
    with pytest.raises(UserError, match=r"k_proj\.weight: its heads were one and are trained apart now"):
        interop.export(model, tmp_path / "back")
    assert not (tmp_path / "back" / "model.safetensors").exists()
    model = lamina.load(tmp_path)
    with torch.no_grad():
        dict(model.named_modules())["1.0.1.1"].out.bias += 1
    with pytest.raises(UserError, match="that layout has no such weights"):
        interop.export(model, tmp_path / "back")


def test_a_head_that_is_not_tied_must_be_there(tmp_path):
    _peer("Llama", True, tie_word_embeddings=True).save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace('"tie_word_embeddings": true', '"tie_word_embeddings": false'))
    with pytest.raises(UserError, match=r"holds no 'lm_head\.weight'"):
        lamina.load(tmp_path)


def test_what_was_not_loaded_has_no_way_back(tmp_path):
    with pytest.raises(UserError, match=r"was not loaded from others' checkpoint; use lamina\.save"):
        interop.export(lamina.create("mamba", d_model=8), tmp_path)


@torch.no_grad()
def test_biases_of_attention(tmp_path):
    peer, tokens = _peer("Llama", True, attention_bias=True), torch.randint(4, 50, (4, 20))
    peer.save_pretrained(tmp_path / "theirs")
    model = lamina.load(tmp_path / "theirs")
    want = peer(tokens, attention_mask=MASK.long()).logits
    assert_near(model(Seq(tokens, MASK)).values, want, MASK)
    interop.export(model, tmp_path / "ours")
    again = type(peer).from_pretrained(tmp_path / "ours")
    for a, b in zip(peer.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@torch.no_grad()
def test_a_long_context_does_not_fill_memory(tmp_path):
    """A cache of 131,072 frames would be made whole by init_state; 4,096 are, or as many as are asked for."""
    peer, tokens = _peer("Llama", True, max_position_embeddings=131072), torch.randint(4, 50, (4, 20))
    peer.save_pretrained(tmp_path / "theirs")
    model, small = lamina.load(tmp_path / "theirs"), lamina.load(tmp_path / "theirs", capacity=20)
    caches = 3 * 2 * 32 * 4  # layers, keys and values, width, bytes
    for network, capacity in ((model, 4096), (small, 20)):
        assert 1 <= lamina.state.nbytes(network.init_state(1)) / (capacity * caches) < 1.02
    want = peer(tokens, attention_mask=MASK.long()).logits
    assert_near(run_steps(small, Seq(tokens, MASK)).values, want, MASK)
    interop.export(small, tmp_path / "ours")
    assert transformers.AutoConfig.from_pretrained(tmp_path / "ours").max_position_embeddings == 131072
    assert "capacity" not in (tmp_path / "ours" / "config.json").read_text()
    with pytest.raises(UserError, match="unknown option 'capacty'; did you mean 'capacity'"):
        lamina.load(tmp_path / "theirs", capacty=20)


@torch.no_grad()
def test_mamba_as_its_authors_saved_it(tmp_path):
    """Without model_type, one name other, a vocabulary filled up to a multiple of 8: transformers' with those names."""
    peer, tokens = _peer("Mamba", True, tie_word_embeddings=True), torch.randint(4, 50, (4, 20))
    names = {n.replace("backbone.embeddings.", "backbone.embedding."): t for n, t in peer.state_dict().items()}
    keys = {"d_state": 8, "d_conv": 3}
    config = {"d_model": 32, "n_layer": 3, "vocab_size": 45, "ssm_cfg": keys, "rms_norm": True,
              "residual_in_fp32": True, "fused_add_norm": True, "pad_vocab_size_multiple": 50}  # fmt: skip
    folder = tmp_path / "theirs"
    folder.mkdir()
    torch.save(names, folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps(config))
    model = lamina.load(folder)
    theirs = peer(tokens, attention_mask=MASK.long(), output_hidden_states=True)
    x = Seq(tokens, MASK)
    with lamina.taps(model, interop.blocks(model)) as seen:
        assert_near(model(x).values, theirs.logits, MASK)
    for ours, hidden in zip(seen.values(), theirs.hidden_states[:-1], strict=True):
        assert_near(ours.values, hidden, MASK)
    assert_near(run_steps(model, x, [7]).values, theirs.logits, MASK)
    interop.export(model, tmp_path / "ours")
    again = torch.load(tmp_path / "ours" / "pytorch_model.bin", weights_only=True)
    assert set(again) == set(names)
    assert all(torch.equal(again[name], names[name]) for name in names)
    assert json.loads((tmp_path / "ours" / "config.json").read_text()) == config
    for key, value, message in (
        ("ssm_cfg", {"layer": "Mamba2"}, "layer='Mamba2' is not built here, only 'Mamba1'"),
        ("rms_norm", False, "rms_norm=False is not built here, only True"),
        ("attn_layer_idx", [1], r"attn_layer_idx=\[1\] is not built here"),
    ):
        (folder / "config.json").write_text(json.dumps(config | {key: value}))
        with pytest.raises(UserError, match=message):
            lamina.load(folder)


@pytest.mark.parametrize(
    ("family", "keys", "message"),
    [
        ("Mamba", {"use_bias": True}, "use_bias=True is not built here"),
        ("Mamba", {"time_step_rank": 5}, "time_step_rank=5 is not built here"),
        ("GPTNeoX", {"use_parallel_residual": True}, "use_parallel_residual=True is not built here, only False"),
        ("GPTNeoX", {"rotary_pct": 0.25}, "rotary_pct=0.25 is not built here, only 1.0"),
        ("GPT2", {"activation_function": "swish"}, "activation_function='swish' is not built here, only gelu_new"),
        ("GPT2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx=True is not built"),
        ("Llama", {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}}, "rope_type='linear'"),
        ("Llama", {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}, "rope_theta=500000.0 is not built"),
        ("Llama", {"mlp_bias": True}, "mlp_bias=True is not built here, only False"),
    ],
)
def test_variants_that_are_not_ours_are_refused(family, keys, message, tmp_path):
    _peer(family, True, **keys).save_pretrained(tmp_path)
    with pytest.raises(UserError) as error:
        lamina.load(tmp_path)
    assert message in str(error.value)


def test_generate_writes_what_theirs_generates(tmp_path, capsys):
    peer = _peer("GPT2", True)
    peer.save_pretrained(tmp_path)
    text = "the cat sat on the mat"
    words = tokenizers.Tokenizer(tokenizers.models.BPE())
    words.pre_tokenizer, words.decoder = tokenizers.pre_tokenizers.ByteLevel(False), tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=50, initial_alphabet=sorted({*text.replace(" ", "Ġ")}))
    words.train_from_iterator([text], trainer)
    words.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(SystemExit) as stop:
        cli.main(["generate", str(tmp_path), "--prompt", "the cat", "--tokens", "6", "--temperature", "0", "--json"])
    assert stop.value.code == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    model, prompt = lamina.load(tmp_path), torch.tensor([words.encode("the cat").ids])
    for _ in range(6):
        prompt = torch.cat([prompt, model(Seq.of(prompt)).values[:, -1:].argmax(-1)], 1)
    want = peer.generate(torch.tensor([words.encode("the cat").ids]), max_new_tokens=6, do_sample=False, pad_token_id=0)
    told = prompt[0].tolist()
    told = told[: told.index(2)] if 2 in told else told
    assert found["text"] == words.decode(told)[len("the cat") :]
    assert want[0].tolist()[: len(told)] == told
