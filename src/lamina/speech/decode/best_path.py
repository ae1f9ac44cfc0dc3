"""Best path: the likeliest class of each frame, repeats merged, blanks dropped (Graves et al. 2006, section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lamina.speech.decode.decoder import Decoder, DecoderState, Label, checked

__all__ = ["BestPath"]


class BestPath(Decoder):
    """argmax of every frame; the collapse of that path. Not always the likeliest labelling, but the cheapest.

    step   [T,n_out], any n_out. A label is final when another class follows it; until then it is pending.
    state  {"heard": int64 [4]: frames so far, the class that is being heard, its first frame, its frames;
           "confidence": float64 [1]}: 40 bytes a stream, whatever its age
    """

    def init_state(self) -> DecoderState:
        return {
            "heard": torch.zeros(4, dtype=torch.int64),
            "confidence": torch.zeros(1, dtype=torch.float64),
        }

    def step(self, log_p: Tensor, state: DecoderState) -> tuple[list[Label], DecoderState]:
        return self.step_each(checked(log_p)[None], [state])[0]

    def step_each(self, log_p: Tensor, states: Sequence[DecoderState]) -> Sequence[tuple[list[Label], DecoderState]]:
        most, classes = checked(log_p.flatten(0, -2)).max(1)  # of all streams at once
        seen = (one.unflatten(0, log_p.shape[:-1]).tolist() for one in (most.exp(), classes))
        before = (torch.stack([state[name] for state in states]).tolist() for name in ("heard", "confidence"))
        found, heard, confidence = zip(*map(self._heard, *seen, *before), strict=True)
        after = zip(torch.tensor(heard), torch.tensor(confidence, dtype=torch.float64), strict=True)
        return [(labels, {"heard": h, "confidence": c}) for labels, (h, c) in zip(found, after, strict=True)]

    def _heard(
        self, confidences: list[float], classes: list[int], heard: list[int], confidence: list[float]
    ) -> tuple[list[Label], list[int], list[float]]:
        """The labels that end in a stream's frames, and its state behind them."""
        (t, last, first, frames), (highest,), found = heard, confidence, []
        for p, label in zip(confidences, classes, strict=True):
            if label == last:
                frames, highest = frames + 1, max(highest, p)
            else:
                if last:
                    found.append(Label(last, first, min(highest, 1.0), frames))
                last, first, frames, highest = label, t, 1, p
            t += 1
        return found, [t, last, first, frames], [highest]

    def pending(self, state: DecoderState) -> list[Label]:
        _, last, first, frames = state["heard"].tolist()
        return [Label(last, first, min(float(state["confidence"]), 1.0), frames)] if last else []

    def settled(self, state: DecoderState) -> int:
        t, last, first, _ = state["heard"].tolist()
        return int(first if last else t)

    def finish(self, state: DecoderState) -> list[Label]:
        return self.pending(state)
