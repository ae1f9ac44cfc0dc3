"""The decoders' contest: what each finds first, then the time."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lamina.bench import decode_rows
from lamina.bench.decode_rows import DECODE_ROWS, DecodeRow, bench_decode, decode_lines
from lamina.bench.peers import flashlight, pyctcdecode
from lamina.bench.row import Target
from lamina.speech.decode import PrefixBeam


def small() -> Tensor:
    return torch.randn(20, decode_rows.N_OUT, generator=torch.Generator().manual_seed(0)).log_softmax(-1)


def contest(monkeypatch: pytest.MonkeyPatch, decode: Callable[[Tensor], list[int]]) -> dict:
    monkeypatch.setattr(decode_rows, "PEERS", {"pytest": ("pytest", "", lambda n_out, beam: decode)})
    return bench_decode((DecodeRow("toy", small, Target(1, 2)),), rounds=2)


def test_a_less_probable_reading_is_red_and_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    fine = contest(monkeypatch, lambda log_p: [1, 2])
    assert fine["red"] == []
    assert fine["rows"][0]["ratio"] > 0
    assert any("times as fast as pytest" in line for line in decode_lines(fine))
    monkeypatch.setattr(decode_rows, "BEAM", 1)
    wide = [one.label for one in PrefixBeam(decode_rows.N_OUT, 512).whole(small())]
    bad = contest(monkeypatch, lambda log_p: wide)
    assert len(bad["red"]) == 1
    assert "pytest -" in bad["red"][0]
    assert "times" not in bad["rows"][0]


def test_a_missing_peer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_rows, "PEERS", {"none": ("no_such_module", "pip install none", flashlight.decoder)})
    found = bench_decode((DecodeRow("toy", small, Target(1, 2)),), rounds=1)
    assert found["missing"] == ["none is not installed; pip install none"]
    assert found["rows"][0]["ratio"] is None
    assert "none is not installed; pip install none" in list(decode_lines(found))


@pytest.mark.parametrize(("module", "peer"), [("flashlight", flashlight), ("pyctcdecode", pyctcdecode)])
def test_the_peers_read_a_certain_path(module: str, peer: object) -> None:
    pytest.importorskip(module, reason="a peer of the bench")
    path = torch.tensor([0, 1, 1, 0, 1, 2, 0, 31, 31])
    log_p = (20 * torch.nn.functional.one_hot(path, 32).float()).log_softmax(-1)
    assert peer.decoder(32, 8)(log_p) == [1, 1, 2, 31]  # type: ignore[attr-defined]


def test_the_rows_are_peaky_and_flat() -> None:
    peaky, flat = (row.make() for row in DECODE_ROWS)
    assert peaky.shape == flat.shape == (500, 32)
    assert float(peaky.exp().amax(1).median()) > 0.9
    assert float(flat.exp().amax(1).median()) < 0.3
