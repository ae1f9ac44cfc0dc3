"""A comparison on digits as `lamina compare` writes it, for the tests of the report."""

from __future__ import annotations

__all__ = ["digits", "recall"]

FRAMES = [1, 10, 128, 1000, 10_000, 100_000]
LOSS = [2.3, 1.1, 0.52, 0.31, 0.2, 0.14, 0.1, 0.08, 0.07, 0.066]


def _row(model, family, year, scores, params, step, state, config, view="8 rows of 8 as frames", **more):
    mean = sum(scores) / len(scores)
    sd = (sum((s - mean) ** 2 for s in scores) / (len(scores) - 1)) ** 0.5
    p50, p95, p99 = step or (None, None, None)
    frames = 1 if model in ("mlp", "lenet") else 8
    row = {
        "model": model,
        "paper": f"The paper of {model}",
        "year": year,
        "family": family,
        "params": params,
        "score": mean,
        "score_sd": sd,
        "scores": scores,
        "seeds": [0, 1, 2],
        "lr": 0.003,
        "dev_score": mean + 0.004,
        "train_s": 7.3 + 2 * frames,
        "flops_per_frame": 2 * params,
        "flops_per_example": 2 * params * frames,
        "step_ms_p50": p50,
        "step_ms_p95": p95,
        "step_ms_p99": p99,
        "state_bytes": state,
        "latency_frames": 1 if step else None,
        "streams": step is not None,
        "reason": None,
        "view": view,
        "config": config,
        "status": "done",
        "state_curve": [[n, state] for n in FRAMES] if step else None,
    }
    return {**row, **more}


def _unfinished(model, family, year, status, reason, **more):
    empty = dict.fromkeys(_row("x", "dense", 1, [0, 0], 1, None, None, {}))
    return {**empty, "model": model, "family": family, "year": year, "status": status, "reason": reason, **more}


def _curves(final, speed):
    def run(seed):
        wave = 1 + 0.06 * (seed - 1)
        loss = [[40 * i + 1, (0.02 + (x - 0.02) ** (speed if x < 1 else 1)) * wave] for i, x in enumerate(LOSS)]
        dev = [[40 * i, final - (final - 0.1) * (x / 2.3) ** speed * wave] for i, x in enumerate(LOSS)]
        return {"seed": seed, "lr": 0.003, "loss": loss, "dev": dev}

    return [run(seed) for seed in range(3)]


def _done():
    layers = {"d_model": 64, "n_layers": 2}
    window = [[n, 2 * 2 * 64 * 4 * min(n, 128)] for n in FRAMES]
    return [
        _row(
            "mlp",
            "dense",
            1986,
            [0.9694, 0.9722, 0.9722],
            60_142,
            (0.051, 0.058, 0.09),
            0,
            {"d_model": 212},
            "8x8 as one frame",
        ),
        _row(
            "rnn",
            "recurrence",
            1990,
            [0.9444, 0.9556, 0.9389],
            60_074,
            (0.098, 0.112, 0.171),
            1152,
            {"d_model": 144, "n_layers": 2},
        ),
        _row(
            "lstm",
            "recurrence",
            1997,
            [0.9667, 0.9750, 0.9694],
            59_806,
            (0.142, 0.171, 0.254),
            1152,
            {"d_model": 72, "n_layers": 2},
        ),
        _row(
            "gru",
            "recurrence",
            2014,
            [0.9722, 0.9667, 0.9722],
            60_410,
            (0.163, 0.19, 0.288),
            672,
            {"d_model": 84, "n_layers": 2},
        ),
        _row(
            "transformer",
            "attention",
            2017,
            [0.9639, 0.9722, 0.9694],
            60_288,
            (0.402, 0.471, 0.69),
            131_072,
            layers,
            state_curve=window,
        ),
        _row(
            "lenet",
            "convolution",
            1998,
            [0.9889, 0.9861, 0.9917],
            61_006,
            None,
            None,
            {"n_classes": 10},
            "32x32 image",
            reason="an image is seen all at once",
        ),
    ]


