"""Studies of memory: the short convolution as a factor, further test parts, the page that begins with the states."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace

import pytest

from lamina import data
from lamina.cli import _run, main
from lamina.compare import handover, latency, report
from lamina.compare.budget import LIMIT, count, solve
from lamina.compare.engine import compare
from lamina.compare.feasible import entries
from lamina.compare.plan import Settings
from lamina.compare.results import chance
from lamina.compare.structure import TAPS, both_ways, structure
from lamina.compare.studies import STUDIES, study_of
from lamina.core import UserError
from lamina.layers import Embedding, ShortConv
from report_results import digits

DATA = "mqar:pairs=1+2,length=12,vocab=8"
SMALL = Settings(DATA, 3000, models=("gru", "gru+conv", "deltanet+conv", "mlp"), steps=30, seeds=2, lr_grid=(0.01,))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A comparison of two memories and one that cannot take tokens: (folder, results)."""
    out = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"SECONDS": 0.0, "STEPS": 20, "WARM_UP": 2, "LENGTHS": (1, 4, 16)}.items():
            patch.setattr(latency, name, value)
        return out, compare(SMALL, out, workers=2)


# structures -----------------------------------------------------------------------------------------------------------


def test_a_short_convolution_stands_in_the_mixers_or_behind_the_stem() -> None:
    dataset = data.load(DATA)
    own, outer = structure("deltanet+conv"), structure("gru+conv")
    assert (own.keys, own.taps, own.where) == ({"short_conv": TAPS}, 0, "short convolution of 4 in each mixer")
    assert (outer.keys, outer.taps, outer.where) == ({}, TAPS, "short convolution of 4 behind the stem")
    assert structure("deltanet").where == structure("gru").where == ""
    task = outer.build({"d_model": 8}, dataset)
    kinds = [type(layer) for layer in task.stem.modules()]
    assert kinds.index(Embedding) < kinds.index(ShortConv)
    assert not any(isinstance(layer, ShortConv) for layer in structure("gru").build({}, dataset).modules())
    inner = own.build({"d_model": 8, **own.keys}, dataset)
    assert sum(isinstance(layer, ShortConv) for layer in inner.backbone.modules()) == 2
    assert not any(isinstance(layer, ShortConv) for layer in inner.stem.modules())


def test_what_has_a_convolution_unasked_can_go_without() -> None:
    assert both_ways("gru") == ("gru", "gru+conv")
    assert both_ways("mamba") == ("mamba-conv", "mamba")
    assert structure("mamba").where == "short convolution of 4 in each mixer"
    assert (structure("mamba-conv").keys, structure("mamba-conv").where) == ({"short_conv": 0}, "")
    assert structure("mamba+conv").name == "mamba"
    assert structure("gated-retention+conv").name == "gated_retention+conv"
    with pytest.raises(UserError, match="gru-conv: gru has no short convolution to leave out; write gru"):
        structure("gru-conv")
    with pytest.raises(UserError, match="unknown model 'gruu'; did you mean 'gru'"):
        structure("gruu+conv")


def test_the_convolution_counts_in_the_budget() -> None:
    dataset = data.load(DATA)
    for name in ("gru+conv", "deltanet+conv", "mamba-conv"):
        found = structure(name)
        solved = solve(found.model.name, dataset, 20_000, found.keys, found.taps)
        assert abs(solved.off) <= LIMIT
        real = sum(p.numel() for p in found.build(solved.keys, dataset).parameters())
        assert solved.params == real == count(found.model.name, solved.keys, dataset, found.taps)
    mlp = entries(replace(SMALL, models=("mlp+conv", "lenet+conv")), data.load("digits"))[0]
    assert [(e.status, e.reason) for e in mlp] == [
        ("cannot take the data", "a short convolution needs frames in time")
    ] * 2


# studies --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(STUDIES))
def test_every_structure_of_a_study_can_run_with_and_without_it(name: str) -> None:
    _, study, options = study_of(name)
    where = study.data_name(options)
    found, left = entries(Settings(where, study=name), data.load(where))
    assert [e.reason for e in found if not e.ready] == []
    assert left == ()
    with_it = [e.model for e in found if structure(e.model).where]
    assert 2 * len(with_it) == len(found) == 2 * len(study.memories)
    heads = {e.model.partition("+")[0]: e.config.get("n_heads") for e in found}
    assert (heads["deltanet"], heads["gated_retention"], heads["retnet"]) == (1, 1, 4)


