"""The claims of the structures with a memory: each figure by hand on small inputs, each experiment in seconds."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from claim_parts import drawn, quiet
from lamina import data, ops
from lamina.core import Seq
from lamina.core.cost import params
from lamina.data import DataSet
from lamina.data.induction import induction_examples
from lamina.data.text import unread
from lamina.layers import Retention
from lamina.reproduce import CLAIMS, TIERS, deltanet, gated_retention, mamba, retnet, yoco
from lamina.reproduce.learn import learn
from lamina.train import Order


def test_full_rules_are_those_of_the_claims() -> None:
    rules = {name: {f.key: f.accept for f in claim.plan("full").figures if f.accept} for name, claim in CLAIMS.items()}
    assert rules["mamba"] == {"far": ">= 99 %", "stream": ">= 99 %", "copy": ">= 98 %", "invariant": "< 50 %"}
    assert rules["retnet"] == {"forms": "<= 1e-10", "flat": "<= 1.25"}
    assert rules["gated_retention"] == {
        "recall_behind": "<= 0 %",
        "text_behind": "<= 0 bits per byte",
        "ahead": ">= 1",
    }
    assert rules["deltanet"] == {"deltanet+conv": ">= 97 %", "retnet+conv": "<= 60 %", "chunk": ">= 10 x"}
    assert rules["yoco"] == {
        "formula": "<= 0 bytes",
        "prefill_gated": "<= 0.6",
        "prefill_window": "<= 0.6",
        "loss_gated": "<= 1.02",
        "loss_window": "<= 1.02",
    }


def test_lengths_are_those_of_the_claims() -> None:
    settings = {name: [CLAIMS[name].plan(tier).settings for tier in TIERS] for name in ("mamba", "retnet", "deltanet")}
    ci, full = settings["mamba"]
    assert ci["induction"]["data"] == "induction:length=64,longer=128+256+512"
    assert full["induction"]["data"].startswith("induction:length=256,longer=64+128+512+")
    assert full["induction"]["data"].endswith(f"+{64 * 256}")
    assert full["induction"]["stream"]["frames"] == 4096 * 256
    assert data.DATA[full["copy"]["data"]]().shape == (256 + 16,)
    assert settings["retnet"][1]["step"]["lengths"] == [256 * 2**n for n in range(7)]
    assert [s["data"] for s in settings["deltanet"]] == [
        "mqar:pairs=4+8+16,length=64,vocab=128",
        "mqar:pairs=4+8+16+32,length=128,vocab=256",
    ]


@cache
def dataset(name: str) -> DataSet:
    """Enough of the data to count weights around it."""
    return unread("text", 8) if name.startswith("text") else data.load(name)


def weights(model: str, keys: dict[str, Any], name: str) -> int:
    around = dataset(name)
    with torch.device("meta"):
        return params(Order(model, keys, name).build(around))


@pytest.mark.parametrize("tier", TIERS)
def test_rivals_have_equal_weights(tier: Any) -> None:
    settings = CLAIMS["gated_retention"].plan(tier).settings
    for task in gated_retention.TASKS:
        what = settings[task]
        gated, fixed = (
            weights(model, {**what["keys"], "d_ff": what["d_ff"][name]}, what["data"])
            for name, model in gated_retention.MODELS.items()
        )
        assert abs(gated / fixed - 1) < 0.002
    what = CLAIMS["yoco"].plan(tier).settings["text"]
    counted = {}
    for name, d_ff in what["d_ff"].items():
        model, own = yoco._keys(name, what["left"])
        counted[name] = weights(model, {**what["keys"], **own, "d_ff": d_ff}, what["data"])
    assert all(abs(n / counted["transformer"] - 1) < 0.003 for n in counted.values()), counted


def test_the_parallel_form_is_the_papers_sum() -> None:
    """o_n = sum_m a^(n-m) (R_n q_n . R_m k_m) v_m with the rotations as matrices, frame by frame, head by head."""
    torch.manual_seed(3)
    layer = Retention(8, 2).double()
    x = torch.randn(1, 5, 8, dtype=torch.float64)
    q, k, v, gate = (p[0].reshape(5, 2, 4) for p in layer.project(x).chunk(4, -1))

    def turned(vector: Tensor, n: int) -> Tensor:
        out = vector.clone()
        for i, rate in enumerate((1.0, 1e-4)):  # of the two pairs of a head of 4
            c, s = math.cos(n * rate), math.sin(n * rate)
            a, b = vector[2 * i], vector[2 * i + 1]
            out[2 * i], out[2 * i + 1] = a * c - b * s, a * s + b * c
        return out

    rows = []
    for n in range(5):
        heads = []
        for h, a in enumerate((1 - 1 / 32, 1 - 1 / 64)):
            o = sum(a ** (n - m) * (turned(q[n, h], n) @ turned(k[m, h], m)) * v[m, h] for m in range(n + 1))
            assert isinstance(o, Tensor)
            heads.append(o / (o.square().mean() + 4e-6).sqrt() * gate[n, h] * gate[n, h].sigmoid())
        rows.append(torch.cat(heads))
    expected = layer.out(torch.stack(rows))
    torch.testing.assert_close(retnet.parallel(layer, x)[0], expected, rtol=1e-12, atol=1e-14)


@torch.no_grad()
def test_forms_that_differ_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert max(retnet.forms(d_model=8, n_heads=2, frames=70).values()) < 1e-12
    step = Retention.step
    monkeypatch.setattr(Retention, "step", lambda self, x, state: step(self, x, {**state, "S": 0.99 * state["S"]}))
    found = retnet.forms(d_model=8, n_heads=2, frames=70)
    assert found["recurrent"] > 1e-3
    assert found["chunkwise"] < 1e-12


def test_retnet_experiment_at_a_small_size(tmp_path: Path) -> None:
    settings = {
        "forms": {"d_model": 8, "n_heads": 2, "frames": 20},
        "step": {"keys": {"d_model": 8, "n_heads": 2, "n_layers": 2}, "lengths": [16, 64], "rounds": 2},
    }
    found = CLAIMS["retnet"].trial(settings, 0, tmp_path, quiet)
    ours, theirs = 2 * (2 * 4 * 4 * 4 + 8), [2 * (n * (8 * 8 + 1) + 8) for n in (16, 64)]
    assert found["retnet"]["bytes"] == [ours, ours]
    assert found["attention"]["bytes"] == theirs
    assert found["figures"]["smaller"] == theirs[1] / ours
    assert found["figures"]["forms"] < 1e-10
    counted = found["weights"]
    share = (4 * counted["retnet"] + ours) / (4 * counted["attention"] + theirs[1])
    assert found["figures"]["saved"] == pytest.approx(100 * (1 - share))
    drawn(CLAIMS["retnet"], settings, found)


def test_yoco_bytes_by_hand() -> None:
    keys = {"d_model": 4, "n_layers": 2, "n_heads": 1}
    frame = 4 * (4 + 4) + 1  # a key and a value of four float32 numbers, and whether it is there
    by_hand = {"transformer": 2 * (3 * frame + 8), "gated": 3 * frame + 2 * 8 + (4 * 4 * 4 + 8)}
    by_hand["window"] = 3 * frame + 2 * 8 + (2 * frame + 8)
    assert {name: yoco.formula(name, 3, 2, **keys) for name in by_hand} == by_hand
    found = yoco.sizes(keys, 2, [3])
    assert {name: found[name]["bytes"] for name in by_hand} == {name: [n] for name, n in by_hand.items()}


def test_prefill_that_leaves_early_gives_the_last_frame_of_the_whole_network() -> None:
    torch.manual_seed(0)
    x = Seq.of(torch.randn(1, 9, 8))
    for name in yoco.SELF_DECODERS:
        net = yoco.network(name, {"d_model": 8, "n_layers": 2, "n_heads": 2}, 4, 16)
        early, _ = net.prefill(x, net.init_state(1))
        torch.testing.assert_close(early.values[:, 0], net(x).values[:, -1], rtol=1e-4, atol=1e-5)


def test_yoco_experiment_at_a_small_size(tmp_path: Path) -> None:
    keys = {"d_model": 8, "n_layers": 2, "n_heads": 2}
    settings = {
        "cache": {"keys": keys, "left": 4, "lengths": [16, 64]},
        "prefill": {"keys": keys, "left": 4, "frames": 32, "rounds": 2},
        "text": {
            "data": "text:length=16",
            "keys": keys,
            "left": 4,
            "d_ff": {"transformer": 24, "gated": 24, "window": 24},
            "steps": 20,
            "batch_size": 8,
            "rates": [1e-2],
        },
    }
    found = CLAIMS["yoco"].trial(settings, 0, tmp_path, quiet)
    figures, bits, ms = found["figures"], found["bits"], found["ms"]
    assert figures["formula"] == 0
    assert figures["smaller"] == yoco.formula("transformer", 64, 4, **keys) / yoco.formula("gated", 64, 4, **keys)
    assert figures["loss_window"] == bits["window"] / bits["transformer"]
    assert figures["prefill_gated"] == ms["gated"] / min(ms["transformer_step"], ms["transformer_forward"])
    assert all(0 < n < 9 for n in bits.values())
    drawn(CLAIMS["yoco"], settings, found)


def of_seeds(recall: dict[str, list[Any]], text: dict[str, list[Any]]) -> list[dict[str, Any]]:
    rows = {f"{task}_{name}": row for task, two in (("recall", recall), ("text", text)) for name, row in two.items()}
    return [{"figures": {key: row[i] for key, row in rows.items()}} for i in range(len(rows["recall_gated"]))]


def test_the_joint_rule_by_hand() -> None:
    found = gated_retention.joint(
        of_seeds({"gated": [90.0, 92.0], "fixed": [91.0, 91.0]}, {"gated": [2.0, 2.2], "fixed": [2.0, 2.0]})
    )
    root = math.sqrt(2)  # the standard deviation of 90 and 92; the other's is 0
    assert found == {
        "recall_behind": pytest.approx(-root),
        "text_behind": pytest.approx(0.1 - root / 10),
        "ahead": 0.0,
    }
    found = gated_retention.joint(of_seeds({"gated": [93.0], "fixed": [91.0]}, {"gated": [2.3], "fixed": [2.0]}))
    assert found == {"recall_behind": -2.0, "text_behind": pytest.approx(0.3), "ahead": 1.0}
    lost = of_seeds({"gated": [93.0, None], "fixed": [91.0, 91.0]}, {"gated": [2.3, 2.0], "fixed": [2.0, 2.0]})
    assert set(gated_retention.joint(lost).values()) == {None}


def test_gated_retention_experiment_at_a_small_size(tmp_path: Path) -> None:
    keys = {"d_model": 8, "n_layers": 2, "n_heads": 2}
    how = {"d_ff": {"gated": 24, "fixed": 25}, "steps": 15, "batch_size": 8, "rates": [1e-2]}
    settings = {
        "recall": {"data": "mqar:pairs=2,length=8,vocab=8", "keys": {**keys, "short_conv": 4}, **how},
        "text": {"data": "text:length=16", "keys": keys, **how},
        "without_conv": True,
    }
    found = CLAIMS["gated_retention"].trial(settings, 0, tmp_path, quiet)
    names = {f"{task}_{name}" for task in ("recall", "text", "plain") for name in ("gated", "fixed")}
    assert set(found["figures"]) == names
    assert all(0 <= found["figures"][f"recall_{name}"] <= 100 for name in ("gated", "fixed"))
    taps = 2 * 4 * 3 * 8  # of two blocks: four for each of q, k and v
    learned = found["learned"]
    assert learned["recall_gated"]["weights"] - learned["plain_gated"]["weights"] == taps
    drawn(CLAIMS["gated_retention"], settings, found)


def test_delta_rules_that_disagree_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(deltanet.forms([1, 20, 1, 4], 1) or {}) == {"chunk", "numba", "ref"}
    right = ops.delta_rule

    def wrong(q: Tensor, *inputs: Tensor, impl: str) -> tuple[Tensor, Tensor]:
        return right(1.01 * q if impl == "chunk" else q, *inputs, impl=impl)

    monkeypatch.setattr(ops, "delta_rule", wrong)
    assert deltanet.forms([1, 20, 1, 4], 1) is None


def test_deltanet_experiment_at_a_small_size(tmp_path: Path) -> None:
    settings = {
        "data": "mqar:pairs=1+2,length=8,vocab=4",
        "models": ["deltanet", "retnet"],
        "train": {"keys": {"d_model": 8, "n_layers": 1, "n_heads": 1}, "steps": 15, "batch_size": 8, "rates": [1e-2]},
        "op": {"shape": [1, 20, 1, 4], "rounds": 1},
    }
    found = CLAIMS["deltanet"].trial(settings, 0, tmp_path, quiet)
    assert set(found["recall"]) == {"deltanet", "deltanet+conv", "retnet", "retnet+conv"}
    assert found["figures"]["retnet"] == found["recall"]["retnet"]["2"]
    assert found["figures"]["chunk"] == found["ms"]["ref"] / found["ms"]["chunk"]
    drawn(CLAIMS["deltanet"], settings, found)


def test_streams_give_the_answers_of_forward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "induction:length=10"
    order = Order("mamba", {"d_model": 32, "n_layers": 2}, name, steps=120, batch_size=32)
    found = learn(order, [1e-2], data.load(name), tmp_path, quiet)
    generator, right = torch.Generator().manual_seed(2), 0
    for rows in (10, 10, 4):
        x, y = induction_examples(rows, generator, length=30, vocab=16)
        right += int((found.task({"x": x, "y": y}).argmax(-1) == y[:, -1]).sum())
    monkeypatch.setattr(mamba, "CHUNK", 7)
    assert mamba.stream(found.task, 30, 24, quiet) == right / 24
    assert right > 4  # by chance 24/15


def test_mamba_experiment_at_a_small_size(tmp_path: Path) -> None:
    how = {"keys": {"d_model": 16, "n_layers": 1}, "steps": 15, "batch_size": 8, "rates": [1e-2]}
    settings = {
        "induction": {
            "data": "induction:length=8,longer=4+16",
            "train": how,
            "chosen_at": 24,
            "stream": {"frames": 32, "sequences": 4},
        },
        "copy": {"data": "copy:length=8,tokens=2", "train": how},
    }
    found = CLAIMS["mamba"].trial(settings, 0, tmp_path, quiet)
    assert found["lengths"] == [4, 8, 16]
    assert [found["figures"][key] for key in ("trained", "far")] == found["right"][1:]
    assert 0 <= found["figures"]["stream"] <= 100
    assert found["data"]["induction"]["dev"] == 64
    selective, invariant = (found["learned"][name]["weights"] for name in ("copy", "invariant"))
    # dt_rank 1, 16 states, 32 channels: x_proj, dt_proj with its bias, against a bias, B and C
    assert selective - invariant == 32 * (1 + 2 * 16) + (32 + 32) - (32 + 2 * 16)
    drawn(CLAIMS["mamba"], settings, found)


def test_the_rate_is_chosen_on_the_dev_part(tmp_path: Path) -> None:
    told: list[str] = []
    for name in ("parity:length=2", "text:length=16"):  # more is better, less is better
        order = Order("lstm", {"d_model": 8, "n_layers": 1}, name, steps=80, batch_size=32)
        found = learn(order, [1e-6, 3e-2], data.load(name), tmp_path / name[:4], lambda what, *_: told.append(what))
        assert found.lr == 3e-2
        assert found.facts()["curve"][-1] == [80, found.history.dev[-1][1]]
    assert "pari at learning rate 1e-06" in told
