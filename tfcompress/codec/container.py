"""The payload: a self-describing container around one weight (FORMAT.md)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tfcompress.codec.bitpack import pack_bits, packed_size, unpack_bits
from tfcompress.codec.codes import Codes, check_codebook, check_scale, levels_of
from tfcompress.codec.floats import Floats
from tfcompress.codec.layout import REMEDY, Header, Reader, assemble, read_header
from tfcompress.codec.range_coder import decode_symbols, encode_symbols
from tfcompress.errors import PayloadError

__all__ = ["Payload", "decode", "encode", "read"]


@dataclass(frozen=True, eq=False)
class Payload:
    """What a payload holds.

    Attributes:
        weight: The weight.
        bias: The op's bias, float32, where it is inside; else None.
        coder: "plain", "adaptive" or "rans".
        zeros: "dense", "bitmap", "run_length", "blocks" or "n_of_m".
        size: Bytes of the whole payload.
        codes_size: Bytes of the codes section.
        side_size: Bytes of the section that says where the zeros are.
    """

    weight: Codes | Floats
    bias: np.ndarray | None
    coder: str
    zeros: str
    size: int
    codes_size: int
    side_size: int


def encode(
    weight: Codes | Floats,
    *,
    bias: np.ndarray | None = None,
    entropy_coded: bool = True,
    smallest: bool = False,
) -> bytes:
    """Writes one payload; equal weights give equal bytes.

    Args:
        weight: The weight.
        bias: float32, one per index of the first axis: the op's bias travels inside.
        entropy_coded: Allow entropy coding; it is used only where it makes the payload smaller.
        smallest: Try the slower coder for large weights, too.

    Raises:
        PayloadError: The bias does not fit the weight.
    """
    symbols, num_bits, zero = _symbols_of(weight)
    header = _header(weight, bias)
    plain = pack_bits(symbols, num_bits)
    best, coder = plain, "plain"
    if entropy_coded:
        coded = encode_symbols(symbols, num_bits, zero, header.row)
        if len(coded) < len(plain):
            best, coder = coded, "adaptive"
    header = replace(header, coder=coder, codes_size=len(best))
    return assemble(header, b"".join([_numbers(weight, bias), best, _raw(weight)]))


def _symbols_of(weight: Codes | Floats) -> tuple[np.ndarray, int, int | None]:
    """The flat symbols, their width and the symbol of a zero."""
    if isinstance(weight, Floats):
        return weight.exponents().reshape(-1), 8, 0
    return weight.symbols.reshape(-1), weight.num_bits, weight.zero_symbol


def _header(weight: Codes | Floats, bias: np.ndarray | None) -> Header:
    """The header of the dense plain form, without the size of the codes."""
    if bias is not None and (bias.dtype != np.float32 or bias.shape != weight.shape[:1]):
        raise PayloadError(
            f"bias must be {weight.shape[0]} float32 values", f"{bias.dtype} of shape {bias.shape}", "Cast it first"
        )
    granularity = block = codebook_size = 0
    if isinstance(weight, Codes) and weight.scale is not None:
        granularity = 1 if weight.channel_axis is None else weight.channel_axis + 2
        block = weight.block
    if isinstance(weight, Codes) and weight.codebook is not None:
        codebook_size = weight.codebook.size
    return Header(
        encoding=str(weight.encoding),
        num_bits=weight.num_bits,
        shape=weight.shape,
        dtype=weight.dtype,
        granularity=granularity,
        block=block,
        codebook_size=codebook_size,
        bias_size=0 if bias is None else bias.size,
        coder="plain",
        zeros="dense",
        zeros_a=0,
        zeros_b=0,
        side_size=0,
        codes_size=0,
    )


def _numbers(weight: Codes | Floats, bias: np.ndarray | None) -> bytes:
    """Scales, codebook and bias."""
    arrays = [weight.scale, weight.codebook, bias] if isinstance(weight, Codes) else [bias]
    return b"".join(array.astype("<f4").tobytes() for array in arrays if array is not None)


def _raw(weight: Codes | Floats) -> bytes:
    """Of floats, the upper mantissa bits and the sign of each value that is not 0."""
    if isinstance(weight, Codes):
        return b""
    bits = weight.values.reshape(-1).view(np.uint32)
    bits = bits[bits != 0]
    kept = weight.mantissa_bits
    fields = (bits & 0x7FFFFF) >> (23 - kept) | (bits >> 31) << kept
    return pack_bits(fields, kept + 1)


def decode(payload: bytes, *, reference: bool = False) -> Codes | Floats:
    """Reads the weight of one payload; see `read`."""
    return read(payload, reference=reference).weight


def read(payload: bytes, *, reference: bool = False) -> Payload:
    """Reads one payload.

    Args:
        payload: Its bytes, padding included.
        reference: Never use the native library.

    Raises:
        PayloadError: The bytes are truncated, damaged, of another version, or contradict themselves.
    """
    reader = Reader(payload)
    header = read_header(reader)
    if header.coder == "rans" or header.zeros != "dense":
        raise PayloadError("coder and zeros must be plain or adaptive, and dense", f"{header}", REMEDY)
    scale = reader.floats(header.scale_count, "scales")
    codebook = reader.floats(header.codebook_size, "codebook")
    bias = reader.floats(header.bias_size, "bias")
    if scale.size:
        check_scale(scale, header.scale_count)
    if codebook.size:
        check_codebook(codebook, header.num_bits)
    section = reader.take(header.codes_size, "codes")
    symbols = _decode_section(header, section, codebook)
    if header.encoding == "float":
        weight: Codes | Floats = _floats(header, symbols, reader)
    else:
        weight = Codes(
            symbols.reshape(header.shape),
            header.num_bits,
            scale if scale.size else None,
            header.channel_axis,
            codebook if codebook.size else None,
            header.encoding,
            header.block,
            header.dtype,
        )
    reader.end()
    return Payload(
        weight=weight,
        bias=bias if bias.size else None,
        coder=header.coder,
        zeros=header.zeros,
        size=len(payload),
        codes_size=header.codes_size,
        side_size=header.side_size,
    )


def _decode_section(header: Header, section: bytes, codebook: np.ndarray) -> np.ndarray:
    zero: int | None = 0
    if header.encoding == "float":
        num_bits = 8
    else:
        num_bits = header.num_bits
        levels = levels_of(header.encoding, num_bits, codebook if codebook.size else None)
        zeros = np.flatnonzero(levels == 0)
        zero = int(zeros[0]) if zeros.size else None
    if header.coder == "plain":
        return unpack_bits(section, header.count, num_bits)
    return decode_symbols(section, header.count, num_bits, zero, header.row)


def _floats(header: Header, exponents: np.ndarray, reader: Reader) -> Floats:
    kept = header.num_bits - 9
    nonzero = exponents != 0
    count = int(np.count_nonzero(nonzero))
    fields = unpack_bits(reader.take(packed_size(count, kept + 1), "raw"), count, kept + 1).astype(np.uint32)
    bits = exponents.astype(np.uint32) << 23
    bits[nonzero] |= (fields & ((1 << kept) - 1)) << (23 - kept) | fields >> kept << 31
    return Floats(bits.view(np.float32).reshape(header.shape), header.dtype)
