"""The payload: a self-describing container around one weight (FORMAT.md)."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

import numpy as np

from tfcompress.codec.choice import Plan, candidates, plain_plan
from tfcompress.codec.coders import range_coder, rans
from tfcompress.codec.coders.bitpack import pack_bits, packed_size, unpack_bits
from tfcompress.codec.coders.native import NativeCoders, native_coders
from tfcompress.codec.codes import Codes, check_codebook, check_scale, levels_of
from tfcompress.codec.floats import Floats
from tfcompress.codec.layout import BIT_CODERS, REMEDY, Header, Reader, assemble, read_header
from tfcompress.codec.zeros import DENSE, join, places, split
from tfcompress.errors import PayloadError

__all__ = ["Payload", "decode", "encode", "encode_as", "read"]


@dataclass(frozen=True, eq=False)
class Payload:
    """What a payload holds.

    Attributes:
        weight: The weight.
        bias: The op's bias, float32, where it is inside; else None.
        coder: "plain", "adaptive", "steady" or "rans".
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
    header, symbols, alphabet = _parts(weight, bias)
    fields = (alphabet.num_bits, alphabet.size, alphabet.zero_symbol, weight.shape)
    plans = candidates(symbols, *fields, smallest) if entropy_coded else [plain_plan(symbols, *fields)]
    written = (_write_sections(header, plan, symbols, alphabet) for plan in plans)
    header, side, codes = min(written, key=_cost)
    return assemble(header, b"".join([_numbers(weight, bias), side, codes, _raw(weight)]))


def encode_as(weight: Codes | Floats, plan: Plan, *, bias: np.ndarray | None = None) -> bytes:
    """Writes one payload by one coder and one form of zeros, small or not.

    Args:
        weight: The weight.
        plan: Coder and form; of a run-length form the number of entries is counted here.
        bias: See `encode`.

    Raises:
        PayloadError: The bias or the form does not fit the weight.
    """
    header, symbols, alphabet = _parts(weight, bias)
    _check_plan(plan, header.row, alphabet.zero_symbol)
    if plan.zeros.form == "n_of_m":
        most = int(np.count_nonzero(symbols.reshape(-1, plan.zeros.b) != alphabet.zero_symbol, axis=1).max())
        if most > plan.zeros.a:
            raise PayloadError(f"every group must have at most {plan.zeros.a} nonzero symbols", f"{most} of a group")
    header, side, codes = _write_sections(header, plan, symbols, alphabet)
    return assemble(header, b"".join([_numbers(weight, bias), side, codes, _raw(weight)]))


def _parts(weight: Codes | Floats, bias: np.ndarray | None) -> tuple[Header, np.ndarray, _Alphabet]:
    """The header of the dense plain form, the flat symbols and their alphabet."""
    header = _header(weight, bias)
    alphabet = _alphabet(header, weight.codebook if isinstance(weight, Codes) else None)
    symbols = weight.symbols if isinstance(weight, Codes) else weight.exponents()
    return header, symbols.reshape(-1), alphabet


def _check_plan(plan: Plan, row: int, zero_symbol: int | None) -> None:
    plan.zeros.check(row, zero_symbol)
    if plan.coder in BIT_CODERS and plan.zeros.form in ("bitmap", "run_length"):
        raise PayloadError(
            f"{plan.coder} coding must go with dense, blocks or n:m zeros", f"zeros={plan.zeros.form}", REMEDY
        )


@dataclass(frozen=True)
class _Alphabet:
    """The symbols that the coders see."""

    num_bits: int
    size: int
    zero_symbol: int | None


def _alphabet(header: Header, codebook: np.ndarray | None) -> _Alphabet:
    if header.encoding == "float":
        return _Alphabet(8, 256, 0)
    levels = levels_of(header.encoding, header.num_bits, codebook)
    zeros = np.flatnonzero(levels == 0)
    return _Alphabet(header.num_bits, levels.size, int(zeros[0]) if zeros.size else None)


def _write_sections(
    header: Header, plan: Plan, symbols: np.ndarray, alphabet: _Alphabet
) -> tuple[Header, bytes, bytes]:
    """The header with the plan and the sizes of its sections, the side section and the codes."""
    coders, zero, zeros = native_coders(), alphabet.zero_symbol, plan.zeros
    side = b""
    if plan.coder in BIT_CODERS:
        fields = (alphabet.num_bits, zero, header.row, zeros.form, zeros.a, zeros.b)
        code = coders.encode_adaptive if coders else range_coder.encode_symbols
        codes = code(symbols, *fields, steady=plan.coder == "steady")
    else:
        zeros, side, values = (zeros, b"", symbols) if zero is None else split(symbols, zero, zeros)
        if plan.coder == "rans":
            codes = (coders.encode_rans if coders else rans.encode_symbols)(values, alphabet.size)
        else:
            codes = pack_bits(values, alphabet.num_bits)
    header = replace(header, coder=plan.coder, zeros=zeros, side_size=len(side), codes_size=len(codes))
    return header, side, codes


