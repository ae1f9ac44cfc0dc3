"""The claims: their registry, rules, records and verdicts, and each experiment at a size of seconds."""

from __future__ import annotations

import ast
import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from claim_parts import drawn, quiet
from lamina.cli import main
from lamina.core import UserError
from lamina.models import MODELS
from lamina.reproduce import CLAIMS, TIERS, Claim, Figure, Plan, Tier, due, fallen, find, keep, read_verdicts, reproduce
from lamina.reproduce import record as records
from lamina.reproduce.claim import digits3
from lamina.reproduce.picture import Axis, Chart, Line, Row, Tiles, draw

PROMISED = {"claim", "paper", "ours", "spread", "seeds", "minutes", "verdict", "tier", "figures", "env", "unit", "note"}


def small_claim(scores: dict[int, float | None], ran: list[int] | None = None) -> Claim:
    """A claim whose trial gives the score of its seed, or stops at a seed without one."""

    def trial(settings: dict[str, Any], seed: int, folder: Path, tell: Any) -> dict[str, Any]:
        if seed not in scores:
            raise KeyboardInterrupt
        if ran is not None:
            ran.append(seed)
        tell("half", 1, 2)
        return {"figures": {"error": scores[seed], "size": 7}, "data": None}

    figures = (Figure("error", "errors", "%", "0.95 % (p)", most=1.2), Figure("size", "weights"))
    return Claim(
        name="small",
        structure="mlp",
        source="nobody 1901",
        says="it can be done",
        paper="0.95 % (p)",
        plan=lambda tier: Plan((0, 1), {"steps": 3}, figures, "a note"),
        trial=trial,
        picture=lambda record, trials: draw(record["says"], record["note"], []),
    )


def test_every_claim_has_a_source_a_structure_and_a_rule_in_both_tiers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAMINA_DATA", raising=False)
    memory = {"mamba", "retnet", "gated_retention", "deltanet", "yoco"}
    assert {"mlp", "lstm", "lenet"} | memory <= set(CLAIMS)
    for name, claim in CLAIMS.items():
        assert claim.name == name
        assert claim.structure in MODELS or claim.structure == "genetic"  # which trains any model, and is none
        assert claim.says
        assert claim.source
        for tier in TIERS:
            plan = claim.plan(tier)
            assert plan.seeds
            assert plan.note
            assert any(f.accept for f in plan.figures), f"{name}: no rule in tier {tier}"
            assert len({f.key for f in plan.figures}) == len(plan.figures)
            assert json.loads(json.dumps(plan.settings)) == plan.settings


def test_full_rules_are_those_of_the_claims() -> None:
    rules = {name: {f.key: f.accept for f in CLAIMS[name].plan("full").figures} for name in ("mlp", "lstm", "lenet")}
    assert rules["mlp"]["images"] == ">= 97.5 %"
    assert rules["mlp"]["xor"] == ">= 100 %"
    assert rules["mlp"]["widening"] == "< 1"
    assert rules["lstm"]["mse"] == "< 0.01"
    assert rules["lstm"]["rnn_mse"] == ">= 0.15"
    assert rules["lenet"]["error"] == "<= 1.2 %"
    assert CLAIMS["lstm"].plan("full").settings["frames"] == 500
    assert CLAIMS["lstm"].plan("ci").settings["frames"] == 100


def test_figures_quoted_from_memory_are_marked() -> None:
    for claim in CLAIMS.values():
        quoted = [f.paper for f in claim.plan("ci").figures if f.paper]
        assert all(words.endswith("(p)") for words in quoted)
        assert "(p)" in claim.paper


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        ({"least": 97.5}, 97.5, 97.4999),
        ({"most": 1.2}, 1.2, 1.2001),
        ({"below": 0.01}, 0.009999, 0.01),
        ({"least": 1.0, "most": 2.0}, 1.5, 2.5),
    ],
)
def test_rules_hold_to_their_limit_and_not_beyond(rule: dict[str, float], good: float, bad: float) -> None:
    figure = Figure("x", "x", **rule)
    assert figure.meets(good)
    assert not figure.meets(bad)
    assert not any(figure.meets(v) for v in (None, float("nan"), float("inf"), float("-inf")))


def test_a_rule_must_hold_for_every_seed_not_for_their_mean() -> None:
    figure = Figure("x", "x", most=1.2)
    judged = figure.judge([0.5, 1.3])
    assert judged["ours"] == pytest.approx(0.9)
    assert judged["spread"] == pytest.approx(0.56568, abs=1e-4)
    assert judged["met"] is False
    assert figure.judge([0.5, 1.1])["met"] is True


