"""Names on the Hub: what is fetched, and what is said where nothing can be."""

import sys

import huggingface_hub
import pytest
import torch
import transformers

import lamina
from interop_parts import MASK, assert_near, stirred
from lamina import Seq, UserError
from lamina.cli import _run
from lamina.train.opened import opened

pytestmark = pytest.mark.interop


@pytest.fixture
def peer(tmp_path, monkeypatch):
    """A model that lies in the Hub, which is stubbed, and what it was asked for."""
    config = transformers.MambaConfig(vocab_size=50, hidden_size=32, num_hidden_layers=2, state_size=8)
    peer, asked = stirred(transformers.MambaForCausalLM(config)), []
    peer.save_pretrained(tmp_path / "cache")
    (tmp_path / "cache" / "tokenizer.json").write_text("{}")

    def snapshot_download(name, *, allow_patterns):
        asked.append((name, allow_patterns))
        return str(tmp_path / "cache")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return peer, asked


@torch.no_grad()
def test_a_name_is_fetched_without_what_could_run(peer):
    peer, asked = peer
    tokens = torch.randint(50, (4, 20))
    model = lamina.load("some-org/small.model")
    assert_near(model(Seq(tokens, MASK)).values, peer(tokens, attention_mask=MASK.long()).logits, MASK)
    ((name, patterns),) = asked
    assert name == "some-org/small.model"
    assert {"config.json", "*.safetensors", "tokenizer.json"} <= set(patterns)
    _, opened_model = opened("some-org/small.model")  # as the commands do
    assert opened_model.family == "mamba"
    assert not any(pattern.endswith((".bin", ".pt", ".py", "*")) for pattern in patterns)


def test_a_command_takes_a_name(peer, tmp_path):
    assert _run(["export", "some-org/small", str(tmp_path / "out")]) == 0
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {p.name for p in (tmp_path / "out").iterdir()}
    assert {name for name, _ in peer[1]} == {"some-org/small"}


@pytest.mark.parametrize("path", ["here/nothing", "../nothing", "a/b/c", "nothing"])
def test_a_path_is_no_name(path, peer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"config\.json: no such file"):
        lamina.load(path)
    assert not peer[1]


def test_no_network_is_one_line(tmp_path, monkeypatch):
    """The package itself, told that it is offline."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        UserError, match=r"^some-org/small: no such folder, and the Hugging Face Hub did not give"
    ) as error:
        lamina.load("some-org/small")
    assert "\n" not in str(error.value)
    assert "with a network and a right name" in str(error.value)


def test_a_missing_extra_names_its_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"to fetch it from the Hugging Face Hub: pip install 'lamina\[hub\]'"):
        lamina.load("some-org/small")
