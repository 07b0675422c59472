#include "delegate/graph.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "format/error.h"
#include "format/payload.h"

namespace tfc {
namespace {

constexpr char kOpPrefix[] = "Tfc";

std::vector<int> ToVector(const abi::IntArray* array) {
  if (array == nullptr || array->size <= 0) return {};
  return std::vector<int>(array->data, array->data + array->size);
}

void RequireOk(abi::Status status, const char* function) {
  if (status != abi::kOk) {
    throw Error(std::string("the runtime's ") + function + " must succeed",
                "status=" + std::to_string(status));
  }
}

}  // namespace

std::vector<OpNode> FindOpNodes(abi::Context* context) {
  abi::IntArray* borrowed_plan = nullptr;
  RequireOk(context->GetExecutionPlan(context, &borrowed_plan),
            "GetExecutionPlan");
  std::vector<OpNode> found;
  for (const int index : ToVector(borrowed_plan)) {
    abi::Node* node = nullptr;
    abi::Registration* registration = nullptr;
    RequireOk(
        context->GetNodeAndRegistration(context, index, &node, &registration),
        "GetNodeAndRegistration");
    if (registration->builtin_code != abi::kBuiltinCustom ||
        registration->custom_name == nullptr ||
        std::strncmp(registration->custom_name, kOpPrefix,
                     sizeof(kOpPrefix) - 1) != 0) {
      continue;
    }
    OpNode op{index,
              registration->custom_name,
              ToVector(node->inputs),
              ToVector(node->outputs),
              {}};
    if (node->custom_initial_data != nullptr &&
        node->custom_initial_data_size > 0) {
      const auto* bytes =
          static_cast<const uint8_t*>(node->custom_initial_data);
      op.options.assign(bytes, bytes + node->custom_initial_data_size);
    }
    found.push_back(std::move(op));
  }
  return found;
}

abi::Tensor& TensorAt(abi::Context* context, int index) {
  if (index < 0 || static_cast<size_t>(index) >= context->tensors_size) {
    throw Error("a tensor index must be one of the graph's",
                "index=" + std::to_string(index) +
                    ", tensors=" + std::to_string(context->tensors_size));
  }
  return context->tensors[index];
}

std::vector<int> DimsOf(const abi::Tensor& tensor) {
  return ToVector(tensor.dims);
}

int64_t ElementCount(const std::vector<int>& dims) {
  int64_t count = 1;
  for (const int dim : dims) {
    if (dim < 0 || __builtin_mul_overflow(count, int64_t{dim}, &count)) {
      throw Error("a shape must have a product below 2^63",
                  "shape=" + DimsText(dims));
    }
  }
  return count;
}

std::string DimsText(const std::vector<int>& dims) {
  std::string text = "[";
  for (size_t i = 0; i < dims.size(); ++i) {
    text += (i == 0 ? "" : ", ") + std::to_string(dims[i]);
  }
  return text + "]";
}

size_t ByteCount(const std::vector<int>& dims, size_t element_size) {
  int64_t bytes;
  if (__builtin_mul_overflow(ElementCount(dims), element_size, &bytes)) {
    throw Error("a tensor must be smaller than 2^63 bytes",
                "shape=" + DimsText(dims));
  }
  return static_cast<size_t>(bytes);
}

StoredWeight WeightOf(abi::Context* context, int index,
                      const std::string& label) {
  const abi::Tensor& tensor = TensorAt(context, index);
  const bool constant_bytes = tensor.type == abi::kUInt8 &&
                              tensor.allocation_type == abi::kMmapRo &&
                              tensor.data != nullptr && tensor.dims != nullptr;
  const std::vector<int> dims =
      constant_bytes ? DimsOf(tensor) : std::vector<int>{};
  const bool whole =
      dims.size() == 1 && static_cast<size_t>(dims[0]) == tensor.bytes &&
      LooksLikePayload(static_cast<const uint8_t*>(tensor.data), tensor.bytes);
  if (!whole) {
    throw Error(
        label +
            ": the payload must be a constant uint8 tensor that holds TFCW, "
            "its length and that many bytes",
        "type=" + std::to_string(tensor.type) +
            ", bytes=" + std::to_string(tensor.bytes),
        "Either the file is damaged, or this runtime's structures are not "
        "those that tfcompress knows (TFLite and LiteRT for 64-bit machines)");
  }
  try {
    return StoredWeight(static_cast<const uint8_t*>(tensor.data), tensor.bytes);
  } catch (const Error& error) {
    throw error.At(label);
  }
}

void ResizeTo(abi::Context* context, int index, const std::vector<int>& dims) {
  // The runtime takes the array over and gives it to free().
  auto* array = static_cast<abi::IntArray*>(
      std::malloc(sizeof(int) * (1 + dims.size()) + sizeof(int)));
  if (array == nullptr) throw std::bad_alloc();
  array->size = static_cast<int>(dims.size());
  std::copy(dims.begin(), dims.end(), array->data);
  RequireOk(context->ResizeTensor(context, &TensorAt(context, index), array),
            "ResizeTensor");
}

}  // namespace tfc
