#include "delegate/stored_weight.h"

namespace tfc {

abi::TensorType StoredWeight::TensorType() const {
  switch (payload_.type) {
    case ElementType::kInt8:
      return abi::kInt8;
    case ElementType::kInt4:
      return abi::kInt4;
    case ElementType::kFloat16:
      return abi::kFloat16;
    case ElementType::kFloat32:
      break;
  }
  return abi::kFloat32;
}

}  // namespace tfc