def test_a_figure_without_a_number_fails_and_one_without_a_rule_only_reports() -> None:
    judged = Figure("x", "x", below=1.0).judge([0.5, float("nan")])
    assert judged["ours"] is None
    assert judged["spread"] is None
    assert judged["scores"] == [0.5, None]
    assert judged["met"] is False
    assert Figure("y", "y").judge([3.0])["met"] is None
    assert Figure("y", "y").judge([3.0])["spread"] is None


@pytest.mark.parametrize(("second", "verdict"), [(1.1, "PASS"), (1.3, "FAIL"), (None, "FAIL")])
def test_record_says_what_was_promised(tmp_path: Path, second: float | None, verdict: str) -> None:
    found = reproduce(small_claim({0: 1.0, 1: second}), "ci", tmp_path, quiet)
    assert set(found) >= PROMISED
    assert found["verdict"] == verdict
    assert found["seeds"] == [0, 1]
    assert found["ours"] == (None if second is None else pytest.approx((1.0 + second) / 2))
    written = json.loads((tmp_path / "small" / "ci.json").read_text())
    assert written["verdict"] == verdict
    assert written["schema"] == 1
    assert written["figures"][0]["paper"] == "0.95 % (p)"
    assert [json.loads((tmp_path / "small" / name).read_text())["seed"] for name in written["trials"]] == [0, 1]
    assert sorted(p.name for p in (tmp_path / "small").iterdir()) == [
        "ci-seed0.json", "ci-seed1.json", "ci.json", "ci.svg",
    ]  # fmt: skip


def test_an_interrupted_claim_goes_on_with_the_seeds_that_are_missing(tmp_path: Path) -> None:
    ran: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        reproduce(small_claim({0: 1.0}, ran), "ci", tmp_path, quiet)
    assert not (tmp_path / "small" / "ci.json").exists()
    found = reproduce(small_claim({0: 9.0, 1: 1.1}, ran), "ci", tmp_path, quiet)
    assert ran == [0, 1]
    assert found["figures"][0]["scores"] == [1.0, 1.1]


@pytest.mark.parametrize(("tier", "digest"), [("ci", "code_digest"), ("full", "experiment_digest")])
def test_other_code_is_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tier: Tier, digest: str) -> None:
    ran: list[int] = []
    claim = small_claim({0: 1.0, 1: 1.1}, ran)
    monkeypatch.setattr(records, digest, lambda name: "before")
    reproduce(claim, tier, tmp_path, quiet)
    reproduce(claim, tier, tmp_path, quiet)
    assert ran == [0, 1]
    monkeypatch.setattr(records, digest, lambda name: "after")
    reproduce(claim, tier, tmp_path, quiet)
    assert ran == [0, 1, 0, 1]


def verdict(claim: str, said: str, tier: str = "ci") -> dict[str, Any]:
    facts = {
        "measure": "errors",
        "ours": 1.0,
        "spread": None,
        "unit": "%",
        "seeds": [0],
        "minutes": 0.1,
        "created": "now",
    }
    return {"claim": claim, "tier": tier, "verdict": said, **facts}


