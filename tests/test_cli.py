"""The command line as a user meets it: what it prints, and that bad input is one line and exit status 2."""

import json
import os
import subprocess
import sys

import pytest

from lamina.cli import _run
from lamina.layers import MIXERS
from lamina.models import MODELS


def run(capsys, *arguments):
    status = _run(list(arguments))
    out, err = capsys.readouterr()
    return status, out, err


def test_list_has_every_model_and_mixer(capsys):
    status, out, _ = run(capsys, "list", "--json")
    rows = json.loads(out)
    assert status == 0
    assert all(set(row) == {"name", "paper", "year", "kind", "streams", "reason"} for row in rows)
    assert {r["name"] for r in rows if r["kind"] == "mixer"} == set(MIXERS)
    assert {r["name"] for r in rows if r["kind"] == "model"} == {n for n, m in MODELS.items() if m.kind == "model"}
    streams = {r["name"]: r["streams"] for r in rows if r["kind"] == "model"}
    whole = {"lenet", "alexnet", "bert", "ddpm", "dsn", "gan", "seq2seq", "transformer_seq2seq", "wav2vec2"}
    assert {name for name, does in streams.items() if not does} == whole
    assert {"mlp", "lstm", "transformer", "mamba", "retnet", "gated_retention", "deltanet", "yoco"} <= set(streams)
    assert all((r["reason"] is None) == r["streams"] for r in rows)
    assert next(r for r in rows if r["name"] == "lenet")["reason"] == "it sees a whole image at once"


@pytest.mark.parametrize("name", MODELS)
def test_show_says_what_it_is_and_what_it_costs(capsys, name):
    status, out, _ = run(capsys, "show", name, "--json")
    page = json.loads(out)
    assert status == 0
    assert page["name"] == name
    assert page["cost"]["params"] > 10_000
    if MODELS[name].view != "waveform":  # a frame of which is a sample
        assert page["cost"]["flops_per_frame"] > page["cost"]["params"]  # at least a product a weight
    for key in ("idea", "equations", "shapes", "use", "avoid"):
        assert page[key]
    assert page["references"]
    assert run(capsys, "show", name)[1].startswith(f"{name} ({page['year']})")


def test_show_counts_the_state_that_is_there(capsys):
    page = json.loads(run(capsys, "show", "lstm", "--json")[1])
    assert page["cost"]["state_bytes"] == 2 * 2 * 64 * 4  # two layers, h and c, float32
    assert page["state"] == {f"{i}.{n}": [1, 64] for i in (0, 1) for n in ("h", "c")}
    assert page["cost"]["flops_per_frame"] == 2 * 2 * 128 * 256  # two layers of [128,256]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["shw"], "unknown command 'shw'; did you mean 'show'?"),
        (["list", "--jsn"], "lamina list: unknown option '--jsn'; did you mean '--json'?"),
        (["show", "lsmt"], "unknown model 'lsmt'; did you mean 'lstm'?"),
        (["show"], "lamina show: missing argument 'name'; see lamina show --help"),
        (["bench", "stpe"], "unknown benchmark 'stpe'; did you mean 'step'?"),
        (["compare", "digist"], "unknown data set 'digist'; did you mean 'digits'?"),
        (["compare", "digits", "--models", ""], "--models '': names no structure; write them like lstm,gru"),
        (["compare", "digits", "--params", "10", "--models", "mlp,lstm"], "choose another --params or --models"),
        (["compare", "digits", "--models", "lsmt"], "unknown model 'lsmt'; did you mean 'lstm'?"),
        (["train", "lsmt", "digits"], "unknown model 'lsmt'; did you mean 'lstm'?"),
        (["check", "LSTM", "--law", "chunk"], "unknown law 'chunk'; did you mean 'chunks'?"),
        (["check", "nowhere.py:Mine"], "nowhere.py"),
        (["reproduce", "lsmt"], "unknown claim 'lsmt'; did you mean 'lstm'?"),
        (["eval", "nowhere"], "nowhere"),
    ],
)
def test_bad_input_is_one_line_and_status_2(capsys, monkeypatch, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    status, out, err = run(capsys, *arguments)
    assert status == 2
    assert message in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert out == ""
    assert not list(tmp_path.iterdir())


def test_an_infeasible_budget_names_the_nearest(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    _, _, err = run(capsys, "compare", "digits", "--params", "10")
    assert "mlp: no width meets 10 weights; the nearest has" in err


@pytest.mark.parametrize("command", ["compare", "train"])
def test_ctrl_c_says_that_the_work_goes_on(monkeypatch, capsys, command):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("lamina.data.load", stop)
    status, out, err = run(capsys, *([command, "digits"] if command == "compare" else [command, "lstm", "digits"]))
    assert (status, out) == (130, "")
    assert err.strip() == "stopped; a comparison, training or claim goes on with the same command"


def test_check_says_which_laws_it_left_out(capsys):
    found = json.loads(run(capsys, "check", "Identity", "--json")[1])
    assert {"layer": "Identity", "check": "aging", "reason": "slow: add --slow"} in found["skipped"]
    assert found["failed"] == []


def test_debug_shows_the_traceback():
    call = [sys.executable, "-m", "lamina", "--debug", "show", "lsmt"]
    done = subprocess.run(call, capture_output=True, text=True, check=False, env={**os.environ, "LAMINA_DEBUG": ""})
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_bench_gives_ratios_after_agreement(capsys):
    status, out, _ = run(capsys, "bench", "step", "--rounds", "3", "--json")
    found = json.loads(out)
    assert status == 0
    assert set(found["times"]) == {"lamina", "LSTMCell", "nn.LSTM"}
    ratio = found["times"]["lamina"]["us_p50"] / found["times"]["LSTMCell"]["us_p50"]
    assert found["ratio_to_LSTMCell"] == pytest.approx(ratio, rel=0.01)


def test_bench_gives_no_time_where_the_outputs_differ(capsys, monkeypatch):
    from lamina.layers import LSTM

    step = LSTM.step
    monkeypatch.setattr(
        LSTM, "step", lambda self, x, state, memory=None: step(self, x.with_values(2 * x.values), state)
    )
    status, out, err = run(capsys, "bench", "step", "--rounds", "3")
    assert (status, out) == (2, "")
    assert "no time is given on red" in err


def test_the_commands_of_the_help_exist(capsys):
    _, out, _ = run(capsys)
    for command in ("list", "show", "check", "train", "eval", "compare", "reproduce", "bench"):
        assert f"\n  {command} " in out
        status, text, _ = run(capsys, command, "--help")
        assert status == 0
        assert text.count(f"lamina {command}") >= 2  # the usage line, and an example
