// Decoder of tfcompress payloads (tfcompress/codec/FORMAT.md) for
// microcontrollers.
//
// C11, two files, no allocation, no stdio, no math library: of the C library it
// needs memcpy and memset only. It never reads outside of the payload nor
// writes outside of the caller's buffers, whatever the bytes are, and it runs
// on machines of either byte order whose float is IEEE 754 binary32. A payload
// may stand at any address.
//
//   tfc_info info;
//   tfc_status status = tfc_open(payload, size, &info);
//   if (status == TFC_OK)
//     status = tfc_decode_into(&info, weights, sizeof weights, workspace,
//     sizeof workspace);
//   if (status != TFC_OK) report(tfc_status_text(status));

#ifndef TFCOMPRESS_NATIVE_C_TFC_DECODER_H_
#define TFCOMPRESS_NATIVE_C_TFC_DECODER_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { TFC_MAX_RANK = 8 };

typedef enum tfc_status {
  TFC_OK = 0,
  TFC_BAD_ARGUMENT,
  TFC_SMALL_OUTPUT,
  TFC_SMALL_WORKSPACE,
  TFC_BAD_MAGIC,
  TFC_BAD_LENGTH,
  TFC_BAD_CRC,
  TFC_NEWER_VERSION,
  TFC_BAD_NUMBER,
  TFC_BAD_ENCODING,
  TFC_BAD_NUM_BITS,
  TFC_BAD_FORM,
  TFC_BAD_DIMS,
  TFC_BAD_GRANULARITY,
  TFC_BAD_BLOCK,
  TFC_BAD_CODEBOOK,
  TFC_BAD_BIAS,
  TFC_BAD_ZEROS,
  TFC_BAD_SCALES,
  TFC_BAD_SIDE,
  TFC_BAD_CODES,
  TFC_BAD_RAW,
  TFC_BAD_PADDING,
  TFC_BAD_WEIGHT
} tfc_status;

typedef enum tfc_encoding {
  TFC_UNIFORM = 1,
  TFC_PALETTE,
  TFC_TERNARY,
  TFC_BINARY,
  TFC_POWER_OF_TWO,
  TFC_FLOAT
} tfc_encoding;

typedef enum tfc_coder {
  TFC_PLAIN,
  TFC_ADAPTIVE,
  TFC_RANS,
  TFC_STEADY
} tfc_coder;

typedef enum tfc_zeros {
  TFC_DENSE,
  TFC_BITMAP,
  TFC_RUN_LENGTH,
  TFC_BLOCKS,
  TFC_N_OF_M
} tfc_zeros;

// TFC_INT4 tensors hold two weights a byte, the first in the low bits.
typedef enum tfc_type { TFC_FLOAT32, TFC_INT8, TFC_INT4, TFC_FLOAT16 } tfc_type;

// What a payload's header says. Filled by tfc_open; nothing in it is to be
// changed.
typedef struct tfc_info {
  tfc_encoding encoding;
  tfc_coder coder;
  tfc_zeros zeros;
  tfc_type type;
  uint32_t num_bits;     // Of a code; of a float, 9 + bits of mantissa kept.
  uint32_t symbol_bits;  // num_bits, or 8 for TFC_FLOAT.
  uint32_t symbols;      // A symbol is smaller than this.
  int32_t zero_symbol;   // The symbol of level 0, or -1.
  uint32_t rank;
  uint64_t dims[TFC_MAX_RANK];
  uint64_t count;  // Weights.
  uint64_t row;    // Weights of one index of the first dim.
  // Scale number (i / scale_stride) % scale_count belongs to weight i;
  // scale_count is 0 without scales.
  uint64_t scale_count;
  uint64_t scale_stride;
  uint32_t codebook_size;
  uint64_t bias_size;
  uint64_t output_size;     // Bytes that tfc_decode_into writes;
                            // tfc_decode_symbols writes `count`.
  uint64_t workspace_size;  // Bytes that both need to work.

  // The decoder's own: the payload and where its sections start.
  const uint8_t* payload;
  size_t size, scales_at, codebook_at, bias_at, side_at, codes_at, raw_at;
  uint64_t zeros_a, zeros_b;
} tfc_info;

// Reads and checks all fields of the payload and its CRC. `info` keeps the
// pointer: the payload must outlive it.
tfc_status tfc_open(const uint8_t* payload, size_t size, tfc_info* info);

// Decodes the tensor in its own type and the machine's byte order. Of `out`,
// `info->output_size` bytes are written; its content is unspecified after an
// error. `workspace` and `out` need no alignment and must not overlap.
tfc_status tfc_decode_into(const tfc_info* info, void* out, size_t out_size,
                           void* workspace, size_t workspace_size);

// Decodes one symbol a byte, for code that works on symbols; what
// tfc_decode_into refuses is refused here, too.
tfc_status tfc_decode_symbols(const tfc_info* info, uint8_t* out,
                              size_t out_size, void* workspace,
                              size_t workspace_size);

// The level of a symbol of encodings 1 to 5 (0 for TFC_FLOAT, which has none):
// a weight is scale * level, +0.0 for the level 0. A scale may be negative.
float tfc_level(const tfc_info* info, uint32_t symbol);

// Scale number `index` < scale_count, else 1; bias number `index` < bias_size,
// else 0.
float tfc_scale(const tfc_info* info, uint64_t index);
float tfc_bias(const tfc_info* info, uint64_t index);

// One English sentence without a full stop; never NULL.
const char* tfc_status_text(tfc_status status);

#ifdef __cplusplus
}
#endif

#endif  // TFCOMPRESS_NATIVE_C_TFC_DECODER_H_
