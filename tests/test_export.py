"""lamina export: what lamina trained is what transformers computes from the folder, and nothing is half-written."""

import json

import pytest
import torch
import transformers
from safetensors.torch import load_file

import lamina
from interop_parts import LENGTHS, MASK, assert_near, stirred
from lamina import Seq
from lamina.cli import _run
from lamina.train import load_language_model, load_run

pytestmark = pytest.mark.interop
SMALL = ["d_model=16", "n_layers=2"]
ATTENTION = ["mixer=causal_attention", "n_heads=2", "capacity=64"]
COPY = "copy:length=16,tokens=2,vocab=8"
RUNS = {
    "mamba": (transformers.MambaModel, ["d_state=4", "dropout=0.1"]),
    "transformer": (transformers.GPTNeoXModel, [*ATTENTION, "activation=gelu_tanh"]),
    "transformer without positions": (
        transformers.GPT2Model,
        [*ATTENTION, "rotary=false", "activation=silu", "d_ff=24"],
    ),
    "retnet": (transformers.LlamaModel, [*ATTENTION, "eps=1e-5"]),
    "bert": (transformers.BertModel, ["n_heads=2", "capacity=64", "dropout=0.1"]),
}


@torch.enable_grad()
def _trained(name, folder, keys, data=COPY):
    options = [part for key in [*SMALL, *keys] for part in ("--set", key)]
    assert _run(["train", name, str(data), "--steps", "3", "--batch-size", "4", "--out", str(folder), *options]) == 0


@pytest.mark.parametrize("name", RUNS)
@torch.no_grad()
def test_transformers_computes_what_the_run_does(name, tmp_path, capsys):
    kind, keys = RUNS[name]
    _trained(name.split()[0], tmp_path / "run", keys)
    assert _run(["export", str(tmp_path / "run"), str(tmp_path / "hf"), "--to", "hf"]) == 0
    assert f"in {tmp_path / 'hf'} (config.json, head.safetensors, model.safetensors)" in capsys.readouterr().out
    task, tokens = load_run(tmp_path / "run").task, torch.randint(8, (4, 20))
    frames = task.encoder()(Seq(tokens, MASK)).values
    bare = {"add_pooling_layer": False} if name == "bert" else {}
    peer, told = kind.from_pretrained(tmp_path / "hf", output_loading_info=True, **bare)
    assert not any(told[what] for what in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    theirs = peer.eval()(tokens, attention_mask=MASK.long()).last_hidden_state
    assert_near(frames, theirs, MASK)
    head = load_file(tmp_path / "hf" / "head.safetensors")
    assert_near(task.head(frames), theirs @ head["weight"].t() + head["bias"], MASK)
    for i, n in enumerate(LENGTHS):  # alone, too: nothing of it depends on the padding
        assert_near(peer(tokens[i : i + 1, :n]).last_hidden_state[0], theirs[i, :n])


@torch.no_grad()
def test_a_language_model_whose_text_is_gone(tmp_path, capsys):
    text = tmp_path / "mine.txt"
    text.write_text("abc def " * 4000)
    _trained("mamba", tmp_path / "run", [], text)
    text.unlink()
    capsys.readouterr()
    assert _run(["export", str(tmp_path / "run"), str(tmp_path / "hf"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["model_type"], said["to"]) == ("mamba", "hf")
    tokens = torch.tensor([list(b"abc de")])
    task = load_language_model(tmp_path / "run")
    theirs = transformers.MambaModel.from_pretrained(tmp_path / "hf").eval()(tokens).last_hidden_state
    assert_near(task.encoder()(Seq.of(tokens)).values, theirs)
    again = lamina.load(tmp_path / "hf")  # and it is one of those that lamina reads
    assert_near(again(Seq.of(tokens)).values, theirs)


def test_what_was_loaded_goes_back_with_its_tokenizer(tmp_path):
    config = transformers.MambaConfig(vocab_size=50, hidden_size=32, num_hidden_layers=2, state_size=8)
    peer = stirred(transformers.MambaForCausalLM(config))
    peer.save_pretrained(tmp_path / "theirs")
    (tmp_path / "theirs" / "tokenizer.json").write_text("{}")
    (tmp_path / "theirs" / "notes.txt").write_text("not part of a model")
    (tmp_path / "out").mkdir()
    assert _run(["export", str(tmp_path / "theirs"), str(tmp_path / "out")]) == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"config.json", "model.safetensors", "tokenizer.json", "generation_config.json"}
    again = transformers.MambaForCausalLM.from_pretrained(tmp_path / "out")
    for a, b in zip(peer.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@pytest.fixture
def run(tmp_path):
    def made(name, keys, data=COPY):
        _trained(name, tmp_path / "run", keys, data)
        return tmp_path / "run"

    return made


@pytest.mark.parametrize(
    ("name", "keys", "data", "message"),
    [
        ("gru", [], COPY,
         "gru has no family among Hugging Face's that is written here; these have: bert, transformer, mamba, retnet"),
        ("transformer", ["n_heads=2"], COPY,
         "mixer='window_attention' has no place in a Hugging Face model, only mixer='causal_attention'"),
        ("transformer", [*ATTENTION, "norm=post"], COPY, "norm='post' has no place in a Hugging Face model"),
        ("retnet", ["n_heads=2"], COPY, "mixer='retention' has no place in a Hugging Face"),
        ("mamba", ["selective=false"], COPY, "selective=False has no place"),
        ("mamba", ["short_conv=0"], COPY, "short_conv=0 has no place"),
        ("mamba", [], "digits", "models take tokens alone, and this mamba has a Linear in front"),
    ],
)  # fmt: skip
def test_a_structure_without_a_family_says_so(name, keys, data, message, run, tmp_path, capsys):
    folder = run(name, keys, data)
    capsys.readouterr()
    assert _run(["export", str(folder), str(tmp_path / "hf")]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"run"}  # nothing half-written


def test_where_it_may_not_write(tmp_path, capsys):
    folder = tmp_path / "saved"
    lamina.save(lamina.create("gru", d_model=8), folder)
    for arguments, message in (
        (["export", str(folder), str(folder)], "is there already and not empty; give a new folder"),
        (["export", str(folder), str(tmp_path / "hf")], "lamina.save wrote it, without what tells its tokens"),
        (["export", str(tmp_path / "nothing"), str(tmp_path / "hf")], "no such file"),
        (["export", str(folder), str(tmp_path / "hf"), "--to", "onnx"], "unknown --to 'onnx'; known: bundle, hf"),
    ):
        assert _run(arguments) == 2
        assert message in capsys.readouterr().err
    torch.save(torch.nn.LSTM(4, 8).state_dict(), tmp_path / "lstm.pt")
    assert _run(["export", str(tmp_path / "lstm.pt"), str(tmp_path / "hf")]) == 2
    assert "a state dict has no Hugging Face folder" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"saved", "lstm.pt"}
