"""Decoders of transformers with random weights: the same numbers on ragged batches, as a stream too, and back."""

import pytest
import torch
import transformers

import lamina
from interop_parts import MASK, assert_near, stirred
from lamina import Seq, UserError, interop, run_steps

pytestmark = pytest.mark.interop
FAMILIES = {
    "Mamba": {"hidden_size": 32, "num_hidden_layers": 3, "state_size": 8, "expand": 2, "conv_kernel": 3},
    "GPT2": {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 40, "bos_token_id": 1, "eos_token_id": 2},
    "Llama": {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
              "intermediate_size": 48, "max_position_embeddings": 40},
}  # fmt: skip
LM = {"Mamba": "MambaForCausalLM", "GPT2": "GPT2LMHeadModel", "Llama": "LlamaForCausalLM"}


def _peer(family, head, **keys):
    config = getattr(transformers, f"{family}Config")(vocab_size=50, **FAMILIES[family] | keys)
    return stirred(getattr(transformers, LM[family] if head else f"{family}Model")(config))


@pytest.mark.parametrize("head", ["plain", "tied", "own"])
@pytest.mark.parametrize("family", FAMILIES)
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


@pytest.mark.parametrize(
    ("family", "keys", "message"),
    [
        ("Mamba", {"use_bias": True}, "use_bias=True is not built here"),
        ("Mamba", {"time_step_rank": 5}, "time_step_rank=5 is not built here"),
        ("GPT2", {"activation_function": "swish"}, "activation_function='swish' is not built here, only gelu_new"),
        ("GPT2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx=True is not built"),
        ("Llama", {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}}, "rope_type='linear'"),
        ("Llama", {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}, "rope_theta=500000.0 is not built"),
        ("Llama", {"attention_bias": True}, "attention_bias=True is not built here, only False"),
    ],
)
def test_variants_that_are_not_ours_are_refused(family, keys, message, tmp_path):
    _peer(family, True, **keys).save_pretrained(tmp_path)
    with pytest.raises(UserError) as error:
        lamina.load(tmp_path)
    assert message in str(error.value)
