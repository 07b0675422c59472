#include "delegate/workspace.h"

#include <new>

namespace tfc {
namespace {

constexpr size_t kAlignment = 64;

}  // namespace

AlignedBytes AllocateAligned(size_t bytes) {
  if (bytes > SIZE_MAX - kAlignment) throw std::bad_alloc();
  // aligned_alloc wants a multiple of the alignment, and one that is not zero.
  const size_t rounded = (bytes / kAlignment + 1) * kAlignment;
  void* memory = std::aligned_alloc(kAlignment, rounded);
  if (memory == nullptr) throw std::bad_alloc();
  return AlignedBytes(static_cast<uint8_t*>(memory));
}

void Workspace::Reserve(size_t bytes) {
  if (bytes <= size_ && memory_ != nullptr) return;
  memory_.reset();  // before the new one, so that both never live at once
  size_ = 0;
  memory_ = AllocateAligned(bytes);
  size_ = bytes;
}

}  // namespace tfc
