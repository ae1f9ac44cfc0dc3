"""One's own .npz: what is wrong with it is said in one line, with the row as it stands in the file."""

import numpy as np
import pytest

from lamina import UserError, data


def _saved(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_a_bad_row_of_a_file_is_named_as_it_stands_in_the_file(tmp_path):
    x, y = np.random.default_rng(0).normal(size=(60, 5)), np.arange(60) % 3
    holes, signs, gap = x.copy(), y.copy(), y.copy()
    holes[37, 2], signs[41], gap[43] = np.nan, -1, 1_000_000_000
    for arrays, message in (
        ({"x": holes, "y": y}, "x holds NaN or inf in row 37"),
        ({"x": x, "y": signs}, "row 41 has label -1, out of range"),
        ({"x": x, "y": gap}, "row 43 has label 1000000000, out of range; labels must be 0..K-1"),
    ):
        with pytest.raises(UserError, match=message):
            data.load(str(_saved(tmp_path / "mine.npz", **arrays)))


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04cut off"])
def test_a_file_that_is_cut_off_gets_one_line(tmp_path, content):
    path = tmp_path / "mine.npz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"not an \.npz file, or cut off") as error:
        data.load(str(path))
    assert "\n" not in str(error.value)


def test_too_few_rows_are_said(tmp_path):
    path = tmp_path / "one.npz"
    np.savez(path, x=np.zeros((1, 1, 8, 8), dtype=np.float32), y=np.array([0]))
    with pytest.raises(UserError, match=r"one.npz: too few rows \(1\) to hold any out; give some ten of each class"):
        data.load(str(path))


def test_rows_of_mixed_shapes_are_said(tmp_path):
    path, rows = tmp_path / "mixed.npz", np.empty(2, dtype=object)
    rows[0], rows[1] = np.zeros((1, 8, 8)), np.zeros((1, 9, 9))
    np.savez(path, x=rows, y=np.array([0, 1]))
    with pytest.raises(UserError, match=r"mixed.npz: holds Python objects.*rows of mixed shapes"):
        data.load(str(path))
