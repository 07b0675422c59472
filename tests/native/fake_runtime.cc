#include "fake_runtime.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace tfc::testing {
namespace {

abi::IntArray* MallocArray(const std::vector<int>& values) {
  auto* array =
      static_cast<abi::IntArray*>(std::malloc(4 * (2 + values.size())));
  array->size = int(values.size());
  std::copy(values.begin(), values.end(), array->data);
  return array;
}

constexpr size_t kLargestTensor = 16 << 20;

size_t BitsOf(int type) {
  switch (type) {
    case abi::kFloat32:
    case abi::kInt32:
      return 32;
    case abi::kFloat16:
      return 16;
    case abi::kInt4:
      return 4;
    default:
      return 8;
  }
}

// False, and 0 bytes, for shapes that the runtime refuses.
bool CountBytes(int type, const abi::IntArray& dims, size_t* bytes) {
  size_t count = 1;
  *bytes = 0;
  for (int i = 0; i < dims.size; ++i) {
    if (dims.data[i] < 0 ||
        __builtin_mul_overflow(count, size_t(dims.data[i]), &count)) {
      return false;
    }
  }
  if (__builtin_mul_overflow(count, BitsOf(type), &count)) return false;
  *bytes = (count + 7) / 8;
  return true;
}

}  // namespace

void FakeRuntime::FreeDelete::operator()(void* p) const { std::free(p); }

FakeRuntime* FakeRuntime::Of(abi::Context* context) {
  return static_cast<FakeRuntime*>(context->impl);
}

void FakeRuntime::Report(abi::Context* context, const char* format, ...) {
  char text[2000];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof(text), format, arguments);
  va_end(arguments);
  Of(context)->errors_ += text;
}

FakeRuntime::FakeRuntime() {
  context_.impl = this;
  context_.GetExecutionPlan = [](abi::Context* context, abi::IntArray** plan) {
    *plan = Of(context)->Keep(Of(context)->plan_);
    return abi::kOk;
  };
  context_.GetNodeAndRegistration = [](abi::Context* context, int index,
                                       abi::Node** node,
                                       abi::Registration** registration) {
    *node = &Of(context)->nodes_[index].node;
    *registration = &Of(context)->nodes_[index].registration;
    return abi::kOk;
  };
  context_.ResizeTensor = [](abi::Context* context, abi::Tensor* tensor,
                             abi::IntArray* dims) {
    size_t bytes = 0;
    if (tensor->allocation_type == abi::kMmapRo ||
        !CountBytes(tensor->type, *dims, &bytes)) {
      std::free(dims);
      return abi::kError;
    }
    std::free(tensor->dims);
    tensor->dims = dims;
    tensor->bytes = bytes;
    tensor->data = nullptr;
    Of(context)->MoveTensors();
    return abi::kOk;
  };
  context_.ReportError = Report;
  context_.ReplaceNodeSubsetsWithDelegateKernels =
      [](abi::Context* context, abi::Registration registration,
         const abi::IntArray* nodes, abi::Delegate* delegate) {
        for (int i = 0; i < nodes->size; ++i) {
          Of(context)->Claim(registration, nodes->data[i], delegate);
        }
        return abi::kOk;
      };
}

FakeRuntime::~FakeRuntime() {
  Undo();
  for (size_t i = 0; i < context_.tensors_size; ++i) {
    std::free(context_.tensors[i].dims);
  }
}

int FakeRuntime::AddTensor(int type, const std::vector<int>& dims,
                           int allocation_type) {
  ++context_.tensors_size;
  MoveTensors();
  const int index = int(context_.tensors_size) - 1;
  tensor(index).type = type;
  tensor(index).dims = MallocArray(dims);
  tensor(index).allocation_type = allocation_type;
  CountBytes(type, *tensor(index).dims, &tensor(index).bytes);
  return index;
}

void FakeRuntime::MoveTensors() {
  auto moved = std::make_unique<abi::Tensor[]>(context_.tensors_size + 1);
  if (tensors_ != nullptr) {
    // One more was allocated than counted: the new tensor starts as zeros.
    std::memcpy(moved.get(), tensors_.get(),
                context_.tensors_size * sizeof(abi::Tensor));
  }
  tensors_ = std::move(moved);
  context_.tensors = tensors_.get();
}

void FakeRuntime::SetData(int index, const void* data, size_t bytes,
                          size_t offset) {
  constants_.emplace_back(new uint8_t[bytes + offset]);
  if (bytes > 0) {
    std::memcpy(constants_.back().get() + offset, data, bytes);
  }
  tensor(index).data = constants_.back().get() + offset;
}

int FakeRuntime::AddFloat(const std::vector<int>& dims) {
  return AddTensor(abi::kFloat32, dims, abi::kArenaRw);
}

int FakeRuntime::AddTyped(int type, const std::vector<int>& dims) {
  return AddTensor(type, dims, abi::kArenaRw);
}

