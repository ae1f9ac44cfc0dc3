"""Speed as ratios: a correctness gate first, then ours and the peer's in turn within one run."""

from lamina.bench.chunk import bench_chunk
from lamina.bench.step import bench_step
from lamina.bench.timing import Timing, interleaved

__all__ = ["Timing", "bench_chunk", "bench_step", "interleaved"]