def _cost(written: tuple[Header, bytes, bytes]) -> int:
    """Bytes that depend on the coder and the form of zeros."""
    return len(written[0].pack(1, 0)) + len(written[1]) + len(written[2])


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
        zeros=DENSE,
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

    The sections bound the number of weights, but for zeros at the end (coders of bits, run-length) and for a
    single symbol (rANS): a few bytes can stand for very many of these. No more are read than fit into
    the machine's memory; a caller who knows the shape compares it.

    Args:
        payload: Its bytes, padding included.
        reference: Never use the native library.

    Raises:
        PayloadError: The bytes are truncated, damaged, of another version, or contradict themselves.
    """
    reader = Reader(bytes(payload))
    header = read_header(reader)
    _check_memory(header)
    scale = reader.floats(header.scale_count, "scales")
    codebook = reader.floats(header.codebook_size, "codebook") if header.codebook_size else None
    bias = reader.floats(header.bias_size, "bias")
    if header.granularity:
        check_scale(scale, header.scale_count)
    if codebook is not None:
        check_codebook(codebook, header.num_bits)
    alphabet = _alphabet(header, codebook)
    _check_sections(header, alphabet)
    side, codes = reader.take(header.side_size, "side"), reader.take(header.codes_size, "codes")
    try:
        symbols = _read_sections(header, side, codes, alphabet, None if reference else native_coders())
    except MemoryError:
        raise PayloadError("the weight must fit into memory", f"shape={header.shape}", REMEDY) from None
    weight: Codes | Floats
    if header.encoding == "float":
        weight = _floats(header, symbols, reader)
    else:
        weight = Codes(
            symbols.reshape(header.shape),
            header.num_bits,
            scale if header.granularity else None,
            header.channel_axis,
            codebook,
            header.encoding,
            header.block,
            header.dtype,
        )
    reader.end()
    return Payload(
        weight=weight,
        bias=bias if bias.size else None,
        coder=header.coder,
        zeros=header.zeros.form,
        size=len(payload),
        codes_size=header.codes_size,
        side_size=header.side_size,
    )


def _check_memory(header: Header) -> None:
    """A few bytes can stand for any number of zeros: refuses more weights than this machine can hold."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    # Measured at the peak: 12 bytes for each float; a code takes 2, and 4 more as a float32. The other half of the
    # memory is not ours: where none is left the system kills a process, with no error to catch.
    if (12 if header.encoding == "float" else 6) * header.count > memory // 2:
        raise PayloadError("the weight must fit into half of this machine's memory", f"shape={header.shape}", REMEDY)


def _check_sections(header: Header, alphabet: _Alphabet) -> None:
    """Checks everything about the side and codes sections that follows from the header."""
    zeros = header.zeros
    _check_plan(Plan(header.coder, zeros), header.row, alphabet.zero_symbol)
    side_size = 0 if header.coder in BIT_CODERS else zeros.side_size(header.count)
    if header.side_size != side_size:
        raise PayloadError(
            f"side_size must be {side_size} for these zeros", f"side_size={header.side_size}, {zeros}", REMEDY
        )


def _read_sections(
    header: Header, side: bytes, codes: bytes, alphabet: _Alphabet, coders: NativeCoders | None
) -> np.ndarray:
    """The flat symbols."""
    zero, zeros, count = alphabet.zero_symbol, header.zeros, header.count
    if header.coder in BIT_CODERS:
        fields = (alphabet.num_bits, zero, header.row, zeros.form, zeros.a, zeros.b)
        decode_bits = coders.decode_adaptive if coders else range_coder.decode_symbols
        return decode_bits(codes, count, *fields, steady=header.coder == "steady")
    taken = None if zero is None or zeros.form == "dense" else places(side, count, zeros)
    if taken is not None:
        count = int(np.count_nonzero(taken))
    if header.coder == "plain":
        values = unpack_bits(codes, count, alphabet.num_bits)
    else:
        values = (coders.decode_rans if coders else rans.decode_symbols)(codes, count, alphabet.size)
    return values if taken is None or zero is None else join(taken, values, zero, zeros)


def _floats(header: Header, exponents: np.ndarray, reader: Reader) -> Floats:
    kept = header.num_bits - 9
    nonzero = exponents != 0
    count = int(np.count_nonzero(nonzero))
    fields = unpack_bits(reader.take(packed_size(count, kept + 1), "raw"), count, kept + 1).astype(np.uint32)
    bits = exponents.astype(np.uint32) << 23
    bits[nonzero] |= (fields & ((1 << kept) - 1)) << (23 - kept) | fields >> kept << 31
    return Floats(bits.view(np.float32).reshape(header.shape), header.dtype)
