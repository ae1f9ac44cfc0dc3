"""Many listeners in one batch: each reads what it would read alone, however it is cut, held, saved and resumed."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import soundfile
import torch
from safetensors.torch import load_file
from torch import Tensor

from lamina import data
from lamina.core import UserError
from lamina.core import state as trees
from lamina.speech import Listeners, Recogniser, Telling, Units
from lamina.speech.decode import BestPath, Fusion, Label, NGram, PrefixBeam, words
from lamina.speech.listeners import NoSound
from recogniser_parts import RATE, random_run, sound


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_run(tmp_path_factory.mktemp("spoken"), left=8, right=2)


@pytest.fixture(scope="module")
def recogniser(run: Path) -> Recogniser:
    return Recogniser.of_run(run)


def test_a_run_becomes_one_layer_of_its_task(run: Path, recogniser: Recogniser) -> None:
    """The logits are those of the trained task on the features of its data set."""
    from lamina.train import load_run

    task, facts = load_run(run).task, json.loads((run / "run.json").read_text())
    dataset = data.load(facts["order"]["data"])
    batch = dataset.test.rows(torch.tensor([1]))
    wave = torch.from_numpy(soundfile.read(run.parent / "5.wav", dtype="float32")[0])
    torch.testing.assert_close(recogniser.log_p(wave), task(batch)[0].log_softmax(-1).detach(), rtol=0, atol=1e-5)
    assert recogniser.rate == RATE
    assert recogniser.seconds == 0.04
    spec = recogniser.layer.stream_spec()
    assert recogniser.latency == spec.latency / RATE
    assert spec.block == 320


@pytest.mark.parametrize("decoder", [BestPath(), PrefixBeam(8, 4, wait=5)], ids=["best", "beam"])
def test_rows_read_what_they_would_read_alone(recogniser: Recogniser, decoder: BestPath | PrefixBeam) -> None:
    """Ragged arrivals, joins, leaves, moves; rows that nobody listens to hold NaN."""
    rng, listeners = random.Random(0), Listeners(recogniser, 4, decoder)

    def leave(row: int) -> None:
        listeners.leave(row)
        for tensor in _tensors(listeners.state):
            tensor[row] = torch.nan if tensor.is_floating_point() else 1

    for row in range(4):
        assert listeners.join() == row
    for row in range(4):
        leave(row)
    todo, live, got = [(i, sound(i, 0.3 + 0.2 * i)) for i in range(9)], {}, {}
    alone = {i: recogniser.transcribe(wave, decoder) for i, wave in todo}
    assert sum(len(one.text) for one in alone.values()) > 30
    while todo or live:
        while todo and None in listeners.rows and rng.random() < 0.5:
            live[listeners.join()] = [*todo.pop(0), 0]
        push = {}
        for row, (_, wave, at) in live.items():
            if rng.random() < 0.7:
                n = rng.choice([0, 1, 100, 320, 321, 1000])
                push[row], live[row][2] = wave[at : at + n], min(at + n, len(wave))
        listeners.push(push)
        if live and rng.random() < 0.2:
            row = rng.choice(list(live))
            saved = listeners.save(row)
            leave(row)
            live[listeners.resume(saved)] = live.pop(row)
        for row, (i, wave, at) in list(live.items()):
            if at == len(wave):
                got[i] = listeners.finish(row)
                leave(row)
                del live[row]
    assert {i: one.stable for i, one in got.items()} == {i: one.text for i, one in alone.items()}
    for i, one in got.items():
        assert [(w.text, w.start, w.end) for w in one.words] == [(w.text, w.start, w.end) for w in alone[i].words]


def _tensors(tree: dict) -> list[Tensor]:
    return [t for value in tree.values() for t in (_tensors(value) if isinstance(value, dict) else [value])]


def test_a_stream_goes_on_in_another_process(run: Path, recogniser: Recogniser, tmp_path: Path) -> None:
    wave, at = sound(4), 6666  # within a block, and within a word
    listeners = Listeners(recogniser, 2)
    listeners.join()
    row = listeners.join()
    before = listeners.push({row: wave[:at]})[row]
    (tmp_path / "saved").write_bytes(listeners.save(row))
    torch.save(wave[at:], tmp_path / "rest.pt")
    script = (
        "import sys, torch; from lamina.speech import Listeners, Recogniser\n"
        "run, folder = sys.argv[1:]\n"
        "listeners = Listeners(Recogniser.of_run(run), 1)\n"
        "row = listeners.resume(open(folder + '/saved', 'rb').read())\n"
        "listeners.push({row: torch.load(folder + '/rest.pt')}); print(listeners.finish(row).stable)\n"
    )
    found = subprocess.run([sys.executable, "-c", script, run, tmp_path], capture_output=True, text=True, check=True)
    text = recogniser.transcribe(wave).text
    assert found.stdout.strip() == text
    assert text.startswith(before.stable)
    assert 0 < len(before.stable) < len(text)


def test_what_cannot_be_heard_is_refused_and_changes_nothing(recogniser: Recogniser) -> None:
    listeners = Listeners(recogniser, 2)
    row, other = listeners.join(), listeners.join()
    wave = sound(5)
    listeners.push({row: wave[:5000], other: wave[:3000]})
    bad = torch.full((400,), torch.nan)
    with pytest.raises(UserError, match=f"row {other}: holds NaN"):
        listeners.push({row: wave[5000:], other: bad})
    with pytest.raises(UserError, match="all 2 rows"):
        listeners.join()
    listeners.push({row: wave[5000:]})
    assert listeners.finish(row).stable == recogniser.transcribe(wave).text
    listeners.leave(row)
    with pytest.raises(UserError, match="nobody is there"):
        listeners.push({row: wave})


def test_only_what_was_saved_here_is_resumed(recogniser: Recogniser, tmp_path: Path) -> None:
    listeners = Listeners(recogniser, 1)
    listeners.push({listeners.join(): sound(1)})
    saved = listeners.save(0)
    with pytest.raises(UserError, match="all 1 rows"):
        listeners.resume(saved)
    listeners.leave(0)
    with pytest.raises(UserError, match="another decoder"):
        Listeners(recogniser, 1, PrefixBeam(8, 4)).resume(saved)
    recogniser.save(tmp_path / "rounded")
    other = Recogniser.of_run(tmp_path / "rounded")
    with pytest.raises(UserError, match="another recogniser"):
        Listeners(other, 1).resume(saved)
    for broken in (b"", saved[:100], saved[:-50]):
        with pytest.raises(UserError, match="saved st"):
            listeners.resume(broken)
    assert listeners.rows == [None]


ARPA = "\\data\\\nngram 1=3\n\n\\1-grams:\n-1 <unk>\n{} abc\n-1 </s>\n\n\\end\\\n"


def test_a_beam_goes_on_with_its_own_language_model_alone(recogniser: Recogniser, tmp_path: Path) -> None:
    """The states of all these have equal shapes; another model's numbers mean nothing in them."""

    def decoder(likely: float | None = None, hot: tuple[str, ...] = (), wait: int = 100) -> PrefixBeam:
        lm = None
        if likely is not None:
            (tmp_path / "lm.arpa").write_text(ARPA.format(likely))
            lm = NGram.read(tmp_path / "lm.arpa")
        fusion = Fusion(recogniser.units, lm, hot=hot) if lm or hot else None
        return PrefixBeam(recogniser.layer.d_out, 4, fusion=fusion, wait=wait)  # type: ignore[arg-type]

    kinds = [decoder(), decoder(-1.0), decoder(-2.0), decoder(None, ("abc",)), decoder(None, ("de",)), decoder(wait=9)]
    assert len({one.digest for one in kinds}) == len(kinds)
    assert decoder(-1.0).digest == kinds[1].digest
    for mine in kinds:
        listeners = Listeners(recogniser, 1, mine)
        listeners.push({listeners.join(): sound(1)})
        saved = listeners.save(0)
        assert Listeners(recogniser, 1, mine).resume(saved) == 0
        for other in (one for one in kinds if one is not mine):
            with pytest.raises(UserError, match="another decoder"):
                Listeners(recogniser, 1, other).resume(saved)


