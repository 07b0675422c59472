#include "tfc_decoder.h"

#include <float.h>
#include <stdbool.h>
#include <string.h>

_Static_assert(sizeof(float) == 4 && FLT_MANT_DIG == 24 && FLT_MAX_EXP == 128,
               "float must be IEEE 754 binary32");

enum {
  HEADER_SIZE = 12,
  ZERO_MODELS = 32,
  BLOCK_MODELS = 4,
  ADAPTIVE_MODEL = 3,  // Bytes: p, then k.
  STEADY_MODEL = 6,
  RANS_LANES = 32,
  PAST_END = 20,
  RANS_TOTAL = 4096
};

#define MAGIC UINT32_C(0x57434654)  // TFCW
#define RANS_LOW UINT32_C(65536)
#define RANGE_LOW (UINT32_C(1) << 24)

// ---------------------------------------------------------------- Bytes

static uint32_t load32(const uint8_t* at) {
  return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
         (uint32_t)at[3] << 24;
}

static uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

static float float_of(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static bool finite_bits(uint32_t bits) {
  return (bits & UINT32_C(0x7F800000)) != UINT32_C(0x7F800000);
}

static uint32_t crc32c(const uint8_t* data, size_t size) {
  static const uint32_t kNibble[16] = {
      UINT32_C(0x00000000), UINT32_C(0x105EC76F), UINT32_C(0x20BD8EDE),
      UINT32_C(0x30E349B1), UINT32_C(0x417B1DBC), UINT32_C(0x5125DAD3),
      UINT32_C(0x61C69362), UINT32_C(0x7198540D), UINT32_C(0x82F63B78),
      UINT32_C(0x92A8FC17), UINT32_C(0xA24BB5A6), UINT32_C(0xB21572C9),
      UINT32_C(0xC38D26C4), UINT32_C(0xD3D3E1AB), UINT32_C(0xE330A81A),
      UINT32_C(0xF36E6F75)};
  uint32_t crc = UINT32_C(0xFFFFFFFF);
  for (size_t i = 0; i < size; ++i) {
    crc ^= data[i];
    crc = crc >> 4 ^ kNibble[crc & 15];
    crc = crc >> 4 ^ kNibble[crc & 15];
  }
  return crc ^ UINT32_C(0xFFFFFFFF);
}

// A position in the payload. `failed` stays set, and reads give 0 from then on.
typedef struct {
  const uint8_t* data;
  size_t size, at;
  bool failed;
} cursor;

static uint64_t read_uvarint(cursor* c) {
  uint64_t value = 0;
  for (unsigned shift = 0; shift < 63 && c->at < c->size; shift += 7) {
    const uint8_t byte = c->data[c->at++];
    value |= (uint64_t)(byte & 0x7F) << shift;
    if (byte < 0x80) {
      if (byte == 0 && shift > 0) break;  // Not the shortest form.
      return value;
    }
  }
  c->failed = true;
  return 0;
}

// Steps over a section of `count` items of `width` bytes; returns where it
// starts.
static size_t skip(cursor* c, uint64_t count, uint32_t width) {
  const size_t start = c->at;
  if (c->failed || count > (c->size - c->at) / width)
    c->failed = true;
  else
    c->at += (size_t)count * width;
  return start;
}

// Fields packed least significant bit first.
typedef struct {
  const uint8_t* data;
  size_t size, at;
  uint32_t held, held_bits;
} bit_reader;

static bit_reader bits_from(const tfc_info* info, size_t start, size_t end) {
  return (bit_reader){info->payload + start, end - start, 0, 0, 0};
}

// Reads a field of at most 24 bits.
static bool read_bits(bit_reader* r, uint32_t bits, uint32_t* value) {
  while (r->held_bits < bits) {
    if (r->at == r->size) return false;
    r->held |= (uint32_t)r->data[r->at++] << r->held_bits;
    r->held_bits += 8;
  }
  *value = r->held & ((UINT32_C(1) << bits) - 1);
  r->held >>= bits;
  r->held_bits -= bits;
  return true;
}

// ---------------------------------------------------------------- Header

static uint64_t bytes_of_bits(uint64_t bits) {
  return bits / 8 + (bits % 8 != 0);
}

static bool num_bits_fits(tfc_encoding encoding, uint32_t bits) {
  switch (encoding) {
    case TFC_UNIFORM:
      return bits >= 2 && bits <= 8;
    case TFC_PALETTE:
      return bits >= 1 && bits <= 8;
    case TFC_TERNARY:
      return bits == 2;
    case TFC_BINARY:
      return bits == 1;
    case TFC_POWER_OF_TWO:
      return bits >= 3 && bits <= 6;
    case TFC_FLOAT:
      return bits >= 9 && bits <= 32;
  }
  return false;
}

static bool codes_bits(const tfc_info* info) {
  return info->coder == TFC_ADAPTIVE || info->coder == TFC_STEADY;
}

static tfc_status read_fixed_fields(tfc_info* info) {
  const uint8_t* at = info->payload + 8;
  if (at[1] < TFC_UNIFORM || at[1] > TFC_FLOAT) return TFC_BAD_ENCODING;
  info->encoding = (tfc_encoding)at[1];
  info->num_bits = at[2];
  if (!num_bits_fits(info->encoding, info->num_bits)) return TFC_BAD_NUM_BITS;
  const uint32_t coder = at[3] & 3, zeros = at[3] >> 2 & 7;
  if (zeros > TFC_N_OF_M || at[3] > 127) return TFC_BAD_FORM;
  info->coder = (tfc_coder)coder;
  info->zeros = (tfc_zeros)zeros;
  info->type = (tfc_type)(at[3] >> 5 & 3);
  const bool integer = info->type == TFC_INT8 || info->type == TFC_INT4;
  if (integer && info->encoding == TFC_FLOAT) return TFC_BAD_FORM;
  if (codes_bits(info) && (zeros == TFC_BITMAP || zeros == TFC_RUN_LENGTH))
    return TFC_BAD_FORM;
  return TFC_OK;
}

static tfc_status read_dims(tfc_info* info, cursor* c) {
  const uint64_t rank = read_uvarint(c);
  if (c->failed) return TFC_BAD_NUMBER;
  if (rank < 1 || rank > TFC_MAX_RANK) return TFC_BAD_DIMS;
  info->rank = (uint32_t)rank;
  const uint64_t limit = (UINT64_C(1) << 40) - 1;
  info->count = 1;
  for (uint32_t i = 0; i < info->rank; ++i) {
    const uint64_t dim = read_uvarint(c);
    if (c->failed) return TFC_BAD_NUMBER;
    if (dim < 1 || dim > limit / info->count) return TFC_BAD_DIMS;
    info->dims[i] = dim;
    info->count *= dim;
  }
  info->row = info->count / info->dims[0];
  return TFC_OK;
}

static tfc_status read_granularity(tfc_info* info, cursor* c) {
  const uint64_t granularity = read_uvarint(c), block = read_uvarint(c);
  if (c->failed) return TFC_BAD_NUMBER;
  if (granularity >= 2 + (uint64_t)info->rank) return TFC_BAD_GRANULARITY;
  const bool scaleless = info->encoding == TFC_FLOAT ||
                         info->type == TFC_INT8 || info->type == TFC_INT4;
  if (granularity != 0 && scaleless) return TFC_BAD_GRANULARITY;
  info->scale_count = granularity > 0;
  info->scale_stride = info->count;
  if (granularity >= 2) {
    info->scale_count = info->dims[granularity - 2];
    for (uint64_t i = 0; i <= granularity - 2; ++i)
      info->scale_stride /= info->dims[i];
  }
  if (block != 0) {
    if (granularity != 2 || block < 2 || block >= info->row ||
        info->row % block != 0)
      return TFC_BAD_BLOCK;
    info->scale_count = info->count / block;
    info->scale_stride = block;
  }
  return TFC_OK;
}

static tfc_status read_codebook_and_bias_size(tfc_info* info, cursor* c) {
  const uint64_t codebook = read_uvarint(c), bias = read_uvarint(c);
  if (c->failed) return TFC_BAD_NUMBER;
  const bool palette = info->encoding == TFC_PALETTE;
  if (palette ? codebook < 1 || codebook > (UINT64_C(1) << info->num_bits)
              : codebook != 0)
    return TFC_BAD_CODEBOOK;
  if (bias != 0 && (bias != info->dims[0] || info->type == TFC_INT8 ||
                    info->type == TFC_INT4))
    return TFC_BAD_BIAS;
  info->codebook_size = (uint32_t)codebook;
  info->bias_size = bias;
  return TFC_OK;
}

static uint32_t position_bits(uint64_t group) {
  uint32_t bits = 0;
  while (UINT64_C(1) << bits < group) ++bits;
  return bits;
}

// Reads zeros_a and zeros_b; `side_size` becomes what the side section must
// have.
static tfc_status read_zeros(tfc_info* info, cursor* c, uint64_t* side_size) {
  *side_size = info->zeros == TFC_BITMAP ? bytes_of_bits(info->count) : 0;
  if (info->zeros == TFC_DENSE || info->zeros == TFC_BITMAP) return TFC_OK;
  const uint64_t a = read_uvarint(c), b = read_uvarint(c);
  if (c->failed) return TFC_BAD_NUMBER;
  info->zeros_a = a;
  info->zeros_b = b;
  if (info->zeros == TFC_RUN_LENGTH) {
    if (a < 1 || a > 8 || b > info->count) return TFC_BAD_ZEROS;
    *side_size = bytes_of_bits(a * b);
  } else if (info->zeros == TFC_BLOCKS) {
    if (a < 2 || b != 0 || info->row % a != 0) return TFC_BAD_ZEROS;
    *side_size = bytes_of_bits(info->count / a);
  } else {
    if ((b != 4 && b != 8 && b != 16 && b != 32) || info->row % b != 0 ||
        a < 1 || a >= b)
      return TFC_BAD_ZEROS;
    *side_size = bytes_of_bits(info->count / b * a * position_bits(b));
  }
  if (codes_bits(info)) *side_size = 0;
  return TFC_OK;
}

static tfc_status read_sections(tfc_info* info, cursor* c,
                                uint64_t wanted_side) {
  const uint64_t side = read_uvarint(c), codes = read_uvarint(c);
  if (c->failed) return TFC_BAD_NUMBER;
  if (side != wanted_side) return TFC_BAD_SIDE;
  info->scales_at = skip(c, info->scale_count, 4);
  if (c->failed) return TFC_BAD_SCALES;
  info->codebook_at = skip(c, info->codebook_size, 4);
  if (c->failed) return TFC_BAD_CODEBOOK;
  info->bias_at = skip(c, info->bias_size, 4);
  if (c->failed) return TFC_BAD_BIAS;
  info->side_at = skip(c, side, 1);
  if (c->failed) return TFC_BAD_SIDE;
  info->codes_at = skip(c, codes, 1);
  if (c->failed) return TFC_BAD_CODES;
  info->raw_at = c->at;
  return TFC_OK;
}

static tfc_status check_padding(const tfc_info* info, size_t start) {
  if (info->size - start > 3) return TFC_BAD_PADDING;
  for (size_t i = start; i < info->size; ++i) {
    if (info->payload[i] != 0) return TFC_BAD_PADDING;
  }
  return TFC_OK;
}

// Checks scales and codebook, and finds the zero symbol.
static tfc_status check_levels(tfc_info* info) {
  for (size_t i = 0; i < info->scale_count; ++i) {
    const uint32_t bits = load32(info->payload + info->scales_at + 4 * i);
    if (!finite_bits(bits) || bits << 1 == 0) return TFC_BAD_SCALES;
  }
  info->zero_symbol = -1;
  for (uint32_t i = 0; i < info->codebook_size; ++i) {
    const uint32_t bits = load32(info->payload + info->codebook_at + 4 * i);
    if (!finite_bits(bits) || bits == UINT32_C(0x80000000))
      return TFC_BAD_CODEBOOK;
    if (i > 0 && float_of(bits) <= tfc_level(info, i - 1))
      return TFC_BAD_CODEBOOK;
    if (bits == 0) info->zero_symbol = (int32_t)i;
  }
  info->symbol_bits = info->encoding == TFC_FLOAT ? 8 : info->num_bits;
  info->symbols = UINT32_C(1) << info->symbol_bits;
  if (info->encoding == TFC_PALETTE) {
    info->symbols = info->codebook_size;
  } else if (info->encoding == TFC_TERNARY) {
    info->symbols = 3;
    info->zero_symbol = 1;
  } else if (info->encoding == TFC_FLOAT) {
    info->zero_symbol = 0;
  } else if (info->encoding != TFC_BINARY) {
    info->zero_symbol = (int32_t)(info->symbols / 2);
  }
  return info->zeros != TFC_DENSE && info->zero_symbol < 0 ? TFC_BAD_ZEROS
                                                           : TFC_OK;
}

static bool has_history(const tfc_info* info) {
  return info->zero_symbol >= 0 && info->zeros != TFC_N_OF_M;
}

static uint32_t model_size(const tfc_info* info) {
  return info->coder == TFC_STEADY ? STEADY_MODEL : ADAPTIVE_MODEL;
}

// Coders of bits: models, then which symbols of the last row are not zero, then
// which of its blocks were written. rANS: starts of the symbols and their end,
// then the states.
static uint64_t workspace_of(const tfc_info* info) {
  if (info->coder == TFC_PLAIN) return 0;
  if (info->coder == TFC_RANS)
    return 2 * ((uint64_t)info->symbols + 1) + 4 * RANS_LANES;
  uint64_t size = model_size(info) * ((UINT64_C(1) << info->symbol_bits) +
                                      ZERO_MODELS + BLOCK_MODELS);
  if (has_history(info)) size += bytes_of_bits(info->row);
  if (info->zeros == TFC_BLOCKS)
    size += bytes_of_bits(info->row / info->zeros_a);
  return size;
}

static uint64_t output_of(const tfc_info* info) {
  switch (info->type) {
    case TFC_FLOAT32:
      return 4 * info->count;
    case TFC_FLOAT16:
      return 2 * info->count;
    case TFC_INT8:
      return info->count;
    case TFC_INT4:
      return info->count / 2 + info->count % 2;
  }
  return 0;
}

tfc_status tfc_open(const uint8_t* payload, size_t size, tfc_info* info) {
  if (payload == NULL || info == NULL) return TFC_BAD_ARGUMENT;
  memset(info, 0, sizeof *info);
  info->payload = payload;
  info->size = size;
  if (size < 4 || load32(payload) != MAGIC) return TFC_BAD_MAGIC;
  if (size <= HEADER_SIZE) return TFC_BAD_LENGTH;
  if (payload[8] > 1) return TFC_NEWER_VERSION;
  cursor c = {payload, size, HEADER_SIZE, false};
  const uint64_t length = read_uvarint(&c);
  if (c.failed || length != size || length % 4 != 0) return TFC_BAD_LENGTH;
  if (crc32c(payload + 8, size - 8) != load32(payload + 4)) return TFC_BAD_CRC;
  if (payload[8] != 1) return TFC_NEWER_VERSION;
  uint64_t side = 0;
  tfc_status status = read_fixed_fields(info);
  if (status == TFC_OK) status = read_dims(info, &c);
  if (status == TFC_OK) status = read_granularity(info, &c);
  if (status == TFC_OK) status = read_codebook_and_bias_size(info, &c);
  if (status == TFC_OK) status = read_zeros(info, &c, &side);
  if (status == TFC_OK) status = read_sections(info, &c, side);
  if (status == TFC_OK) status = check_levels(info);
  if (status == TFC_OK && info->encoding != TFC_FLOAT)
    status = check_padding(info, info->raw_at);
  if (status != TFC_OK) return status;
  info->output_size = output_of(info);
  info->workspace_size = workspace_of(info);
  return TFC_OK;
}

// ---------------------------------------------------------------- Levels

float tfc_scale(const tfc_info* info, uint64_t index) {
  if (index >= info->scale_count) return 1.0f;
  return float_of(load32(info->payload + info->scales_at + 4 * (size_t)index));
}

float tfc_bias(const tfc_info* info, uint64_t index) {
  if (index >= info->bias_size) return 0.0f;
  return float_of(load32(info->payload + info->bias_at + 4 * (size_t)index));
}

static float power_of_two_level(int32_t d) {
  if (d == 0) return 0.0f;
  const float power = (float)(UINT32_C(1) << ((d < 0 ? -d : d) - 1));
  return d < 0 ? -power : power;
}

float tfc_level(const tfc_info* info, uint32_t symbol) {
  const int32_t s = (int32_t)(symbol & 255);
  switch (info->encoding) {
    case TFC_UNIFORM:
      return (float)(s - (1 << (info->num_bits - 1)));
    case TFC_PALETTE:
      if (symbol >= info->codebook_size) return 0.0f;
      return float_of(
          load32(info->payload + info->codebook_at + 4 * (size_t)symbol));
    case TFC_TERNARY:
      return (float)(s - 1);
    case TFC_BINARY:
      return (float)(2 * s - 1);
    case TFC_POWER_OF_TWO:
      return power_of_two_level((s & 63) - (1 << (info->num_bits - 1)));
    case TFC_FLOAT:
      return 0.0f;
  }
  return 0.0f;
}

// ---------------------------------------------------------------- Decoder

typedef struct {
  const tfc_info* info;
  bit_reader side, codes, raw;
  // Adaptive.
  uint32_t range, code, past_end;
  bool overrun;
  uint8_t *models, *row_nonzero, *row_written;
  uint32_t nonzero_1, nonzero_2,
      written_1;  // Of the symbols and the block before.
  // rANS.
  uint8_t *starts, *states;
  uint32_t lane;
  bool any_value;
  // Zeros.
  uint64_t column;   // Of the next symbol in its row.
  uint64_t run;      // Zeros before the next value.
  uint64_t entries;  // Not yet read.
  bool value_follows;
  uint64_t position;            // In its block or group.
  bool written, found_nonzero;  // The block.
  uint32_t listed,
      nonzeros;  // The group: a bit for each position, symbols other than zero.
  bool zero_unlisted;
  // Weights.
  uint64_t scale_index, scale_position;
  float scale;
} decoder;

// ---------------------------------------------------------------- Adaptive
// binary coding

// The next byte of the section, then zeros. No encoder writes a section that
// needs more than PAST_END of them while code is not 0.
static uint32_t code_byte(decoder* d) {
  if (d->codes.at < d->codes.size) return d->codes.data[d->codes.at++];
  if (d->past_end <= PAST_END && ++d->past_end > PAST_END && d->code != 0)
    d->overrun = true;
  return 0;
}

static tfc_status start_adaptive(decoder* d, uint8_t* workspace) {
  const tfc_info* info = d->info;
  const size_t size = d->codes.size;
  if (size > 0 && d->codes.data[size - 1] == 0) return TFC_BAD_CODES;
  d->models = workspace;
  const size_t models = model_size(info) * (((size_t)1 << info->symbol_bits) +
                                            ZERO_MODELS + BLOCK_MODELS);
  // p is a half: 2^15 in units of 2^-16, or 2^27 in units of 2^-28.
  memset(d->models, 0, models);
  if (info->coder == TFC_STEADY) {
    for (size_t i = 0; i < models; i += STEADY_MODEL) d->models[i + 3] = 8;
  } else {
    for (size_t i = 0; i < models; i += ADAPTIVE_MODEL) d->models[i + 1] = 128;
  }
  d->row_nonzero = d->models + models;
  d->row_written = d->row_nonzero +
                   (has_history(info) ? (size_t)bytes_of_bits(info->row) : 0);
  // What comes before the first row counts as not zero, and as written.
  memset(d->row_nonzero, 255, (size_t)info->workspace_size - models);
  d->nonzero_1 = d->nonzero_2 = d->written_1 = 1;
  d->range = UINT32_C(0xFFFFFFFF);
  for (int i = 0; i < 4; ++i) d->code = d->code << 8 | code_byte(d);
  // The encoder's number is smaller than its range, and stays so.
  return d->code < d->range ? TFC_OK : TFC_BAD_CODES;
}

// Decodes a bit, a 0 of which has the part `bound` of the range.
static uint32_t split_range(decoder* d, uint32_t bound) {
  const uint32_t bit = d->code >= bound;
  if (bit) {
    d->code -= bound;
    d->range -= bound;
  } else {
    d->range = bound;
  }
  while (d->range < RANGE_LOW) {
    d->range <<= 8;
    d->code = d->code << 8 | code_byte(d);
  }
  return bit;
}

static uint32_t adaptive_bit(decoder* d, uint8_t* m) {
  uint32_t p = (uint32_t)m[0] | (uint32_t)m[1] << 8;
  uint32_t probability = p >> 4;
  if (probability < 1) probability = 1;  // At most 4095, since p < 65536.
  const uint32_t rate = UINT32_C(131072) / (2 * (uint32_t)m[2] + 3);
  const uint32_t bit = split_range(d, (d->range >> 12) * probability);
  if (bit)
    p -= (p * rate) >> 16;
  else
    p += ((65536 - p) * rate) >> 16;
  m[0] = (uint8_t)(p & 255);
  m[1] = (uint8_t)(p >> 8);
  if (m[2] < 255) ++m[2];
  return bit;
}

static uint32_t steady_bit(decoder* d, uint8_t* m) {
  uint32_t p = load32(m), k = (uint32_t)m[4] | (uint32_t)m[5] << 8;
  uint32_t probability = p >> 12;
  if (probability < 1) probability = 1;
  const uint64_t rate = (UINT32_C(1) << 25) / (2 * k + 3);
  const uint32_t bit =
      split_range(d, (uint32_t)((uint64_t)d->range * probability >> 16));
  if (bit)
    p -= (uint32_t)(p * rate >> 24);
  else
    p += (uint32_t)(((UINT32_C(1) << 28) - p) * rate >> 24);
  for (int i = 0; i < 4; ++i) m[i] = (uint8_t)(p >> 8 * i);
  if (k < 16383) ++k;
  m[4] = (uint8_t)(k & 255);
  m[5] = (uint8_t)(k >> 8);
  return bit;
}

static uint32_t model_bit(decoder* d, size_t model) {
  uint8_t* m = d->models + model_size(d->info) * model;
  return d->info->coder == TFC_STEADY ? steady_bit(d, m) : adaptive_bit(d, m);
}

static uint32_t bit_at(const uint8_t* bits, uint64_t index) {
  return (uint32_t)bits[(size_t)(index / 8)] >> (index % 8) & 1;
}

static void put_bit(uint8_t* bits, uint64_t index, uint32_t bit) {
  uint8_t* at = bits + (size_t)(index / 8);
  const uint32_t mask = UINT32_C(1) << (index % 8);
  *at = (uint8_t)(bit ? *at | mask : *at & ~mask);
}

static uint32_t adaptive_tree(decoder* d) {
  const tfc_info* info = d->info;
  const uint32_t leaves = UINT32_C(1) << info->symbol_bits;
  const uint32_t zero_parent =
      info->zero_symbol < 0 ? 0 : (leaves + (uint32_t)info->zero_symbol) >> 1;
  uint32_t node = 1;
  while (node < leaves) {
    const uint32_t bit = node == zero_parent
                             ? 1 - ((uint32_t)info->zero_symbol & 1)
                             : model_bit(d, node);
    node = 2 * node + bit;
  }
  return node - leaves;
}

// A symbol of the adaptive coder; a zero is told from the others by
// `zero_model`.
static uint32_t adaptive_symbol(decoder* d, uint32_t zero_model) {
  const tfc_info* info = d->info;
  if (info->zero_symbol < 0) return adaptive_tree(d);
  const size_t model = ((size_t)1 << info->symbol_bits) + zero_model;
  return model_bit(d, model) ? adaptive_tree(d) : (uint32_t)info->zero_symbol;
}

static uint32_t adaptive_value(decoder* d) {
  if (!has_history(d->info)) return adaptive_symbol(d, d->nonzeros);
  return adaptive_symbol(d, d->nonzero_1 + 2 * d->nonzero_2 +
                                4 * bit_at(d->row_nonzero, d->column));
}

// Says whether the block at `column` is written.
static bool adaptive_block(decoder* d) {
  const uint64_t block = d->column / d->info->zeros_a;
  const size_t models = ((size_t)1 << d->info->symbol_bits) + ZERO_MODELS;
  d->written_1 =
      model_bit(d, models + d->written_1 + 2 * bit_at(d->row_written, block));
  put_bit(d->row_written, block, d->written_1);
  return d->written_1 != 0;
}

static void remember_symbol(decoder* d, bool nonzero) {
  d->nonzero_2 = d->nonzero_1;
  d->nonzero_1 = nonzero;
  put_bit(d->row_nonzero, d->column, nonzero);
}

// ---------------------------------------------------------------- rANS

static uint32_t load16(const uint8_t* at) {
  return (uint32_t)at[0] | (uint32_t)at[1] << 8;
}

static void store16(uint8_t* at, uint32_t value) {
  at[0] = (uint8_t)(value & 255);
  at[1] = (uint8_t)(value >> 8 & 255);
}

static tfc_status start_rans(decoder* d, uint8_t* workspace) {
  d->starts = workspace;
  d->states = workspace + 2 * ((size_t)d->info->symbols + 1);
  if (d->codes.size == 0) return TFC_OK;
  cursor c = {d->codes.data, d->codes.size, 0, false};
  uint32_t sum = 0;
  for (uint32_t s = 0; s < d->info->symbols; ++s) {
    store16(d->starts + 2 * (size_t)s, sum);
    const uint64_t frequency = read_uvarint(&c);
    if (c.failed || frequency > RANS_TOTAL - sum) return TFC_BAD_CODES;
    sum += (uint32_t)frequency;
  }
  store16(d->starts + 2 * (size_t)d->info->symbols, sum);
  if (sum != RANS_TOTAL || c.size - c.at < 4 * RANS_LANES) return TFC_BAD_CODES;
  memcpy(d->states, c.data + c.at, 4 * RANS_LANES);
  for (size_t i = 0; i < RANS_LANES; ++i) {
    if (load32(d->states + 4 * i) < RANS_LOW) return TFC_BAD_CODES;
  }
  d->codes.at = c.at + 4 * RANS_LANES;
  return TFC_OK;
}

static bool rans_value(decoder* d, uint32_t* value) {
  if (d->codes.size == 0) return false;
  uint8_t* state = d->states + 4 * (size_t)d->lane;
  d->lane = (d->lane + 1) % RANS_LANES;
  uint32_t x = load32(state);
  const uint32_t slot = x & (RANS_TOTAL - 1);
  uint32_t low = 0,
           high = d->info->symbols;  // start(low) <= slot < start(high)
  while (high - low > 1) {
    const uint32_t middle = (low + high) / 2;
    if (load16(d->starts + 2 * (size_t)middle) <= slot)
      low = middle;
    else
      high = middle;
  }
  const uint32_t start = load16(d->starts + 2 * (size_t)low);
  const uint32_t frequency = load16(d->starts + 2 * (size_t)low + 2) - start;
  x = frequency * (x >> 12) + slot - start;
  if (x < RANS_LOW) {
    if (d->codes.size - d->codes.at < 2) return false;
    x = x << 16 | load16(d->codes.data + d->codes.at);
    d->codes.at += 2;
  }
  store16(state, x & 65535);
  store16(state + 2, x >> 16);
  *value = low;
  return true;
}

static bool rans_ends(const decoder* d) {
  if (d->codes.size == 0) return !d->any_value;
  if (!d->any_value || d->codes.at != d->codes.size) return false;
  for (size_t i = 0; i < RANS_LANES; ++i) {
    if (load32(d->states + 4 * i) != RANS_LOW) return false;
  }
  return true;
}

// ---------------------------------------------------------------- Values and
// zeros

// The next value of the codes section, whatever its coder.
static bool next_value(decoder* d, uint32_t* value) {
  bool read = true;
  if (codes_bits(d->info))
    *value = adaptive_value(d);
  else if (d->info->coder == TFC_RANS)
    read = rans_value(d, value);
  else
    read = read_bits(&d->codes, d->info->symbol_bits, value);
  d->any_value = true;
  return read && !d->overrun && *value < d->info->symbols;
}

static bool values_end(const decoder* d) {
  if (d->info->coder == TFC_RANS) return rans_ends(d);
  if (codes_bits(d->info)) return !d->overrun;
  return d->codes.at == d->codes.size && d->codes.held == 0;
}

static tfc_status next_bitmap(decoder* d, uint32_t* symbol) {
  uint32_t nonzero = 0;
  if (!read_bits(&d->side, 1, &nonzero)) return TFC_BAD_SIDE;
  if (!nonzero) return TFC_OK;
  return next_value(d, symbol) && *symbol != (uint32_t)d->info->zero_symbol
             ? TFC_OK
             : TFC_BAD_CODES;
}

static tfc_status next_run_length(decoder* d, uint32_t* symbol) {
  while (d->run == 0 && !d->value_follows && d->entries > 0) {
    uint32_t entry = 0;
    const uint32_t bits = (uint32_t)d->info->zeros_a;
    if (!read_bits(&d->side, bits, &entry)) return TFC_BAD_SIDE;
    --d->entries;
    d->run = entry;
    d->value_follows = entry != (UINT32_C(1) << bits) - 1;
    if (!d->value_follows && d->entries == 0) return TFC_BAD_SIDE;
  }
  if (d->run > 0) {
    --d->run;
    return TFC_OK;
  }
  if (!d->value_follows) return TFC_OK;  // Zeros after the last entry.
  d->value_follows = false;
  return next_value(d, symbol) && *symbol != (uint32_t)d->info->zero_symbol
             ? TFC_OK
             : TFC_BAD_CODES;
}

static tfc_status next_of_block(decoder* d, uint32_t* symbol) {
  if (d->position == 0) {
    uint32_t written = 0;
    if (codes_bits(d->info))
      written = adaptive_block(d);
    else if (!read_bits(&d->side, 1, &written))
      return TFC_BAD_SIDE;
    d->written = written != 0;
    d->found_nonzero = false;
  }
  if (d->written) {
    if (!next_value(d, symbol)) return TFC_BAD_CODES;
    if (*symbol != (uint32_t)d->info->zero_symbol) d->found_nonzero = true;
  }
  if (++d->position < d->info->zeros_a) return TFC_OK;
  d->position = 0;
  return d->written && !d->found_nonzero ? TFC_BAD_CODES : TFC_OK;
}

// Reads which positions of a group are written.
static bool read_group(decoder* d) {
  d->listed = 0;
  const uint32_t bits = position_bits(d->info->zeros_b);
  for (uint64_t i = 0; i < d->info->zeros_a; ++i) {
    uint32_t position = 0;
    if (!read_bits(&d->side, bits, &position) || d->listed >> position != 0)
      return false;
    d->listed |= UINT32_C(1) << position;
  }
  return true;
}

static tfc_status next_of_group(decoder* d, uint32_t* symbol) {
  if (d->position == 0) {
    d->nonzeros = 0;
    d->zero_unlisted = false;
    if (!codes_bits(d->info) && !read_group(d)) return TFC_BAD_SIDE;
  }
  const bool written = codes_bits(d->info)
                           ? d->nonzeros < d->info->zeros_a
                           : (d->listed >> d->position & 1) != 0;
  if (written && !next_value(d, symbol)) return TFC_BAD_CODES;
  if (*symbol != (uint32_t)d->info->zero_symbol)
    ++d->nonzeros;
  else if (!written)
    d->zero_unlisted = true;
  else if (d->zero_unlisted)
    return TFC_BAD_SIDE;  // A smaller position holds a zero and is not listed.
  if (++d->position == d->info->zeros_b) d->position = 0;
  return TFC_OK;
}

static tfc_status next_symbol(decoder* d, uint32_t* symbol) {
  *symbol = d->info->zero_symbol < 0 ? 0 : (uint32_t)d->info->zero_symbol;
  tfc_status status = TFC_OK;
  switch (d->info->zeros) {
    case TFC_DENSE:
      if (!next_value(d, symbol)) status = TFC_BAD_CODES;
      break;
    case TFC_BITMAP:
      status = next_bitmap(d, symbol);
      break;
    case TFC_RUN_LENGTH:
      status = next_run_length(d, symbol);
      break;
    case TFC_BLOCKS:
      status = next_of_block(d, symbol);
      break;
    case TFC_N_OF_M:
      status = next_of_group(d, symbol);
      break;
  }
  if (codes_bits(d->info) && has_history(d->info))
    remember_symbol(d, *symbol != (uint32_t)d->info->zero_symbol);
  if (++d->column == d->info->row) d->column = 0;
  return status;
}

// ---------------------------------------------------------------- Weights

static bool float_weight(decoder* d, uint32_t symbol, float* weight) {
  *weight = 0.0f;
  if (symbol == 0) return true;
  uint32_t field = 0;
  const uint32_t kept = d->info->num_bits - 9;
  if (symbol > 254 || !read_bits(&d->raw, kept + 1, &field)) return false;
  const uint32_t mantissa = (field & ((UINT32_C(1) << kept) - 1))
                            << (23 - kept);
  *weight = float_of(field >> kept << 31 | symbol << 23 | mantissa);
  return true;
}

static float code_weight(decoder* d, uint32_t symbol) {
  if (d->info->scale_count == 0) return tfc_level(d->info, symbol);
  if (d->scale_position == 0) d->scale = tfc_scale(d->info, d->scale_index);
  if (++d->scale_position == d->info->scale_stride) {
    d->scale_position = 0;
    if (++d->scale_index == d->info->scale_count) d->scale_index = 0;
  }
  // Of 0 under a negative scale, +0.0 makes a positive one.
  return d->scale * tfc_level(d->info, symbol) + 0.0f;
}

// The float16 of a float32; false if it is not exact.
static bool half_of(uint32_t bits, uint16_t* half) {
  const uint32_t sign = bits >> 16 & 0x8000, exponent = bits >> 23 & 255;
  const uint32_t mantissa = bits & UINT32_C(0x7FFFFF);
  if (bits << 1 == 0) {
    *half = (uint16_t)sign;
    return true;
  }
  if (exponent < 103 || exponent > 142) return false;
  const bool normal = exponent >= 113;
  const uint32_t shift = normal ? 13 : 126 - exponent;
  const uint32_t whole = normal ? (exponent - 112) << 23 | mantissa
                                : mantissa | UINT32_C(0x800000);
  if ((whole & ((UINT32_C(1) << shift) - 1)) != 0) return false;
  *half = (uint16_t)(sign | whole >> shift);
  return true;
}

// Puts weight `i` into `out` in the type of the tensor; checks only when `out`
// is NULL. False if the type cannot hold it.
static bool put_weight(const tfc_info* info, uint64_t i, float weight,
                       uint8_t* out) {
  const uint32_t bits = bits_of(weight);
  if (!finite_bits(bits)) return false;
  if (info->type == TFC_FLOAT32) {
    if (out != NULL) memcpy(out + 4 * (size_t)i, &weight, 4);
    return true;
  }
  if (info->type == TFC_FLOAT16) {
    uint16_t half = 0;
    if (!half_of(bits, &half)) return false;
    if (out != NULL) memcpy(out + 2 * (size_t)i, &half, 2);
    return true;
  }
  const float limit = info->type == TFC_INT8 ? 128.0f : 8.0f;
  if (weight < -limit || weight > limit - 1) return false;
  const int32_t integer = (int32_t)weight;
  if ((float)integer != weight) return false;
  if (out == NULL) return true;
  if (info->type == TFC_INT8) {
    out[(size_t)i] = (uint8_t)((uint32_t)integer & 255);
  } else {
    const uint32_t nibble = (uint32_t)integer & 15;
    uint8_t* at = out + (size_t)(i / 2);
    *at = (uint8_t)(i % 2 == 0 ? nibble : *at | nibble << 4);
  }
  return true;
}

static tfc_status decode(decoder* d, uint8_t* tensor, uint8_t* symbols) {
  for (uint64_t i = 0; i < d->info->count; ++i) {
    uint32_t symbol = 0;
    const tfc_status status = next_symbol(d, &symbol);
    if (status != TFC_OK) return status;
    float weight = 0.0f;
    if (d->info->encoding != TFC_FLOAT)
      weight = code_weight(d, symbol);
    else if (!float_weight(d, symbol, &weight))
      return symbol > 254 ? TFC_BAD_CODES : TFC_BAD_RAW;
    if (!put_weight(d->info, i, weight, tensor)) return TFC_BAD_WEIGHT;
    if (symbols != NULL) symbols[(size_t)i] = (uint8_t)symbol;
  }
  if (d->run > 0 || d->value_follows || d->entries > 0) return TFC_BAD_SIDE;
  if (d->side.held != 0 || d->side.at != d->side.size) return TFC_BAD_SIDE;
  if (!values_end(d)) return TFC_BAD_CODES;
  if (d->info->encoding != TFC_FLOAT) return TFC_OK;
  return d->raw.held != 0 ? TFC_BAD_RAW
                          : check_padding(d->info, d->info->raw_at + d->raw.at);
}

static tfc_status start(decoder* d, const tfc_info* info, void* workspace,
                        size_t workspace_size) {
  if (workspace_size < info->workspace_size) return TFC_SMALL_WORKSPACE;
  if (workspace == NULL && info->workspace_size > 0) return TFC_BAD_ARGUMENT;
  memset(d, 0, sizeof *d);
  d->info = info;
  d->side = bits_from(info, info->side_at, info->codes_at);
  d->codes = bits_from(info, info->codes_at, info->raw_at);
  d->raw = bits_from(info, info->raw_at, info->size);
  if (info->zeros == TFC_RUN_LENGTH) d->entries = info->zeros_b;
  if (info->coder == TFC_RANS) return start_rans(d, workspace);
  return codes_bits(info) ? start_adaptive(d, workspace) : TFC_OK;
}

tfc_status tfc_decode_into(const tfc_info* info, void* out, size_t out_size,
                           void* workspace, size_t workspace_size) {
  if (info == NULL || out == NULL) return TFC_BAD_ARGUMENT;
  if (out_size < info->output_size) return TFC_SMALL_OUTPUT;
  decoder d;
  const tfc_status status = start(&d, info, workspace, workspace_size);
  return status == TFC_OK ? decode(&d, out, NULL) : status;
}

tfc_status tfc_decode_symbols(const tfc_info* info, uint8_t* out,
                              size_t out_size, void* workspace,
                              size_t workspace_size) {
  if (info == NULL || out == NULL) return TFC_BAD_ARGUMENT;
  if (out_size < info->count) return TFC_SMALL_OUTPUT;
  decoder d;
  const tfc_status status = start(&d, info, workspace, workspace_size);
  return status == TFC_OK ? decode(&d, NULL, out) : status;
}

const char* tfc_status_text(tfc_status status) {
  switch (status) {
    case TFC_OK:
      return "Decoded";
    case TFC_BAD_ARGUMENT:
      return "A pointer must not be NULL";
    case TFC_SMALL_OUTPUT:
      return "The output buffer is smaller than the tensor";
    case TFC_SMALL_WORKSPACE:
      return "The workspace is smaller than info.workspace_size";
    case TFC_BAD_MAGIC:
      return "The payload must start with TFCW";
    case TFC_BAD_LENGTH:
      return "The payload's length must be the size of its buffer and a "
             "multiple of 4";
    case TFC_BAD_CRC:
      return "The payload's CRC-32C does not match its bytes";
    case TFC_NEWER_VERSION:
      return "The payload's version must be 1: a newer decoder may know it";
    case TFC_BAD_NUMBER:
      return "A number of the header must be a uvarint in its shortest form, "
             "inside the payload";
    case TFC_BAD_ENCODING:
      return "The payload's encoding must be 1 to 6";
    case TFC_BAD_NUM_BITS:
      return "The payload's num_bits does not go with its encoding";
    case TFC_BAD_FORM:
      return "The payload's coder, zeros and type must be known and go "
             "together";
    case TFC_BAD_DIMS:
      return "The payload must have 1 to 8 dims of at least 1 and fewer than "
             "2^40 weights";
    case TFC_BAD_GRANULARITY:
      return "The payload's granularity does not go with its rank, encoding or "
             "type";
    case TFC_BAD_BLOCK:
      return "The payload's block of scales must divide a row into two or more";
    case TFC_BAD_CODEBOOK:
      return "The payload's codebook must be as long as num_bits allows, "
             "finite and strictly ascending";
    case TFC_BAD_BIAS:
      return "The payload's bias must have one number for each index of the "
             "first dim";
    case TFC_BAD_ZEROS:
      return "The payload's form of zeros does not go with its numbers, dims "
             "or symbols";
    case TFC_BAD_SCALES:
      return "The payload's scales must be inside of it, finite and not 0";
    case TFC_BAD_SIDE:
      return "The payload's side section contradicts its dims or symbols";
    case TFC_BAD_CODES:
      return "The payload's codes section contradicts its other fields";
    case TFC_BAD_RAW:
      return "The payload's raw section must hold the bits of every nonzero "
             "float";
    case TFC_BAD_PADDING:
      return "The payload must end with 0 to 3 bytes of 0";
    case TFC_BAD_WEIGHT:
      return "A weight must be finite and exact in the tensor's type";
  }
  return "Unknown status";
}
