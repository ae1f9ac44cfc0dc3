"""The README's code is the code that runs."""

import pathlib
import re

import torch

import lamina
from lamina.core import check

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.S)


def test_the_readmes_mixer_is_the_example_and_obeys_the_laws():
    source = (ROOT / "examples" / "ema.py").read_text()
    code = source.split('"""', 2)[2].strip()
    assert BLOCKS[1].strip() == code
    assert len([line for line in code.splitlines() if line.strip()]) <= 25
    space = {"__name__": "ema"}
    exec(code, space)
    results = check.check_layer(space["Ema"](5))
    assert {r.status for r in results} == {"passed", "skipped"}
    assert [r.check for r in results if r.status == "skipped"] == ["reason"]


def test_the_readmes_stream_gives_what_forward_gives():
    chunks = []
    streamer = lamina.Streamer

    class Recorded(streamer):
        def push(self, chunk):
            self.seen = [*getattr(self, "seen", []), chunk]
            chunks.append(super().push(chunk).values)

    space = {}
    lamina.Streamer = Recorded
    try:
        exec(BLOCKS[0], space)
    finally:
        lamina.Streamer = streamer
    x = torch.cat(space["streamer"].seen, 1)
    got = torch.cat([*chunks, space["last"].values], 1)
    assert chunks[0].shape[1] == 3  # seven in, four late
    torch.testing.assert_close(got, space["model"](lamina.Seq.of(x)).values, rtol=0, atol=1e-5)
