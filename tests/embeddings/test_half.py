from __future__ import annotations

import numpy as np
import pytest

from vidface.embeddings.exact import widen_rows

EVERY = np.arange(65536, dtype=np.uint16).view(np.float16)


@pytest.mark.parametrize("dimension", [1, 16, 512])
def test_every_number_is_what_numpy_makes_of_it(dimension: int) -> None:
    rows = EVERY.reshape(-1, dimension)
    out = np.empty(rows.shape, np.float32)
    widen_rows(rows, out)
    expected = rows.astype(np.float32)
    np.testing.assert_array_equal(out, expected)  # NaN equals NaN here
    np.testing.assert_array_equal(np.signbit(out), np.signbit(expected))


def test_lengths_that_fill_no_vector() -> None:
    for count in range(40):
        out = np.empty((1, count), np.float32)
        widen_rows(EVERY[None, 15_000 : 15_000 + count], out)
        np.testing.assert_array_equal(out[0], EVERY[15_000 : 15_000 + count].astype(np.float32))


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        widen_rows(EVERY.reshape(2, -1), np.empty((2, 3), np.float32))
    with pytest.raises(ValueError, match="do not fit"):
        widen_rows(np.zeros((1, 2), np.float32), np.zeros((1, 2), np.float32))
