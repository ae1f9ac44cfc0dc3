"""lamina pretrain, and fine-tuning from what it made: run folders, frozen convolutions, others' folders, bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from safetensors.torch import load_file

import lamina
from lamina import data
from lamina.cli import _run
from lamina.cli.pretrain import _said
from lamina.core import UserError
from lamina.train import Order, Start, evaluate_run, fit, load_run, train_run
from sound_parts import CODES, RATE, SMALL, tones, write

SETS = [f"--set={key}={json.dumps(value)}" for key, value in {**SMALL, **CODES}.items()]
QUICK = ["--steps", "4", "--batch-size", "8"]


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a short pretraining, made by the command."""
    folder = tmp_path_factory.mktemp("pretrained")
    sounds = write(folder / "sounds")
    assert _run(["pretrain", "wav2vec2", str(sounds), "--out", str(folder / "run"), *QUICK, *SETS]) == 0
    return folder / "run"


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Tones with a text of two letters each, in three parts."""
    return _manifest(tmp_path, RATE)


def _manifest(folder: Path, rate: int) -> Path:
    lines = []
    for i, sound in enumerate(tones(30)):
        soundfile.write(folder / f"{i}.wav", sound.numpy(), rate)
        part = "train" if i < 20 else "dev" if i < 25 else "test"
        lines.append({"audio": f"{i}.wav", "split": part, "text": "AB"[i % 2] + "BA"[i % 3 % 2], "sr": rate})
    (folder / "told.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    return folder / "told.jsonl"


def test_a_run_folder_as_any_other(pretrained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = json.loads((pretrained / "run.json").read_text())
    assert facts["status"] == "done"
    assert facts["data"]["task"] == "contrastive"
    assert facts["data"]["rate"] == RATE
    assert isinstance(lamina.load(pretrained), torch.nn.Module)
    assert any(name.startswith("contrast.quantizer") for name in load_file(pretrained / "task.safetensors"))
    assert _run(["eval", str(pretrained)]) == 0
    assert "code perplexity" in capsys.readouterr().out
    scores = evaluate_run(load_run(pretrained), "dev")
    assert set(scores) >= {"score", "chance", "code_perplexity", "code_share"}


@pytest.mark.parametrize(("chance", "share", "collapsed"), [(0.02, 0.67, False), (1.0, 0.0625, True)])
def test_a_collapse_does_not_read_as_success(chance: float, share: float, collapsed: bool) -> None:
    told = {"chance": chance, "code_perplexity": 16 * share, "code_share": share}
    result = {"metric": "accuracy", "dev": chance, "params": 1, "seconds": 1.0, "steps": 1, "further": told}
    said = _said({"status": "done", "result": result}, "wav2vec2", Path("run"), False)
    assert f"(chance {100 * chance:g} %; {100 * share:.3g} % of the codes in use)" in said
    assert ("nothing is told apart; try --set diversity=1" in said) == collapsed


def test_the_same_command_returns_the_same_run(pretrained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sounds = pretrained.parent / "sounds"
    command = ["pretrain", "wav2vec2", str(sounds), "--out", str(pretrained), *QUICK, *SETS, "--json"]
    assert _run(command) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["status"] == "done"
    assert found["metric"] == "accuracy"
    assert _run([*command, "--seed", "1"]) == 2
    assert "holds another run" in capsys.readouterr().err


def test_fine_tuning_goes_on_from_it(pretrained: Path, manifest: Path) -> None:
    out = manifest.parent / "run"
    command = ["train", "wav2vec2", str(manifest), "--from", str(pretrained), "--out", str(out), *QUICK]
    assert _run([*command, "--set", "mask=0.05", "--set", "mask_channels=0.1"]) == 0
    before, after = (load_file(folder / "model.safetensors") for folder in (pretrained, out))
    assert before.keys() == after.keys()
    run = load_run(out)
    assert run.task.backbone.config.mask_channels == 0.1
    score = evaluate_run(run, "test")
    assert score["metric"] == "label error rate"
    assert run.task(run.dataset.test.rows(slice(2))).shape[-1] == 3


def test_convolutions_stay_for_the_first_quarter(pretrained: Path, manifest: Path) -> None:
    begun, name = Start.read(pretrained), data.seen_by("waveform", str(manifest))
    dataset = data.load(name)
    task = Order("wav2vec2", begun.keys, name, start=str(pretrained)).build(dataset)
    first = {name: p.detach().clone() for name, p in task.backbone.named_parameters()}
    moved = []

    def look(step: int, loss: float) -> None:
        now = dict(task.backbone.named_parameters())
        moved.append({name for name, p in first.items() if not torch.equal(p, now[name])})

    fit(task, dataset, steps=8, lr=3e-3, seed=0, batch_size=8, on_step=look)
    heard = {name for name in first if name.startswith("0.")}
    assert len(heard) == 4
    assert not moved[1] & heard
    assert len(moved[1]) > 10
    assert heard <= moved[2]


def test_another_rate_or_other_keys_are_refused(pretrained: Path, tmp_path: Path) -> None:
    begun = Start.read(pretrained)
    with pytest.raises(UserError, match=r"d_model=32: .* has d_model=16; leave it out"):
        begun.agreed("wav2vec2", {"d_model": 32})
    assert begun.agreed("wav2vec2", {"warm_start": 0.0})["warm_start"] == 0.0  # of the task
    with pytest.raises(UserError, match="holds a wav2vec2, not a lstm"):
        begun.agreed("lstm", {})
    name = data.seen_by("waveform", str(_manifest(tmp_path, 2 * RATE)))
    with pytest.raises(UserError, match="was trained at 1000 Hz, not 2000; pretrain at that rate"):
        Order("wav2vec2", begun.keys, name, start=str(pretrained)).build(data.load(name))


def test_keys_that_nobody_has_are_refused_in_fine_tuning(
    pretrained: Path, manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "wav2vec2", str(manifest), "--from", str(pretrained), "--out", str(manifest.parent / "run")]
    assert _run([*command, "--set", "d_modell=3"]) == 2
    assert "unknown key 'd_modell'; did you mean 'd_model'?" in capsys.readouterr().err


@pytest.mark.parametrize(("kind", "more"), [
    ("Wav2Vec2", {}),
    ("Wav2Vec2Conformer", {"hidden_act": "swish", "conv_depthwise_kernel_size": 5}),
])  # fmt: skip
def test_a_folder_of_transformers_says_its_rate_and_whether_it_levels(
    kind: str, more: dict[str, Any], tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    config = getattr(transformers, f"{kind}Config")(**SIZES, **more)
    getattr(transformers, f"{kind}ForPreTraining")(config).save_pretrained(tmp_path)
    begun = Start.read(tmp_path)
    assert (begun.rate, begun.keys["level"]) == (None, True)
    for level in (True, False):
        heard = transformers.Wav2Vec2FeatureExtractor(sampling_rate=RATE, do_normalize=level)
        heard.save_pretrained(tmp_path)
        begun = Start.read(tmp_path)
        assert (begun.rate, begun.keys["level"]) == (RATE, level)


SIZES: dict[str, Any] = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24,
    "conv_dim": [8, 8], "conv_kernel": [10, 4], "conv_stride": [5, 4], "num_conv_pos_embeddings": 6,
    "num_conv_pos_embedding_groups": 4, "num_codevectors_per_group": 6, "codevector_dim": 12,
}  # fmt: skip


def test_a_folder_of_transformers_is_a_start(manifest: Path) -> None:
    transformers = pytest.importorskip("transformers")
    folder = manifest.parent / "theirs"
    peer = transformers.Wav2Vec2ForPreTraining(transformers.Wav2Vec2Config(**SIZES))
    peer.save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(sampling_rate=RATE).save_pretrained(folder)
    begun, name = Start.read(folder), data.seen_by("waveform", str(manifest))
    order = Order("wav2vec2", begun.agreed("wav2vec2", {}), data.where(name), 2, batch_size=8, start=str(folder))
    facts = train_run(order, data.load(name), manifest.parent / "run")
    assert facts["status"] == "done"
    task = order.build(data.load(name))
    assert torch.equal(
        task.backbone.get_submodule("0.1.conv").weight,
        peer.state_dict()["wav2vec2.feature_extractor.conv_layers.0.conv.weight"],
    )


def test_runs_become_folders_of_transformers(pretrained: Path, manifest: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    out = tmp_path / "run"
    assert _run(["train", "wav2vec2", str(manifest), "--from", str(pretrained), "--out", str(out), *QUICK]) == 0
    for run, name in ((pretrained, "one"), (out, "other")):
        assert _run(["export", str(run), str(tmp_path / name)]) == 0
    assert Start.read(tmp_path / "one").rate == RATE
    found, sound = load_run(out), tones(1)[0]
    peer = transformers.Wav2Vec2ForCTC.from_pretrained(tmp_path / "other").eval()
    heard = transformers.Wav2Vec2FeatureExtractor.from_pretrained(tmp_path / "other")
    values = heard(sound.numpy(), sampling_rate=RATE, return_tensors="pt").input_values
    ours = found.task({"x": sound[None, :, None], "lengths": torch.tensor([len(sound)])})
    assert torch.allclose(peer(values).logits.detach(), ours.detach(), atol=1e-5)
    assert json.loads((tmp_path / "other" / "vocab.json").read_text()) == {"<pad>": 0, "A": 1, "B": 2}
    codes = transformers.Wav2Vec2ForPreTraining.from_pretrained(tmp_path / "one").state_dict()["quantizer.codevectors"]
    assert torch.equal(codes[0], load_run(pretrained).task.contrast.quantizer.table.flatten(0, 1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mlp", "espeak_strings"], "mlp: hears no sounds; pretrain wav2vec2, or a structure of frames"),
        (["wav2vec2", "nowhere"], "unknown set of speech 'nowhere'"),
        (["wav2vec2", "{}/sounds", "--set", "n_code=3"], "did you mean 'n_codes'"),
        (["wav2vec2", "{}/sounds", "--seconds", "0.2"], "seconds=0.2: pieces take 1 s at least"),
        (["wav2vec2", "{}/sounds", "--steps", "0"], "steps must be above 0"),
        (["wav2vec2", "{}/c++"], "c++: + joins the sources; give them one by one"),
        (["wav2vec2", "espeak_strings:noise=100+20"], "noise=100+20: + joins the sources"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "sounds")
    write(tmp_path / "c++", 3)
    out = tmp_path / "run"
    assert _run(["pretrain", *(one.format(tmp_path) for one in arguments), "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not out.exists()