def test_only_a_claim_that_had_passed_can_fall(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.json"
    keep([verdict("a", "PASS"), verdict("b", "FAIL"), verdict("c", "PASS", "full")], path)
    before = read_verdicts(path)
    now = [verdict("a", "FAIL"), verdict("b", "FAIL"), verdict("c", "FAIL"), verdict("d", "FAIL")]
    assert fallen(now, before) == ["a"]
    assert fallen([verdict("a", "PASS"), verdict("c", "FAIL", "full")], before) == ["c"]


def test_a_part_that_was_true_can_fall(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.json"
    first = verdict("a", "MEASURED") | {"parts": [{"name": "x", "verdict": "true"}, {"name": "y", "verdict": "false"}]}
    keep([first], path)
    before = read_verdicts(path)
    assert before["a"]["ci"]["parts"] == {"x": "true", "y": "false"}
    assert fallen([first], before) == []
    assert fallen([first | {"verdict": "PASS"}], before) == []
    assert fallen([verdict("a", "FAIL")], before) == ["a"]
    other = first | {"parts": [{"name": "x", "verdict": "false"}, {"name": "y", "verdict": "true"}]}
    assert fallen([other], before) == ["a"]


def test_keep_leaves_other_claims_and_tiers(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.json"
    keep([verdict("a", "PASS"), verdict("b", "PASS")], path)
    keep([verdict("a", "FAIL"), verdict("a", "PASS", "full")], path)
    said = {name: {tier: row["verdict"] for tier, row in tiers.items()} for name, tiers in read_verdicts(path).items()}
    assert said == {"a": {"ci": "FAIL", "full": "PASS"}, "b": {"ci": "PASS"}}


@pytest.mark.parametrize("content", ["", "[]", '{"schema": 9, "verdicts": {}}', '{"schema": 1, "verdicts": [1]}'])
def test_a_file_of_no_verdicts_is_said_plainly(tmp_path: Path, content: str) -> None:
    path = tmp_path / "verdicts.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"verdicts\.json"):
        read_verdicts(path)


def run(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["reproduce", *arguments])
    return int(stop.value.code or 0)


@pytest.fixture
def one_claim(monkeypatch: pytest.MonkeyPatch) -> Claim:
    claim = small_claim({0: 1.0, 1: 1.3})  # fails: 1.3 > 1.2
    monkeypatch.setitem(CLAIMS, "small", claim)
    for name in set(CLAIMS) - {"small"}:
        monkeypatch.delitem(CLAIMS, name)
    return claim


def test_command_prints_one_object_or_a_list(
    one_claim: Claim, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["small", "--json", "--out", str(tmp_path)]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["verdict"] == "FAIL"
    assert run(["--all", "--tier", "ci", "--json", "--out", str(tmp_path)]) == 0
    assert [r["claim"] for r in json.loads(capsys.readouterr().out)] == ["small"]
    assert run(["small", "--out", str(tmp_path)]) == 0
    words = capsys.readouterr().out
    assert "small: FAIL" in words
    assert "0.95 % (p)" in words
    assert "accepted if <= 1.2 %: NO" in words


def test_command_exits_1_only_where_a_claim_had_passed(
    one_claim: Claim, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "verdicts.json"
    order = ["--all", "--out", str(tmp_path), "--against", str(path)]
    keep([verdict("small", "FAIL")], path)
    assert run(order) == 0
    keep([verdict("small", "PASS")], path)
    assert run(order) == 1
    assert "worse than before: small" in capsys.readouterr().err
    assert run([*order, "--keep", str(path)]) == 1
    assert read_verdicts(path)["small"]["ci"]["verdict"] == "FAIL"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["lstn"], "did you mean 'lstm'?"),
        (["lstm", "--tier", "ful"], "did you mean 'full'?"),
        ([], "or give --all"),
        (["lstm", "--all"], "one of them"),
        (["--all", "--due", "nowhere"], "one of them"),
        (["--due", "nowhere"], "nowhere: no such folder"),
        (["lstm", "--against", "/nowhere/verdicts.json"], "no such file"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_names_take_hyphens_and_capitals() -> None:
    assert find("LeNet") is CLAIMS["lenet"]


def test_the_full_tier_without_its_data_says_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAMINA_DATA", raising=False)
    with pytest.raises(UserError, match="LAMINA_DATA"):
        reproduce(CLAIMS["lenet"], "full", tmp_path, quiet)


def test_lstm_experiment_at_a_small_size(tmp_path: Path) -> None:
    claim = CLAIMS["lstm"]
    settings = {
        "frames": 4, "d_model": 16, "sequences": 12_800, "batch_size": 64, "lr": 2e-2, "rnn_lrs": [1e-5, 1e-4],
        "parts": [100, 400], "scored_every": 3200,
    }  # fmt: skip
    told: list[tuple[str, int, int]] = []
    found = claim.trial(settings, 0, tmp_path, lambda what, done, of: told.append((what, done, of)))
    assert found["figures"]["mse"] < 0.01
    assert found["weights"]["lstm"] == 3 * 16 + (32 * 64 + 64) + 17
    assert found["figures"]["rnn_mse"] > found["figures"]["mse"]
    assert found["figures"]["sequences"] in (3200, 6400, 9600, 12_800)
    assert found["rnn_lr"] in settings["rnn_lrs"]
    assert [x for x, _ in found["curves"]["lstm"]] == [3200, 6400, 9600, 12_800]
    assert told[-1] == ("rnn at learning rate 0.0001", 200, 200)
    drawn(claim, settings, found)


def test_mlp_experiment_at_a_small_size(tmp_path: Path) -> None:
    claim = CLAIMS["mlp"]
    settings = {
        "xor": {"bits": 2, "hidden": 8, "steps": 200, "lr": 0.05},
        "parity": {"bits": 3, "hidden": 16, "steps": 200, "lr": 0.05},
        "fit": {"widths": [2, 64], "starts": 2, "steps": 100, "lr": 0.01},
        "images": {"data": "digits", "hidden": 32, "epochs": 4, "batch_size": 64, "lr": 1e-2},
    }
    found = claim.trial(settings, 0, tmp_path, quiet)
    assert found["figures"]["xor"] == 100.0
    assert found["figures"]["parity"] == 100.0
    assert found["figures"]["widening"] < 0.6
    assert found["figures"]["gain"] == pytest.approx(1 / found["figures"]["widening"])
    assert found["figures"]["images"] > 85
    assert found["data"]["name"] == "digits"
    drawn(claim, settings, found)


def test_lenet_experiment_at_a_small_size(tmp_path: Path) -> None:
    claim = CLAIMS["lenet"]
    settings = {"data": "digits", "epochs": 3, "batch_size": 64, "lr": 5e-3}
    found = claim.trial(settings, 0, tmp_path, quiet)
    assert found["figures"]["weights"] == 61_706
    assert found["figures"]["error"] < 40
    assert len(found["curve"]) == 3
    assert [len(found["filters"]), len(found["filters"][0]), len(found["filters"][0][0])] == [6, 5, 5]
    drawn(claim, settings, found)


def test_a_chart_of_diverged_and_constant_curves_is_still_whole() -> None:
    lines = [Line([1, 2], [float("nan"), float("inf")], label="a <b>"), Line([1, 2], [0.5, 0.5], "#0072B2", "c")]
    chart = Chart(lines, Axis("x"), Axis("y", log=True), rules=((0.1, "chance"),))
    svg = draw("A & B", "note", [chart, Row([chart, chart]), Tiles([[[0.0, 0.0], [0.0, 0.0]]], "none")])
    assert ElementTree.fromstring(svg) is not None
    assert "nan" not in svg


@pytest.mark.parametrize(
    ("number", "said"),
    [(None, "no value"), (98.123, "98.1 %"), (61706, "61,706 %"), (0.0, "0 %"), (0.0000123, "1.23e-5 %")],
)
def test_numbers_have_three_digits(number: float | None, said: str) -> None:
    assert digits3(number, "%" if number is not None else "") == said


def test_the_experiments_digest_knows_its_code_and_not_its_words(tmp_path: Path) -> None:
    def digest(name: str, body: str) -> str:
        path = tmp_path / f"{name}.py"
        path.write_text(body)
        space: dict[str, Any] = {}
        exec(compile(body, str(path), "exec"), space)  # a module of its own, with its own file
        return records.experiment_digest(replace(CLAIMS["lstm"], trial=space["trial"]))

    first = digest("a", "def trial(s):\n    return s + 1\ndef picture():\n    return 'one'\n")
    assert digest("b", "def trial(s):  # a comment\n    return s + 1\ndef picture():\n    return 'two'\n") == first
    assert digest("c", "def trial(s):\n    return s + 2\ndef picture():\n    return 'one'\n") != first
    learning = "from lamina.reproduce.learn import learn\ndef trial(s):\n    return s + 1\n"
    assert digest("d", learning) != digest("e", "def trial(s):\n    return s + 1\n")  # what is shared counts too


@pytest.mark.parametrize("name", CLAIMS)
def test_an_experiments_digest_is_one_under_every_python(name: str) -> None:
    """`ast.unparse` quotes an f-string that holds quotes in its braces otherwise before 3.12."""
    tree = ast.parse(Path(CLAIMS[name].trial.__code__.co_filename).read_text())
    code = [n for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef) and n.name not in records.WORDS]
    braces = [n.value for part in code for n in ast.walk(part) if isinstance(n, ast.FormattedValue)]
    quoted = [n for one in braces for n in ast.walk(one) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    assert [f"line {n.lineno}: {n.value!r}" for n in quoted] == []


def test_figures_of_all_seeds_together_are_judged_once(tmp_path: Path) -> None:
    figures = (Figure("error", "errors"), Figure("range", "largest - smallest", most=0.25))

    def joint(trials: list[dict[str, Any]]) -> dict[str, float | None]:
        errors = [t["figures"]["error"] for t in trials]
        return {"range": max(errors) - min(errors)}

    claim = replace(small_claim({0: 1.0, 1: 1.3}), joint=joint, plan=lambda tier: Plan((0, 1), {}, figures, "a note"))
    found = reproduce(claim, "ci", tmp_path, quiet)
    assert found["figures"][1]["scores"] == [pytest.approx(0.3)]
    assert found["verdict"] == "FAIL"


def test_what_is_due_is_what_changed_and_every_other_claim_once_in_four_days(tmp_path: Path) -> None:
    claims = [replace(small_claim({0: 1.0, 1: 1.0}), name=f"claim{i}") for i in range(6)]
    assert [c.name for c in due(claims, "ci", tmp_path, 0)] == [c.name for c in claims]  # no record at all
    for claim in claims:
        reproduce(claim, "ci", tmp_path, quiet)
    days = [{c.name for c in due(claims, "ci", tmp_path, day)} for day in range(100, 104)]
    assert set.union(*days) == {c.name for c in claims}
    assert sorted(map(len, days)) == [1, 1, 2, 2]
    other = replace(claims[3], plan=lambda tier: replace(claims[3].plan(tier), settings={"steps": 4}))
    assert all(other in due([*claims[:3], other], "ci", tmp_path, day) for day in range(4))
