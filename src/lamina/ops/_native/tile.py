"""A tile: some vectors of columns of a state [rows, columns], held in the nearest cache while the frames pass."""

from __future__ import annotations

from numba import njit

from lamina.ops import _native
from lamina.ops._native.simd import fma, lanes, load, load_some, splat, store, store_some, total, zeros

__all__ = ["dot", "give_tile", "place", "read_vectors", "take_tile", "vectors_for", "write_vectors"]


vectors_for = njit(_native.vectors_for)


@njit
def place(task, tiles, heads, wide, columns):
    """Where a task works: stream and its row and head, first column, and how many columns are left from there."""
    stream, first = task // tiles, task % tiles * wide
    return stream, stream // heads, stream % heads, first, columns - first


@njit
def take_tile(state, at, row, column, rows, count, tile, wide):
    """The tile from a state whose next row and column lie `row` and `column` further; zeros beyond `count` columns."""
    one = lanes(tile)
    if column == 1:
        for r in range(rows):
            for i in range(0, wide, one):
                store(tile, r * wide + i, load_some(state, at + r * row + i, count - i))
    else:
        for r in range(rows):
            for c in range(wide):
                tile[r * wide + c] = state[at + r * row + c * column] if c < count else 0


@njit
def give_tile(tile, scale, state, at, row, column, rows, count, wide):
    """scale * tile back to where `take_tile` would take it from."""
    one = lanes(tile)
    if column == 1:
        for r in range(rows):
            for i in range(0, wide, one):
                store_some(state, at + r * row + i, splat(scale) * load(tile, r * wide + i), count - i)
    else:
        for r in range(rows):
            for c in range(min(count, wide)):
                state[at + r * row + c * column] = scale * tile[r * wide + c]


@njit(inline="always")
def read_vectors(there, at, count, registers, vectors):
    """The next columns of a frame into registers, zeros beyond `count`."""
    one = lanes(there)
    for j in range(vectors):
        store(registers, j * one, load_some(there, at + j * one, count - j * one))


@njit(inline="always")
def write_vectors(registers, there, at, count, vectors):
    """The first `count` columns of the registers to memory."""
    one = lanes(there)
    for j in range(vectors):
        store_some(there, at + j * one, load(registers, j * one), count - j * one)


@njit
def dot(a, a_at, b, b_at, size, wide):
    """The sum of a * b over `size` numbers, added up row by row in float64: a tile is large, its rows are not."""
    found = 0.0
    for row in range(0, size, wide):
        part = zeros(a)
        for i in range(row, row + wide, lanes(a)):
            part = fma(load(a, a_at + i), load(b, b_at + i), part)
        found += total(part)
    return found
