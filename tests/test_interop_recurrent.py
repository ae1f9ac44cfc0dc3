"""State dicts of PyTorch's recurrent layers, and real ones: the same numbers as a whole and as a stream, and back."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import lamina
from interop_parts import LENGTHS, MASK, assert_near, stirred
from lamina import NotStreamable, Seq, UserError, interop, run_steps

pytestmark = pytest.mark.interop
KINDS = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN": nn.RNN}


def _peer(kind, **keys):
    return stirred(KINDS[kind](5, 8, 3, batch_first=True, **keys))


def _row_by_row(peer, x):
    """The peer on each row alone: its backward direction starts at the end of the tensor, padding or not."""
    y = x.new_zeros(*x.shape[:2], peer.hidden_size * (1 + peer.bidirectional))
    for row, n in enumerate(LENGTHS):
        y[row, :n] = peer(x[row : row + 1, :n])[0][0]
    return y


def _layers(peer, x):
    """The output of every layer: each is a peer of its own."""
    for i in range(peer.num_layers):
        one = type(peer)(
            x.shape[-1], peer.hidden_size, batch_first=True, bias=peer.bias, bidirectional=peer.bidirectional
        )
        one.load_state_dict({n.replace(f"_l{i}", "_l0"): t for n, t in peer.state_dict().items() if f"_l{i}" in n})
        x = _row_by_row(one, x)
        yield x


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_same_numbers_there_and_back(kind, both, bias, tmp_path):
    peer, x = _peer(kind, bidirectional=both, bias=bias), torch.randn(4, 20, 5)
    torch.save(peer.state_dict(), tmp_path / "theirs.pt")
    model = lamina.load(tmp_path / "theirs.pt")
    with lamina.taps(model, interop.blocks(model)) as seen:
        y = model(Seq(x, MASK))
    for ours, want in zip(seen.values(), _layers(peer, x), strict=True):
        assert_near(ours.values, want, MASK)
    want = _row_by_row(peer, x)
    assert_near(y.values, want, MASK)
    if both:
        with pytest.raises(NotStreamable, match="backward direction"):
            model.stream_spec()
    else:
        assert_near(run_steps(model, Seq(x, MASK)).values, want, MASK)
    interop.export(model, tmp_path / "ours.safetensors")
    again = load_file(tmp_path / "ours.safetensors")
    for name, weight in peer.state_dict().items():
        if "weight" in name:
            assert torch.equal(again[name], weight)
    peer.load_state_dict(again)  # of two biases only the sum is known, which is what they compute
    assert_near(_row_by_row(peer, x), want, MASK)
    once_more = lamina.load(tmp_path / "ours.safetensors")
    for a, b in zip(model.state_dict().values(), once_more.state_dict().values(), strict=True):
        assert torch.equal(a, b)


class _Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.out = nn.GRU(5, 8, 2, batch_first=True), nn.Linear(8, 3)

    def forward(self, x):
        return self.out(self.rnn(x)[0])


@torch.no_grad()
def test_with_a_linear_layer_behind(tmp_path):
    peer, x = stirred(_Tagger()), torch.randn(4, 20, 5)
    torch.save({"step": 7, "model_state_dict": peer.state_dict()}, tmp_path / "training.pt")
    model = lamina.load(tmp_path / "training.pt")
    assert_near(model(Seq(x, MASK)).values, peer(x), MASK)
    assert_near(model.encode(Seq(x, MASK)).values, peer.rnn(x)[0], MASK)


@torch.no_grad()
def test_a_real_speaker_encoder():
    """Resemblyzer's three layers of LSTM and a Linear (1.4 million weights): the vector of the last frame is theirs."""
    from importlib.util import find_spec
    from pathlib import Path

    file = Path(find_spec("resemblyzer").submodule_search_locations[0]) / "pretrained.pt"
    weights = torch.load(file, "cpu", weights_only=True)["model_state"]
    lstm, linear = nn.LSTM(40, 256, 3, batch_first=True), nn.Linear(256, 256)
    lstm.load_state_dict({n.removeprefix("lstm."): t for n, t in weights.items() if n.startswith("lstm.")})
    linear.load_state_dict({n.removeprefix("linear."): t for n, t in weights.items() if n.startswith("linear.")})
    model, x = lamina.load(file), torch.rand(2, 160, 40)  # as their mel frames: no value below 0
    want = linear(lstm(x)[0])
    assert_near(model(Seq.of(x)).values, want)
    assert_near(run_steps(model, Seq.of(x), [16]).values, want)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (nn.LSTM(4, 8, proj_size=3).state_dict(), "a projection of the state (proj_size) is not built here"),
        (nn.ModuleList([nn.LSTM(4, 8), nn.LSTM(8, 8)]).state_dict(), "holds 2 recurrent stacks (0., 1.)"),
        (nn.Sequential(nn.Conv1d(4, 8, 3)).state_dict(), "no config.json says what it is, and its names (0.bias, ...)"),
        ({**nn.LSTM(8, 8).state_dict(), "words.weight": torch.ones(9, 8)}, "nothing of ours takes 'words.weight'"),
        ({**nn.LSTM(4, 8).state_dict(), "norm.weight": torch.ones(8)}, "nothing of ours takes 'norm.weight'"),
    ],
)
def test_what_is_not_ours_is_refused(weights, message, tmp_path):
    save_file(weights, tmp_path / "theirs.safetensors")
    with pytest.raises(UserError) as error:
        lamina.load(tmp_path / "theirs.safetensors")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_options_that_it_has_not(tmp_path):
    torch.save(nn.LSTM(4, 8).state_dict(), tmp_path / "theirs.pt")
    with pytest.raises(UserError, match="a recurrent checkpoint takes no options"):
        lamina.load(tmp_path / "theirs.pt", n_heads=2)
    with pytest.raises(UserError, match=r"name it ours\.safetensors"):
        interop.export(lamina.load(tmp_path / "theirs.pt"), tmp_path / "ours.pt")
