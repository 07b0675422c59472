// 64-byte aligned memory.
#ifndef TFCOMPRESS_NATIVE_DELEGATE_WORKSPACE_H_
#define TFCOMPRESS_NATIVE_DELEGATE_WORKSPACE_H_

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>

namespace tfc {

struct FreeDeleter {
  void operator()(void* memory) const { std::free(memory); }
};

// Aligned to 64 bytes, which is what XNNPACK and our kernels read best.
using AlignedBytes = std::unique_ptr<uint8_t, FreeDeleter>;

// Throws std::bad_alloc. The contents are not initialised.
AlignedBytes AllocateAligned(size_t bytes);

// Scratch that the ops of one subgraph share: they run one after the other.
class Workspace {
 public:
  // Grows to at least `bytes`; never shrinks, so that resizing back and forth
  // settles.
  void Reserve(size_t bytes);
  void* data() const { return memory_.get(); }

 private:
  AlignedBytes memory_;
  size_t size_ = 0;
};

}  // namespace tfc

#endif  // TFCOMPRESS_NATIVE_DELEGATE_WORKSPACE_H_
