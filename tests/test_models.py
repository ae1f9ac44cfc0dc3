"""create, save, load; sizes that papers state; every mixer in every sequence model; errors that name the key."""

import json
import os
import pickle
import subprocess
import sys

import pytest
import torch

import lamina
from lamina.core.cost import params
from lamina.layers import MIXERS
from lamina.models import MODELS

SEQUENCE = ("rnn", "transformer", "retnet", "mamba")  # one of each stack


def test_lenet_has_its_61706_weights():
    assert params(lamina.create("lenet")) == 61_706


def test_sizes_equal_torch():
    """Ours keeps one bias where PyTorch's LSTM keeps two, and the GRU one and a third."""
    peer = torch.nn.LSTM(64, 64, 2)
    assert params(lamina.create("lstm")) == sum(p.numel() for p in peer.parameters()) - 2 * 4 * 64
    peer = torch.nn.GRU(64, 64, 2)
    assert params(lamina.create("gru")) == sum(p.numel() for p in peer.parameters()) - 2 * 2 * 64


@pytest.mark.parametrize("mixer", MIXERS)
@pytest.mark.parametrize("name", SEQUENCE)
def test_every_sequence_model_takes_every_mixer(name, mixer):
    model = lamina.create(name, mixer=mixer, d_model=8, n_layers=1)
    x = lamina.Seq.of(torch.randn(2, 17, model.d_in))
    want = model(x)
    got = lamina.run_steps(model, x, [1, 3])
    assert want.values.shape == (2, 17, model.d_out)
    torch.testing.assert_close(got.values, want.values, rtol=0, atol=2e-6)


def test_weights_may_be_read_by_whoever_reads_a_new_file(tmp_path):
    """Also where an unfinished part lies there, which was for its owner alone."""
    (tmp_path / "model.safetensors.part").touch(0o600)
    before = os.umask(0o027)
    try:
        lamina.save(lamina.create("mlp"), tmp_path)
    finally:
        os.umask(before)
    assert {oct(p.stat().st_mode & 0o777) for p in tmp_path.iterdir()} == {"0o640"}


def test_the_card_counts_frozen_weights_too(tmp_path):
    lamina.save(lamina.create("lstm", d_model=8, n_layers=1).requires_grad_(False), tmp_path)
    assert f"\n{4 * 8 * (8 + 8 + 1)} weights, " in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize("name", MODELS)
def test_save_and_load_give_the_same_model(name, tmp_path):
    model = lamina.create(name).eval()
    lamina.save(model, tmp_path / "m")
    again = lamina.load(tmp_path / "m").eval()
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert again.config == model.config
    if MODELS[name].view == "pixels":
        x = torch.randn_like(model.example()[0]), *model.example()[1:]
        assert torch.equal(model(*x), again(*x))
    elif MODELS[name].view == "image":
        x = torch.randn(2, *model.image_shape)
        assert torch.equal(model(x), again(x))
    elif MODELS[name].task is not None:
        x = model.example()
        assert torch.equal(model(*x), again(*x))
    else:
        x = [lamina.Seq.of(torch.randn(2, 5, model.d_in)) for _ in range(1 + model.takes_memory)]
        assert torch.equal(model(*x).values, again(*x).values)


@pytest.mark.parametrize(
    "name", ["lstm", "transformer", "seq2seq", "mlp", "lenet", "conv", "mamba", "deltanet", "yoco"]
)
def test_a_model_can_be_pickled_for_another_process(name):
    model = lamina.create(name)
    again = pickle.loads(pickle.dumps(model))
    assert again.config == model.config
    assert type(again.config) is type(model.config)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize("width", [1, 5, 16])
@pytest.mark.parametrize("name", ["lstm", "gru", "rnn", "mlp", "transformer", "mamba", "retnet", "linear_attention"])
def test_frames_of_another_width_are_refused_with_the_remedy(name, width):
    """A fused kernel that trusts its caller would read beyond the weights."""
    model = lamina.create(name, d_model=8)
    x = lamina.Seq.of(torch.randn(1, 3, width))
    for run in (lambda: model(x), lambda: model.step(x, model.init_state(1))):
        with pytest.raises(ValueError, match=rf"{name}: values of shape \[1, 3, {width}\] do not fit \[B,T,8\]"):
            run()


@pytest.mark.parametrize(
    "name",
    ["mlp", "rnn", "lstm", "gru", "transformer", "mamba", "retnet", "gated_retention", "deltanet", "linear_attention",
     "yoco", "gated_deltanet", "causal_attention"],
)  # fmt: skip
def test_streams_by_default(name):
    assert lamina.create(name).stream_spec().delay == 0


