import numpy as np
import pytest

from tfcompress.codec.crc32c import TABLE, crc32c


def bytewise(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = int(TABLE[(crc ^ byte) & 0xFF]) ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


@pytest.mark.parametrize(
    ("data", "crc"),  # RFC 3720, appendix B.4
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_known_values(data, crc):
    assert crc32c(data) == crc


@pytest.mark.parametrize("size", [1, 15, 16, 17, 63, 64, 65, 255, 1000, 4097, 16_384, 16_385, 20_001, 70_001, 300_007])
def test_lanes_equal_the_bytewise_definition(size):
    data = np.random.default_rng(size).integers(0, 256, size, dtype=np.uint8).tobytes()
    assert crc32c(data) == bytewise(data)