def _unfinished_rows():
    return [
        _unfinished(
            "retnet",
            "retention and delta",
            2023,
            "diverged",
            "the loss was NaN at step 57 at every learning rate",
            params=60_020,
        ),
        _unfinished(
            "bert",
            "attention",
            2019,
            "infeasible",
            "the narrowest is 71,204 weights, 18.7 % over the budget",
            params=71_204,
        ),
        _unfinished(
            "seq2seq",
            "attention",
            2015,
            "cannot take the data",
            "needs a target sequence; digits has one label an image",
        ),
    ]


def _trials(done):
    trials = [
        {"model": m, "lr": lr, "seed": 0, "dev_score": s - 0.01, "status": "done", "seconds": 5.2}
        for m, s in done.items()
        for lr in (0.001, 0.003, 0.01)
    ]
    trials.append(
        {"model": "retnet", "lr": 0.01, "seed": 0, "dev_score": float("nan"), "status": "diverged", "seconds": 1.1}
    )
    return trials


def digits():
    """A comparison on digits: six structures done, one of which does not stream, and one of each way not to finish."""
    rows = _done() + _unfinished_rows()
    done = {r["model"]: r["score"] for r in rows if r["status"] == "done"}
    curves = {name: _curves(score, 0.8 + 0.1 * i) for i, (name, score) in enumerate(done.items())}
    curves["retnet"] = [{"seed": 0, "lr": None, "loss": [[1, 2.3], [20, 2.1], [40, float("nan")]], "dev": [[0, 0.1]]}]
    data = {
        "name": "digits",
        "kind": "image",
        "task": "classify",
        "train": 1077,
        "dev": 360,
        "test": 360,
        "shape": [1, 8, 8],
        "classes": 10,
        "source": "1,797 handwritten digits of 8x8 (scikit-learn)",
        "digest": "5f2c81aa",
    }
    return {
        "schema": 1,
        "lamina": "0.1.0",
        "name": "digits",
        "command": "lamina compare digits --params 60k",
        "metric": "accuracy",
        "created": "2026-01-05T10:02:11+00:00",
        "better": "higher",
        "chance": 0.1,
        "data": data,
        "rows": rows,
        "curves": curves,
        "budget": {
            "params": 60_000,
            "tolerance": 0.02,
            "steps": 400,
            "lr_grid": [0.001, 0.003, 0.01],
            "seeds": [0, 1, 2],
            "batch_size": 64,
            "minutes": 5.4,
        },
        "env": {
            "cpu": "AMD EPYC 7763",
            "cores": 2,
            "threads": 1,
            "torch": "2.13.0",
            "python": "3.11.2",
            "lamina": "0.1.0",
            "platform": "Linux x86_64",
        },
        "trials": _trials(done),
        "verdict": "At 60k weights, lenet reads these digits best (98.9 ± 0.3 %). gru, mlp, lstm and transformer "
        "cannot be told apart with this data.",
    }


def recall():
    """The same rows as a study of memory: each that has a state without a short convolution and with one."""
    found = digits()
    rows = [row for row in found["rows"] if row.get("state_bytes")]
    both = [{**row, "short_conv": False} for row in rows]
    both += [{**row, "model": f"{row['model']}+conv", "short_conv": True} for row in rows]
    for row in both:
        row["probes"] = [[n, [score / (1 + n / 50) for score in row["scores"]]] for n in (4, 8, 16, 32)]
    curves = {row["model"]: found["curves"].get(row["model"].removesuffix("+conv"), []) for row in both}
    data = {**found["data"], "name": "mqar:pairs=4+8+16+32", "kind": "tokens", "task": "answer"}
    return {**found, "rows": both, "curves": curves, "data": data, "probe": "key-value pairs", "best": None}