def test_another_left_or_scale_is_another_recogniser(run: Path, recogniser: Recogniser, tmp_path: Path) -> None:
    """Equal weights of equal names."""
    for name, edit in (("config.json", lambda facts: facts["config"].update(left=4)),
                       ("run.json", lambda facts: facts["data"].update(scale=[0.0, 1.0]))):  # fmt: skip
        shutil.copytree(run, tmp_path / name)
        facts = json.loads((run / name).read_text())
        edit(facts)
        (tmp_path / name / name).write_text(json.dumps(facts))
        assert Recogniser.of_run(tmp_path / name).digest != recogniser.digest
    assert Recogniser.of_run(run).digest == recogniser.digest


def _facts_of(tree: dict, **keys: object) -> None:
    facts = json.loads(bytes(tree["facts"].tolist())) | keys
    tree["facts"] = torch.tensor(list(json.dumps(facts).encode()), dtype=torch.uint8)


WRONG = {
    "words": lambda tree: _facts_of(tree, words=[{"nope": 1}]),
    "labels": lambda tree: _facts_of(tree, open=[1]),
    "no JSON": lambda tree: tree.update(facts=torch.tensor([1, 2], dtype=torch.uint8)),
    "no facts": lambda tree: tree.pop("facts"),
    "a state less": lambda tree: tree["layer"].popitem(),
    "a row more": lambda tree: tree.update(layer=trees.stack([tree["layer"], tree["layer"]])),
    "float64": lambda tree: tree.update(decoding={k: t.double() for k, t in tree["decoding"].items()}),
    "two channels": lambda tree: tree.update(sound=torch.zeros(10, 2)),
    "much sound": lambda tree: tree.update(sound=torch.zeros(9999)),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_resume_that_fails_takes_no_row(recogniser: Recogniser, case: str) -> None:
    listeners = Listeners(recogniser, 1)
    listeners.push({listeners.join(): sound(1)})
    tree = trees.from_bytes(listeners.save(0))
    listeners.leave(0)
    before = trees.map_tensors(torch.clone, listeners.state)
    WRONG[case](tree)
    with pytest.raises(UserError, match="begin a new stream"):
        listeners.resume(trees.to_bytes(tree))
    assert listeners.rows == [None]
    assert all(map(torch.equal, _tensors(before), _tensors(listeners.state)))


def test_a_loud_row_is_refused_before_the_others_hear(recogniser: Recogniser) -> None:
    listeners, wave = Listeners(recogniser, 2), sound(5)
    row, other = listeners.join(), listeners.join()
    for piece in wave.split(500):
        with pytest.raises(NoSound, match=f"row {other}: has a sample of 1e\\+30") as refused:
            listeners.push({row: piece, other: torch.full((320,), 1e30)})
        assert refused.value.row == other
        listeners.push({row: piece})
    assert listeners.finish(row).stable == recogniser.transcribe(wave).text


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_sound_of_other_floats_is_heard(recogniser: Recogniser, dtype: torch.dtype) -> None:
    listeners, wave = Listeners(recogniser, 1), sound(4).half()
    row = listeners.join()
    for piece in wave.to(dtype).split(700):
        listeners.push({row: piece})
    text = recogniser.transcribe(wave.float()).text
    assert listeners.finish(row).stable == recogniser.transcribe(wave.to(dtype)).text == text


def test_what_is_stable_stays_and_provisional_text_follows_it(recogniser: Recogniser) -> None:
    listeners, wave, stable = Listeners(recogniser, 1), sound(2, 3.0), ""
    row = listeners.join()
    provisional = 0
    for piece in wave.split(500):
        caption = listeners.push({row: piece})[row]
        assert caption.stable.startswith(stable)
        stable, provisional = caption.stable, provisional + bool(caption.provisional)
    last = listeners.finish(row)
    assert last.ended
    assert last.stable.startswith(stable)
    assert last.seconds == 3.0
    assert provisional > 3


def test_telling_is_the_text_and_words_of_all_labels_together() -> None:
    """Against the decoders' own way to words, for characters and for pieces that begin words."""
    for units in (Units((" ", "a", "b")), Units(("▁a", "b", "▁"), b"not asked")):
        g = torch.Generator().manual_seed(1)
        labels = [Label(int(torch.randint(1, 4, (), generator=g)), 2 * t, 0.5) for t in range(60)]
        telling = Telling(units, 0.04)
        for one in labels:
            telling.add([one])
        told = telling.now()
        assert told.text == units.decode([one.label for one in labels]).strip()
        assert list(told.words) == words(labels, units, 0.04)
        assert len(told.words) > 10


def test_an_utterance_ends_where_a_pause_follows() -> None:
    """Told in the silence, or by the label behind it: the same ends; none where there is no text."""
    units, at = Units((" ", "a", "b")), (3, 5, 24, 45, 46, 90)  # pauses of 18, 20, 0 and 43 frames between them
    labels = [Label(label, frame, 0.5) for label, frame in zip((2, 3, 2, 1, 3, 2), at, strict=True)]
    behind = Telling(units, 0.04)
    behind.add(labels)
    assert behind.now().text == "aba ba"
    assert behind.now().ends == (3, 5)
    silent, ended = Telling(units, 0.04), []
    for frame in range(120):
        silent.add([one for one in labels if one.frame == frame])
        if silent.silent(frame + 1):
            ended.append(frame + 1)
    assert ended == [45, 67, 111]
    assert silent.now().ends == (3, 5, 6)
    assert not Telling(units, 0.04).silent(1000)


@pytest.mark.parametrize("decoder", [BestPath(), PrefixBeam(8, 4, wait=5)], ids=["best", "beam"])
def test_utterances_end_where_they_do_however_sound_is_cut(
    recogniser: Recogniser, decoder: BestPath | PrefixBeam, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pause here is one frame; saved and resumed in the middle, in pieces, and at once."""
    monkeypatch.setattr("lamina.speech.telling.PAUSE", 0.04)
    wave, listeners = sound(7, 6.0), Listeners(recogniser, 1, decoder)
    row = listeners.join()
    listeners.push({row: wave})
    whole = listeners.finish(row)
    assert len(whole.ends) > 3
    for start, end in pairwise((0, *whole.ends)):
        assert whole.stable[start:end].strip()
    seen = []
    for piece in wave.split(777):
        seen.append(listeners.push({row: piece})[row])
        saved = listeners.save(row)
        listeners.leave(row)
        assert listeners.resume(saved) == row
    seen.append(listeners.finish(row))
    assert seen[-1].ends == whole.ends
    for before, after in pairwise(seen):
        assert after.ends[: len(before.ends)] == before.ends
        assert all(end <= len(before.stable) for end in before.ends)
    assert any(one.ends[-1:] == (len(one.stable),) and not one.provisional for one in seen[:-1])  # nothing follows yet


def test_a_bundle_is_the_recogniser_with_rounded_weights(run: Path, recogniser: Recogniser, tmp_path: Path) -> None:
    recogniser.save(tmp_path / "small")
    loaded = Recogniser.of_run(tmp_path / "small")
    for mine, own in zip(loaded.layer.parameters(), recogniser.layer.parameters(), strict=True):
        assert torch.equal(mine, own.half().float())
    assert all(t.dtype == torch.float16 for t in load_file(tmp_path / "small" / "model.safetensors").values())
    facts = json.loads((tmp_path / "small" / "run.json").read_text())
    assert facts["weights"] == "float16"
    assert str(run.parent) not in json.dumps(facts)
    assert (loaded.rate, loaded.units, loaded.seconds) == (recogniser.rate, recogniser.units, recogniser.seconds)
    card, n = (tmp_path / "small" / "README.md").read_text(), sum(p.numel() for p in recogniser.layer.parameters())
    assert f"{n:,} weights in float16" in card
    assert f"{100 * facts['result']['further']['cer']['rate']:.3g} % of the characters" in card


def test_other_folders_are_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no run\.json"):
        Recogniser.of_run(tmp_path)
    facts = json.loads((run / "run.json").read_text())
    facts["data"]["task"] = "classify"
    (tmp_path / "run.json").write_text(json.dumps(facts))
    with pytest.raises(UserError, match="transcribes no speech"):
        Recogniser.of_run(tmp_path)
    for said, why in (
        ("{", "cannot be read"),
        ("[]", "is not what"),
        ('{"schema": 1}', "does not say what its data was"),
    ):
        (tmp_path / "run.json").write_text(said)
        with pytest.raises(UserError, match=why):
            Recogniser.of_run(tmp_path)


def test_nothing_and_next_to_nothing_is_heard_as_nothing(recogniser: Recogniser) -> None:
    listeners = Listeners(recogniser, 2)
    row, other = listeners.join(), listeners.join()
    assert listeners.push({row: torch.zeros(0)})[row].stable == ""
    assert listeners.finish(row).stable == ""
    listeners.push({other: torch.zeros(7)})
    last = listeners.finish(other)
    assert (last.stable, last.words, last.seconds) == ("", (), 7 / RATE)
    assert recogniser.transcribe(torch.zeros(7)).text == ""
    assert listeners.push({}) == {}
    wave = sound(4)
    listeners.push({row: wave})
    assert listeners.finish(row).stable == recogniser.transcribe(wave).text  # a row that has begun anew