def test_mamba_has_the_papers_weights_and_no_feed_forward():
    """d = 64: 2 * 2d * d in, 2d * d out, the convolution, dt, B and C, A and D; norms."""
    inner = 128
    block = 2 * inner * 64 + inner * 64 + inner * 5 + inner * (4 + 32) + inner * 4 + inner + inner * 16 + inner
    assert params(lamina.create("mamba", n_layers=3)) == 3 * (block + 64) + 64


@pytest.mark.parametrize(
    ("name", "mixer"),
    [("retnet", 5 * 64 * 64), ("gated_retention", 5 * 64 * 64 + 4 * 64), ("linear_attention", 4 * 64 * 64),
     ("deltanet", 4 * 64 * 64 + 4 * 64 + 16)],
)  # fmt: skip
def test_memory_stacks_have_the_weights_that_the_docs_say(name, mixer):
    """Norm, mixer, norm, SwiGLU of width 176, twice, and a norm."""
    assert params(lamina.create(name)) == 2 * (64 + mixer + 64 + 3 * 64 * 176) + 64


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_transformer_norms(norm):
    model = lamina.create("transformer", norm=norm, d_model=16, n_layers=1)
    y = model(lamina.Seq.of(torch.randn(2, 9, 16))).values
    torch.testing.assert_close(y.mean(-1), torch.zeros(2, 9), rtol=0, atol=1e-5)  # both end in a norm


def test_full_attention_does_not_stream_and_says_why():
    model = lamina.create("transformer", left=None)
    with pytest.raises(lamina.NotStreamable, match=r"^0\.1\.1: attention over the whole past has no bounded state"):
        model.stream_spec()
    both = lamina.create("transformer", left=None, right=None)
    with pytest.raises(lamina.NotStreamable, match="the whole input"):
        both.init_state(1)


@pytest.mark.parametrize(
    ("name", "keys", "message"),
    [
        ("lstn", {}, "unknown model 'lstn'; did you mean 'lstm'?"),
        ("lstm", {"d_modle": 3}, "lstm: unknown key 'd_modle'; did you mean 'd_model'?"),
        ("lstm", {"d_model": 0}, "lstm: d_model=0: input should be greater than or equal to 1"),
        ("lstm", {"mixer": "windowattention"}, "did you mean 'window_attention'?"),
        ("transformer", {"d_model": 30}, "d_model=30 is not a multiple of n_heads=4"),
        ("transformer", {"mixer": "gru", "left": 4}, "unknown key 'left'"),
    ],
)
def test_bad_names_and_keys(name, keys, message):
    with pytest.raises(lamina.UserError) as error:
        lamina.create(name, **keys)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_hyphens_count_as_underscores():
    assert lamina.create("window-attention", d_model=8, n_layers=1).name == "window_attention"


def _broken(folder, **changes):
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 99}, "schema 99 is newer than this lamina reads"),
        ({"schema": 0}, "schema 0 is not one this lamina reads"),
        ({"config": {"d_model": 9}}, "the weights do not fit config.json"),
        ({"config": {"width": 9}}, "unknown key 'width'"),
        ({"model": "lstmm"}, "did you mean 'lstm'"),
    ],
)
def test_a_folder_of_another_version_or_broken_gets_one_line(tmp_path, changes, message):
    lamina.save(lamina.create("lstm", d_model=8), tmp_path)
    _broken(tmp_path, **changes)
    with pytest.raises(lamina.UserError, match=message) as error:
        lamina.load(tmp_path)
    assert "\n" not in str(error.value)


def test_a_missing_or_foreign_folder_gets_one_line(tmp_path):
    with pytest.raises(lamina.UserError, match=r"config\.json: no such file"):
        lamina.load(tmp_path)
    lamina.save(lamina.create("lstm", d_model=8), tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not tensors")
    with pytest.raises(lamina.UserError, match="weights do not fit"):
        lamina.load(tmp_path)


def test_import_is_quiet_quick_and_off_the_network():
    """What lamina adds to torch's own import, in a fresh process that cannot open a socket."""
    code = (
        "import socket, sys\n"
        "def no(*a, **k): raise OSError('network')\n"
        "socket.socket.connect = no\n"
        "import torch, torch.utils.flop_counter\n"
        "import lamina\n"
        "heavy = {'plotly', 'sklearn', 'accelerate', 'rich', 'numba', 'onnx', 'pytest', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
