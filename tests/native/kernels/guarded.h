// Memory whose first or last byte lies against a page that traps.
#ifndef TFCOMPRESS_TESTS_NATIVE_KERNELS_GUARDED_H_
#define TFCOMPRESS_TESTS_NATIVE_KERNELS_GUARDED_H_

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace tfc {

enum class Guard { kBefore, kAfter };

template <class T>
class Guarded {
 public:
  explicit Guarded(size_t count, Guard guard = Guard::kAfter)
      : count_(count), page_(sysconf(_SC_PAGESIZE)) {
    const size_t bytes = count * sizeof(T);
    const size_t body = (bytes + page_ - 1) / page_ * page_;
    size_ = body + 2 * page_;
    map_ = static_cast<char*>(
        mmap(nullptr, size_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (map_ == MAP_FAILED) std::abort();
    if (body > 0 && mprotect(map_ + page_, body, PROT_READ | PROT_WRITE) != 0) {
      std::abort();
    }
    // Garbage, so that nothing leans on zeros.
    std::memset(map_ + page_, 0xa5, body);
    const size_t offset = guard == Guard::kBefore ? 0 : body - bytes;
    data_ = reinterpret_cast<T*>(map_ + page_ + offset);
  }
  Guarded(const std::vector<T>& values, Guard guard)
      : Guarded(values.size(), guard) {
    std::copy(values.begin(), values.end(), data_);
  }
  ~Guarded() { munmap(map_, size_); }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  T* data() { return data_; }
  size_t size() const { return count_; }
  std::vector<T> values() const {
    return std::vector<T>(data_, data_ + count_);
  }

 private:
  size_t count_;
  size_t page_;
  size_t size_;
  char* map_;
  T* data_;
};

}  // namespace tfc

#endif  // TFCOMPRESS_TESTS_NATIVE_KERNELS_GUARDED_H_
