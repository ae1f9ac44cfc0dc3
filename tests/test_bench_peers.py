"""The peers of lamina bench: our inputs and weights become theirs, and both compute the same."""

import importlib.util
from types import SimpleNamespace

import pytest
import torch

from lamina.bench import encoder_rows, frame_rows, layer_rows, op_rows, translate_rows, unet_rows
from lamina.bench.gate import agreement
from lamina.bench.peer import Peer
from lamina.bench.peers import torchscale
from lamina.bench.row import Target
from lamina.core import Seq
from lamina.layers import Retention

ASKED = {"forward": Target(1, 1), "forward+backward": Target(1, 1)}
ROWS = (
    op_rows.selective_scan_row(2, 48, 6, 4, ASKED),
    op_rows.delta_rule_row(2, 96, 2, 8, ASKED),
    op_rows.retention_row(2, 128, 2, 8, ASKED),
    frame_rows.rms_norm_row(2, 8, 6),
    frame_rows.gated_norm_row(2, 8, 2, 6),
    frame_rows.swiglu_row(2, 8, 6),
    frame_rows.window_attention_row(2, 40, 2, 6, 5, (Target(1, 1),) * 2),
    frame_rows.short_conv_row(2, 40, 6, 4),
    frame_rows.linear_row(64, 64),
    layer_rows.retention_layer_row(2, 128, 16, 4, ASKED),
    layer_rows.mamba_step_row(16, 3, Target(1, 1)),
    layer_rows.retnet_step_row(16, 3, Target(1, 1)),
    encoder_rows.bert_row(3, 9, 16, 2, (Target(1, 1),) * 2),
    encoder_rows.conformer_row(3, 12, 16, 2, 5, (Target(1, 1),) * 2),
    encoder_rows.transformer_row(2, 9, 16, 2, (Target(1, 1),) * 2),
    translate_rows.translate_row(2, 5, 12, 16, 2, Target(1, 1)),
    unet_rows.unet_row(2, {"size": 8, "channels": (8, 16)}, ASKED),
)
PAIRS = [(row, peer) for row in ROWS for peer in row.peers]


@pytest.mark.parametrize(("row", "peer"), PAIRS, ids=[f"{row.name}-{peer.name}" for row, peer in PAIRS])
def test_a_peer_with_our_weights_gives_our_outputs_and_gradients(row, peer):
    if peer.missing():
        pytest.skip(peer.missing())
    found = agreement(row.case(torch.float32, None), peer, gradients=row.trains)
    assert found.difference < 1e-4, found


def test_a_missing_peer_names_the_line_that_installs_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    messages = {peer.missing() for _, peer in PAIRS}
    assert "mambapy pscan: mambapy is not installed; pip install 'lamina[bench]'" in messages
    assert "fla chunk 32: fla-core is not installed; pip install 'lamina[bench]'" in messages
    assert "torchscale recurrent: torchscale is not installed; pip install --no-deps torchscale==0.3.0" in messages


def test_the_decays_of_the_chunk_form_compose():
    decay = torchscale.log_decay(3).exp()
    torch.testing.assert_close(decay, 1 - 2.0 ** (-5 - torch.arange(3)))
    (sin, cos), (inner, across, queries, values) = torchscale.positions(8, 3, 4, 4)
    rows = (
        inner[:, :, :1] / decay[:, None, None] ** torch.arange(4.0)[:, None]
    )  # what each row was divided by, inverted
    between = queries * values.transpose(1, 2) / rows  # from frame j of a chunk to frame i of the next
    power = torch.arange(4)[:, None] + 1 + 3 - torch.arange(4)
    torch.testing.assert_close(between, decay[:, None, None] ** power, rtol=1e-5, atol=0)
    torch.testing.assert_close(across[:, 0, 0], decay**4)
    assert torch.equal(inner, inner.tril())
    torch.testing.assert_close(sin[5], torch.tensor([5.0, 5.0, 5e-4, 5e-4]).sin())
    torch.testing.assert_close(cos[5], torch.tensor([5.0, 5.0, 5e-4, 5e-4]).cos())


def test_the_rescale_shows_at_the_usual_eps():
    """Why the layers are compared at an eps of 1e-12: at 1e-5 the peer's own scale does not cancel."""
    if torchscale.CHUNKWISE_LAYER.missing():
        pytest.skip(torchscale.CHUNKWISE_LAYER.missing())
    differences = {}
    for eps in (1e-5, torchscale.EPS):
        ours = Retention(16, 4, eps=eps)
        with torch.no_grad():
            ours.project.weight.mul_(0.2)
            theirs, x = torchscale.layer_of(ours, eps), torch.randn(1, 64, 16)
            y = theirs(x, torchscale.positions(64, 4, 4, 64), chunkwise_recurrent=True)
            apart = (y - ours(Seq.of(x)).values).abs().max() / y.abs().max()
        differences[eps] = float(apart)
    assert differences[torchscale.EPS] < 1e-4 < differences[1e-5]


def test_a_peer_of_another_version_is_named():
    peer = Peer("x", "torch", "torch", SimpleNamespace)
    assert peer.version == f"torch {torch.__version__}"
