"""The verdict: which structure is best, in plain words, or that the data cannot tell."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

from lamina.compare.report_text import Scale, scale_of

__all__ = ["Scored", "Verdict", "apart", "beats", "judge"]

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Scored:
    """A structure's scores on the test part, one a seed, and each test example's score as the mean over the seeds."""

    name: str
    scores: tuple[float, ...]
    examples: tuple[float, ...]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.scores)

    @property
    def sd(self) -> float | None:
        """Standard deviation over the seeds; None for one seed."""
        return statistics.stdev(self.scores) if len(self.scores) > 1 else None


@dataclass(frozen=True)
class Verdict:
    """text: its first sentence is the answer. best: the one that can be told apart from all others, or None."""

    text: str
    best: str | None
    rule: str


def apart(a: Scored, b: Scored) -> bool:
    """Whether two structures can be told apart: the 95 % interval of the difference of their means leaves out 0.

    Two things make a mean uncertain, and their variances add up. Seeds: var(scores) / seeds for each structure (Welch,
    unequal variances). The test part: the variance of the examples' differences / examples; it is paired, for both
    structures answer the same examples, and for accuracies it is the binomial error without what the two share. The
    interval is Student's, with the degrees of freedom of Welch and Satterthwaite. One seed cannot tell.
    """
    if min(len(a.scores), len(b.scores)) < 2:
        return False
    differences = [x - y for x, y in zip(a.examples, b.examples, strict=True)]
    parts = [
        *((statistics.variance(s.scores) / len(s.scores), len(s.scores) - 1) for s in (a, b)),
        (_variance(differences) / len(differences), max(1, len(differences) - 1)),
    ]
    return abs(a.mean - b.mean) > _margin(parts)


def beats(a: Scored, chance: float, better: str) -> bool:
    """Whether a structure is better than a constant guess, by the same rule."""
    parts = [(_variance(list(a.examples)) / len(a.examples), max(1, len(a.examples) - 1))]
    if len(a.scores) > 1:
        parts.append((statistics.variance(a.scores) / len(a.scores), len(a.scores) - 1))
    gain = a.mean - chance if better == "higher" else chance - a.mean
    return gain > _margin(parts)


def judge(
    scored: list[Scored], *, name: str, metric: str, better: str, params: int, chance: float | None = None
) -> Verdict:
    """The verdict on structures that finished. name: of the data. chance: the score of a constant guess."""
    if not scored:
        return Verdict(f"At {_size(params)} weights, no structure finished its training on {name}.", None, "")
    sign = -1.0 if better == "higher" else 1.0
    ranked = sorted(scored, key=lambda s: (sign * s.mean, s.name))
    first, rest = ranked[0], ranked[1:]
    rule = _rule(first)
    if chance is not None and not beats(first, chance, better):
        text = f"At {_size(params)} weights, no structure can be told apart from a constant guess on {name}"
        return Verdict(f"{text}, {_show(chance, metric)}. More steps or another budget may change that.", None, rule)
    if not rest:
        return Verdict(f"At {_size(params)} weights, {first.name} scores {_full(first, metric)} on {name}.", None, rule)
    if len(first.scores) < 2:
        text = f"At {_size(params)} weights, {first.name} scored best on {name} ({_full(first, metric)})"
        return Verdict(f"{text}, but one seed cannot tell structures apart. Take --seeds 3 or more.", None, rule)
    near = [s for s in rest if not apart(first, s)]
    behind = [s for s in rest if s not in near]
    if near:
        low, high = sorted((first.mean, near[-1].mean))
        names = _join([first.name, *(s.name for s in near)])
        span = _span(low, high, metric)
        text = f"At {_size(params)} weights, {names} cannot be told apart with this data ({span})."
        if behind:
            text += f" {_behind(behind, metric)}."
        return Verdict(f"{text} {rule}", None, rule)
    text = f"At {_size(params)} weights, {first.name} is best on {name} ({_full(first, metric)})"
    second = [rest[0], *(s for s in rest[1:] if not apart(rest[0], s))]
    last = [s for s in rest if s not in second]
    if len(second) > 1:
        text += f"; {_join([s.name for s in second])} cannot be told apart."
    else:
        text += f", ahead of {second[0].name} ({_full(second[0], metric)})."
    if last:
        text += f" {_behind(last, metric)}."
    return Verdict(f"{text} {rule}", first.name, rule)


def _margin(parts: list[tuple[float, int]]) -> float:
    """Half of the interval of a sum of independent errors: (variance, degrees of freedom) each."""
    variance = sum(v for v, _ in parts)
    if variance <= 0:
        return 0.0
    freedom = variance**2 / sum(v**2 / df for v, df in parts)
    from scipy import stats  # type: ignore[import-untyped]  # comes with scikit-learn; slow to import

    return float(stats.t.ppf(0.5 + CONFIDENCE / 2, freedom)) * math.sqrt(variance)


def _variance(values: list[float]) -> float:
    return statistics.variance(values) if len(values) > 1 else 0.0


def _rule(first: Scored) -> str:
    return (
        f"Two structures are told apart where the 95 % interval of their difference leaves out zero: "
        f"Welch's over {len(first.scores)} seeds, with the paired error of {len(first.examples):,} test examples."
    )


def _behind(scored: list[Scored], metric: str) -> str:
    if len(scored) == 1:
        return f"Behind is {scored[0].name} ({_full(scored[0], metric)})"
    low, high = sorted((scored[0].mean, scored[-1].mean))
    return f"Behind are {_join([s.name for s in scored])} ({_span(low, high, metric)})"


def _join(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _size(n: int) -> str:
    """60000 -> 60k."""
    for scale, letter in ((1_000_000, "M"), (1_000, "k")):
        if n >= scale:
            return f"{n / scale:.3g}{letter}"
    return str(n)


def _full(scored: Scored, metric: str) -> str:
    """98.1 ± 0.3 %, or mse 0.0112 ± 0.0005."""
    text = _scale(metric).full(scored.mean, scored.sd)
    return text if metric == "accuracy" else f"{metric} {text}"


def _show(value: float, metric: str) -> str:
    text = _scale(metric).full(value)
    return text if metric == "accuracy" else f"{metric} {text}"


def _span(low: float, high: float, metric: str) -> str:
    text = f"{_scale(metric).show(low)} to {_scale(metric).full(high)}"
    return text if metric == "accuracy" else f"{metric} {text}"


def _scale(metric: str) -> Scale:
    return scale_of({"metric": metric})
