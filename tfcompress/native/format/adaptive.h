// The adaptive binary coding of tfcompress/codec/FORMAT.md, sections 5.1 and
// 5.2.
#ifndef TFCOMPRESS_NATIVE_FORMAT_ADAPTIVE_H_
#define TFCOMPRESS_NATIVE_FORMAT_ADAPTIVE_H_

#include <cstdint>
#include <vector>

#include "format/symbols.h"

namespace tfc {

// What the models remember: the last 256 bits of a kind, or 16,384.
enum class Memory { kAdaptive, kSteady };

// The shortest section that decodes to these symbols.
std::vector<uint8_t> EncodeAdaptive(const SymbolLayout& layout, Memory memory,
                                    const uint8_t* symbols);

// Throws Error when no encoder writes such a section. `symbols` has
// layout.count bytes, whose content is unspecified then.
void DecodeAdaptive(const SymbolLayout& layout, Memory memory,
                    const uint8_t* section, uint64_t size, uint8_t* symbols);

}  // namespace tfc

#endif  // TFCOMPRESS_NATIVE_FORMAT_ADAPTIVE_H_
