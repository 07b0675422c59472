// Decodes payloads from standard input with the stand-alone decoder, for tests
// in other languages.
//
// A request is a u32 size and so many bytes of payload. The answer is a u32
// status, and after TFC_OK a u64 size with the tensor and a u64 size with the
// symbols. All in the machine's byte order. Every buffer has exactly the size
// that the decoder asked for, on the heap, so that a sanitizer sees the first
// byte beyond. Payloads that ask for more than LIMIT bytes are answered with
// the status 1000.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tfc_decoder.h"

enum { LIMIT = 1 << 28, OVER_LIMIT = 1000 };

static void answer(const void* bytes, size_t size) {
  if (fwrite(bytes, 1, size, stdout) != size) exit(2);
}

// Memory at an odd address; `*whole` is what free() takes.
static uint8_t* odd_buffer(size_t size, uint8_t** whole) {
  *whole = malloc(size + 1);
  if (*whole == NULL) exit(3);
  return *whole + 1;
}

static uint32_t decode(const tfc_info* info) {
  if (info->output_size > LIMIT || info->count > LIMIT ||
      info->workspace_size > LIMIT)
    return OVER_LIMIT;
  const size_t size = (size_t)info->output_size, count = (size_t)info->count;
  const size_t work_size = (size_t)info->workspace_size;
  uint8_t *whole_tensor, *whole_symbols, *whole_work;
  uint8_t* tensor = odd_buffer(size, &whole_tensor);
  uint8_t* symbols = odd_buffer(count, &whole_symbols);
  uint8_t* work = odd_buffer(work_size, &whole_work);
  tfc_status status = tfc_decode_into(info, tensor, size, work, work_size);
  const tfc_status other =
      tfc_decode_symbols(info, symbols, count, work, work_size);
  if (status != other) abort();
  const uint32_t code = (uint32_t)status;
  answer(&code, sizeof code);
  if (status == TFC_OK) {
    const uint64_t sizes[2] = {size, count};
    answer(&sizes[0], 8);
    answer(tensor, size);
    answer(&sizes[1], 8);
    answer(symbols, count);
  }
  free(whole_tensor);
  free(whole_symbols);
  free(whole_work);
  return TFC_OK;
}

int main(void) {
  uint32_t size;
  while (fread(&size, 1, sizeof size, stdin) == sizeof size) {
    uint8_t* payload = malloc(size > 0 ? size : 1);
    if (payload == NULL || fread(payload, 1, size, stdin) != size) return 4;
    tfc_info info;
    uint32_t status = (uint32_t)tfc_open(payload, size, &info);
    if (status == TFC_OK) status = decode(&info);
    if (status != TFC_OK) answer(&status, sizeof status);
    if (strlen(tfc_status_text((tfc_status)status)) < 7) abort();
    free(payload);
    if (fflush(stdout) != 0) return 5;
  }
  return 0;
}
