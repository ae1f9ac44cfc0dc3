"""Numbers and words for a reader: three significant digits, units, escaping, and no NaN anywhere."""

from __future__ import annotations

import html
import json
import math
import re
from dataclasses import dataclass
from typing import Any

__all__ = ["Scale", "bytes_text", "clean", "embed", "esc", "exact", "scale_of", "sentences", "short", "three", "unit"]


def clean(value: Any) -> Any:
    """A copy of JSON-like data in which NaN and infinity are None; tuples become lists."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(k): clean(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [clean(v) for v in value]
    return value


def esc(value: object) -> str:
    """Text made safe for HTML, inside quotes too."""
    return html.escape(str(value), quote=True)


def embed(value: Any) -> str:
    """JSON that may stand inside a <script> element: no '<', so neither </script> nor <!-- can end it early."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def three(x: float) -> str:
    """Three significant digits: 0.0123, 1.20, 12.3, 123, 12,300, 1.23e-6."""
    if x == 0:
        return "0"
    size = abs(x)
    if size < 1e-4 or size >= 1e9:
        mantissa, power = f"{x:.2e}".split("e")
        return f"{mantissa}e{int(power)}".replace("-", "\u2212")
    rounded = float(f"{x:.3g}")
    digits = max(0, 2 - math.floor(math.log10(abs(rounded))))
    return f"{rounded:,.{digits}f}".replace("-", "\u2212")


def short(x: float) -> str:
    """As `three`, without zeros that say nothing: 60,000 stays, 0.20 becomes 0.2."""
    text = three(x)
    return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text


def exact(n: float) -> str:
    """A count in full, with thousands separators."""
    return f"{round(n):,}"


def unit(values: list[float]) -> tuple[float, str]:
    """The power of a thousand that suits a column of counts: (divisor, prefix)."""
    top = max((abs(v) for v in values), default=0.0)
    for divisor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if top >= 10 * divisor:
            return divisor, prefix
    return 1.0, ""


def bytes_text(n: float) -> str:
    """Bytes with a decimal unit: 512 B, 1.2 kB, 34 MB."""
    for divisor, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if n >= divisor:
            return f"{short(n / divisor)} {name}"
    return f"{short(n)} B"


def sentences(text: str) -> tuple[str, str]:
    """(the first sentence, the rest): the first is the page's title."""
    parts = re.split(r"(?<=[.!?])\s+(?=\w)", text.strip(), maxsplit=1)
    return parts[0], parts[1] if len(parts) > 1 else ""


@dataclass(frozen=True)
class Scale:
    """How a metric is shown: accuracies are stored 0..1 and shown in per cent."""

    name: str
    better: str  # "higher" | "lower"
    factor: float = 1.0
    suffix: str = ""

    @property
    def title(self) -> str:
        """The metric with its unit, for headers and axes."""
        return f"{self.name}, {self.suffix}" if self.suffix else self.name

    def show(self, mean: float, sd: float | None = None) -> str:
        """A score, with its spread beside it where there is one: 98.1 ± 0.3."""
        mean = mean * self.factor
        if self.suffix == "%":
            digits = 1
        elif mean != 0 and 1e-4 <= abs(mean) < 1e4:
            digits = max(0, 2 - math.floor(math.log10(abs(mean))))
        else:
            return three(mean) if sd is None else f"{three(mean)} ± {three(sd * self.factor)}"
        text = f"{mean:.{digits}f}"
        if sd is None:
            return text
        sd = sd * self.factor
        spread = f"{sd:.{digits}f}"
        if sd > 0 and float(spread) == 0:  # "± 0.0" would claim that the seeds agree
            spread = three(sd) if sd < 10 ** -(digits + 1) else f"{sd:.{digits + 1}f}"
        return f"{text} ± {spread}"

    def full(self, mean: float, sd: float | None = None) -> str:
        """`show` with the unit behind it."""
        return f"{self.show(mean, sd)} {self.suffix}".rstrip()


def scale_of(results: dict[str, Any]) -> Scale:
    """The scale of these results' metric."""
    name = str(results.get("metric") or "score")
    better = "lower" if results.get("better") == "lower" else "higher"
    if name.endswith(("accuracy", "error rate")):
        return Scale(name[:1].upper() + name[1:], better, 100.0, "%")
    return Scale({"mse": "Mean squared error"}.get(name, name[:1].upper() + name[1:]), better)