int FakeRuntime::AddConstant(const std::vector<float>& values) {
  const int index =
      AddTensor(abi::kFloat32, {int(values.size())}, abi::kMmapRo);
  SetData(index, values.data(), 4 * values.size(), 0);
  return index;
}

int FakeRuntime::AddPayload(const std::vector<uint8_t>& bytes, size_t offset) {
  const int index = AddTensor(abi::kUInt8, {int(bytes.size())}, abi::kMmapRo);
  SetData(index, bytes.data(), bytes.size(), offset);
  return index;
}

int FakeRuntime::AddNode(const std::string& op, const std::vector<int>& inputs,
                         const std::vector<int>& outputs,
                         const std::vector<uint8_t>& options) {
  NodeData& data = nodes_.emplace_back();
  data.op = op;
  data.options = options;
  data.node.inputs = Keep(inputs);
  data.node.outputs = Keep(outputs);
  data.node.custom_initial_data = data.options.data();
  data.node.custom_initial_data_size = int(options.size());
  data.registration.builtin_code = abi::kBuiltinCustom;
  data.registration.custom_name = data.op.c_str();
  plan_.push_back(int(nodes_.size()) - 1);
  return plan_.back();
}

abi::IntArray* FakeRuntime::Keep(const std::vector<int>& values) {
  kept_.emplace_back(MallocArray(values));
  return kept_.back().get();
}

abi::Status FakeRuntime::Apply(abi::Delegate* delegate) {
  return delegate->Prepare(&context_, delegate);
}

abi::Status FakeRuntime::Claim(const abi::Registration& registration,
                               int claimed, abi::Delegate* delegate) {
  NodeData data;
  data.node.inputs = nodes_[claimed].node.inputs;
  data.node.outputs = nodes_[claimed].node.outputs;
  data.node.delegate = delegate;
  data.registration = registration;
  nodes_.push_back(data);
  NodeData& added = nodes_.back();
  added.node.user_data = registration.init(&context_, nullptr, 0);
  alive_ += added.node.user_data != nullptr;
  for (int& index : plan_) {
    if (index == claimed) index = int(nodes_.size()) - 1;
  }
  return abi::kOk;
}

void FakeRuntime::Undo() {
  plan_.clear();
  for (size_t i = 0; i < nodes_.size(); ++i) {
    NodeData& data = nodes_[i];
    if (data.node.delegate == nullptr) {
      plan_.push_back(int(i));
    } else if (data.node.user_data != nullptr) {
      data.registration.free(&context_, data.node.user_data);
      --alive_;
    }
  }
  while (!nodes_.empty() && nodes_.back().node.delegate != nullptr) {
    nodes_.pop_back();
  }
}

abi::Status FakeRuntime::Allocate() {
  arena_.clear();
  for (const int index : plan_) {
    NodeData& data = nodes_[index];
    if (data.registration.prepare == nullptr) continue;
    if (data.registration.prepare(&context_, &data.node) != abi::kOk) {
      return abi::kError;
    }
  }
  for (size_t i = 0; i < context_.tensors_size; ++i) {
    abi::Tensor& tensor = context_.tensors[i];
    if (tensor.allocation_type != abi::kArenaRw) continue;
    if (tensor.bytes >= kLargestTensor) return abi::kError;
    arena_.emplace_back(new uint8_t[tensor.bytes]);
    tensor.data = arena_.back().get();
    std::memset(tensor.data, 0xEE, tensor.bytes);
  }
  return abi::kOk;
}

abi::Status FakeRuntime::Invoke() {
  for (const int index : plan_) {
    NodeData& data = nodes_[index];
    if (data.registration.invoke == nullptr) continue;
    if (data.registration.invoke(&context_, &data.node) != abi::kOk) {
      return abi::kError;
    }
  }
  return abi::kOk;
}

void FakeRuntime::Resize(int index, const std::vector<int>& dims) {
  context_.ResizeTensor(&context_, &tensor(index), MallocArray(dims));
}

void FakeRuntime::Set(int index, const std::vector<float>& values) {
  if (4 * values.size() != tensor(index).bytes) std::abort();
  std::copy(values.begin(), values.end(),
            static_cast<float*>(tensor(index).data));
}

void FakeRuntime::Set(int index, const std::vector<int32_t>& values) {
  if (4 * values.size() != tensor(index).bytes) std::abort();
  std::copy(values.begin(), values.end(),
            static_cast<int32_t*>(tensor(index).data));
}

std::vector<float> FakeRuntime::Get(int index) const {
  const abi::Tensor& tensor = context_.tensors[index];
  std::vector<float> values(tensor.bytes / 4);
  const auto* floats = static_cast<const float*>(tensor.data);
  std::copy(floats, floats + values.size(), values.begin());
  return values;
}

std::vector<int> FakeRuntime::dims(int index) const {
  const abi::IntArray* dims = context_.tensors[index].dims;
  return std::vector<int>(dims->data, dims->data + dims->size);
}

}  // namespace tfc::testing