def test_recall_has_room_for_the_pairs_asked_for() -> None:
    for words, wanted in (
        ("recall", "mqar:pairs=4+8+16+32,vocab=128"),
        ("recall:pairs=4+8", "mqar:pairs=4+8,vocab=128"),
        ("recall:pairs=16+64", "mqar:pairs=16+64,length=256,vocab=128"),
        ("recall:length=200", "mqar:pairs=4+8+16+32,length=200,vocab=128"),
        ("copy", "copy:length=64,tokens=8,longer=128+256"),
        ("induction:longer=80", "induction:length=64,longer=80"),
    ):
        _, study, options = study_of(words)
        assert study.data_name(options) == wanted
        assert data.load(wanted).probes
    assert study_of("mqar") is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["recal"], "unknown data set 'recal'; did you mean 'recall'?"),
        (["recall:pair=4"], "unknown option 'pair'; did you mean 'pairs'?"),
        (["recall", "--pairs", "four"], "pairs='four' must be numbers such as 4+8+16"),
        (["recall", "--models", "lsmt+conv"], "unknown model 'lsmt'; did you mean 'lstm'?"),
        (["copy", "--pairs", "4"], "--pairs: only recall has key-value pairs; leave it out"),
        (
            ["mqar", "--pairs", "4,8"],
            "--pairs: only recall has key-value pairs; write lamina compare recall --pairs 4,8",
        ),
    ],
)
def test_the_command_refuses_in_one_line(words, message, capsys, monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    assert _run(["compare", *words]) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert (out, err.count("\n")) == ("", 1)
    assert not list(tmp_path.iterdir())


def test_the_command_asks_for_what_the_study_says(monkeypatch, tmp_path, capsys) -> None:
    asked = []
    monkeypatch.setattr("lamina.compare.engine.compare", lambda settings, *_, **__: asked.append(settings) or {})
    for words in (["recall", "--pairs", "2,4", "--minutes", "3"], ["recall:pairs=2+4", "--lr", "0.1"], ["digits"]):
        with pytest.raises(SystemExit) as left:
            main(["compare", *words, "--json", "--out", str(tmp_path / "x")])
        assert left.value.code == 0
    recall, same, plain = asked
    assert (recall.data, recall.study) == ("mqar:pairs=2+4,vocab=128", "recall:pairs=2+4") == (same.data, same.study)
    assert (recall.minutes, recall.steps, recall.lr_grid, recall.batch_size) == (3.0, None, (0.003, 0.01), 16)
    assert (same.minutes, same.steps, same.lr_grid) == (5.0, 1500, (0.1,))
    assert (plain.study, plain.minutes, plain.steps, plain.batch_size) == ("", 5.0, None, 64)
    assert recall.command(70).startswith("lamina compare recall:pairs=2+4 --steps 70")
    assert "--models" not in recall.command(70)


# the run --------------------------------------------------------------------------------------------------------------


def test_each_network_meets_every_further_part(whole) -> None:
    _, found = whole
    rows = {row["model"]: row for row in found["rows"]}
    assert rows["mlp"]["status"] == "cannot take the data"
    assert (found["probe"], found["data"]["train"]) == ("key-value pairs", "fresh examples at every step")
    assert found["chance"] == pytest.approx(chance(data.load(DATA)))
    for name in ("gru", "gru+conv", "deltanet+conv"):
        row = rows[name]
        assert row["short_conv"] is name.endswith("+conv")
        assert row["paper"]
        assert [n for n, _ in row["probes"]] == [1, 2]
        assert all(len(scores) == 2 and 0 <= min(scores) <= max(scores) <= 1 for _, scores in row["probes"])
        # the test part mixes both: one answer of three is of one pair
        for seed, score in enumerate(row["scores"]):
            (_, one), (_, two) = row["probes"]
            assert score == pytest.approx((one[seed] + 2 * two[seed]) / 3, abs=0.05)
    assert found["verdict"].startswith("At 3k weights, ")
    assert "recall of 1 to 2 pairs" in found["verdict"]


def test_a_worker_makes_the_same_fresh_examples(tmp_path) -> None:
    dataset = data.load(DATA)
    handover.write(dataset, tmp_path / "data.safetensors")
    again = handover.read(tmp_path / "data.safetensors")
    assert (again.n_vocab, again.task, again.name) == (8, "answer", DATA)
    mine, theirs = (data.batches(d, 4, seed=3)(7) for d in (dataset, again))
    assert mine["x"].equal(theirs["x"])
    assert mine["y"].equal(theirs["y"])


def test_the_page_begins_with_the_states(whole) -> None:
    out, _ = whole
    page = (out / "report.html").read_text()
    first = page[: page.index('<table id="rows"')]
    assert first.index('id="chart-state"') < first.index('id="chart-memory"')
    assert "hollow: the same structure without one" in first
    head = re.search(r'<table id="rows".*?</tr>', page, re.S).group()
    assert "1 key-value pairs" in head
    charts = json.loads(re.search(r'id="report-data">(.*?)</script>', page, re.S).group(1))["charts"]
    by = {chart["id"]: chart for chart in charts}
    assert {dot["name"]: dot["hollow"] for dot in by["state"]["dots"]} == {
        "gru": True, "gru+conv": False, "deltanet+conv": False,
    }  # fmt: skip
    assert [line["name"] for line in by["asked-without"]["lines"]] == ["gru"]
    assert {line["name"] for line in by["asked-with"]["lines"]} == {"gru+conv", "deltanet+conv"}
    assert by["asked-with"]["lines"][0]["x"] == [1, 2]
    assert {line["name"] for line in by["memory"]["lines"]} == {"gru"}
    assert len(by) == len(charts)
    rows = {row["model"]: row for row in csv.DictReader((out / "results.csv").open())}
    assert re.fullmatch(r"1=0\.\d+;2=0\.\d+", rows["gru"]["probes"])
    assert rows["mlp"]["probes"] == ""


def test_other_pages_begin_as_before(tmp_path) -> None:
    report.write(digits(), tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert 'id="chart-tradeoff"' in page
    assert 'id="chart-state"' not in page
    assert 'id="asked"' not in page


def test_text_is_compared_in_bits_per_byte(tmp_path) -> None:
    path = tmp_path / "mine.txt"
    path.write_bytes(b"abab" * 3000)
    settings = Settings(str(path), 20_000, models=("gru", "conv"), steps=20, seeds=1, lr_grid=(0.01,), batch_size=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latency, "SECONDS", 0.0)
        patch.setattr(latency, "LENGTHS", (1, 4))
        found = compare(settings, tmp_path / "out", workers=2)
    assert (found["metric"], found["better"]) == ("bits per byte", "lower")
    assert found["chance"] == pytest.approx(1.0, abs=0.1)  # two letters, each half of the time
    assert all(row["score"] < 8 for row in found["rows"])
    assert "probes" in found["rows"][0]
    assert "bits per byte" in found["verdict"]
