from pathlib import Path

import numpy as np
import pytest
from make_golden import plan_name
from payload_samples import plans

from tfcompress.codec import read
from tfcompress.codec.container import encode_as
from tfcompress.codec.layout import BIT_CODERS, CODERS, ENCODINGS
from tfcompress.codec.zeros import NAMES

FILES = sorted(Path(__file__).with_name("golden").glob("*.npz"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
@pytest.mark.parametrize("reference", [True, False], ids=["reference", "native"])
def test_a_payload_of_any_release_gives_its_tensor(file, reference):
    arrays = np.load(file)
    for name in set(arrays.files) - {"tensor", "bias"}:
        payload = read(arrays[name].tobytes(), reference=reference)
        tensor = payload.weight.tensor()
        assert tensor.dtype == arrays["tensor"].dtype
        np.testing.assert_array_equal(tensor, arrays["tensor"])
        if name == "with_bias":
            np.testing.assert_array_equal(payload.bias, arrays["bias"])


def test_there_is_a_payload_of_every_encoding_coder_and_form():
    kept = set()
    for file in FILES:
        arrays = np.load(file)
        for name in set(arrays.files) - {"tensor", "bias"}:
            payload = read(arrays[name].tobytes())
            kept.add((payload.weight.encoding, payload.coder, payload.zeros))
    for encoding in ENCODINGS:
        for coder in CODERS:
            for form in NAMES if encoding != "binary" else ["dense"]:
                if coder not in BIT_CODERS or form not in ("bitmap", "run_length"):
                    assert (encoding, coder, form) in kept


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_writer_still_gives_the_bytes_of_each_coder_and_form(file):
    arrays = np.load(file)
    weight = read(arrays["plain_dense"].tobytes()).weight
    for plan in plans(weight):
        assert encode_as(weight, plan) == arrays[plan_name(plan)].tobytes()
