"""The recogniser that is shipped: it reads the speech it is said to read, in a stream as at once."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from lamina.data.audio import read_audio
from lamina.speech import Listeners, Recogniser
from lamina.speech.score import score

SENTENCES = Path(__file__).parents[1] / "examples" / "sentences"


def test_the_shipped_recogniser_streams_what_it_hears_at_once() -> None:
    recogniser = Recogniser.of_run(SENTENCES)
    wave = 0.1 * torch.randn(3 * recogniser.rate, generator=torch.Generator().manual_seed(0))
    listeners = Listeners(recogniser, 1)
    row = listeners.join()
    for piece in wave.split(1111):
        listeners.push({row: piece})
    assert listeners.finish(row).stable == recogniser.transcribe(wave).text
    assert sum(p.numel() for p in recogniser.layer.parameters()) == 499_933
    assert sum(file.stat().st_size for file in SENTENCES.iterdir()) < 1.1e6


@pytest.mark.skipif("LAMINA_DATA" not in os.environ, reason="LAMINA_DATA, the folder of recordings, is not set")
def test_it_hears_sentences_as_well_as_its_card_says() -> None:
    folder = Path(os.environ["LAMINA_DATA"]) / "speechocean762"
    lines = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    dev = [one for one in lines if one["split"] == "dev"][::8]
    recogniser = Recogniser.of_run(SENTENCES)
    told = [recogniser.transcribe(read_audio(folder / one["audio"], recogniser.rate)[0]).text for one in dev]
    found = score([one["text"] for one in dev], told)
    assert len(dev) == 60
    assert found.cer.rate == pytest.approx(0.442, abs=0.06)
