// The part of TFLite's C ABI that an external delegate needs, on 64-bit
// machines. The runtimes in the Python wheels export no symbols and ship no
// headers, so the delegate goes through the function pointers of the Context it
// is given. Only layout matters: the names are our own.
#ifndef TFCOMPRESS_NATIVE_ABI_TFLITE_ABI_H_
#define TFCOMPRESS_NATIVE_ABI_TFLITE_ABI_H_

#include <cstddef>
#include <cstdint>

namespace tfc::abi {

enum Status : int { kOk = 0, kError = 1 };
enum TensorType : int {
  kFloat32 = 1,
  kInt32 = 2,
  kUInt8 = 3,
  kInt8 = 9,
  kFloat16 = 10,
  kInt4 = 18
};
enum AllocationType : int { kMmapRo = 1, kArenaRw = 2 };

inline constexpr int32_t kBuiltinCustom = 32;
inline constexpr int64_t kAllowDynamicTensors = 1;
inline constexpr int kOptionalTensor = -1;

struct IntArray {
  int size;
  int data[1];  // `size` of them
};

struct QuantizationParams {
  float scale;
  int32_t zero_point;
};

struct Quantization {
  int type;
  void* params;
};

struct Delegate;

struct Tensor {
  int type;
  void* data;
  IntArray* dims;
  QuantizationParams params;
  int allocation_type;
  size_t bytes;
  const void* allocation;
  const char* name;
  Delegate* delegate;
  int buffer_handle;
  bool data_is_stale;
  bool is_variable;
  Quantization quantization;
  void* sparsity;
  const IntArray* dims_signature;
};

struct Node {
  IntArray* inputs;
  IntArray* outputs;
  IntArray* intermediates;
  IntArray* temporaries;
  void* user_data;
  void* builtin_data;
  const void* custom_initial_data;
  int custom_initial_data_size;
  Delegate* delegate;
  bool might_have_side_effect;
};

struct Context;

struct Registration {
  void* (*init)(Context*, const char* buffer, size_t length);
  void (*free)(Context*, void* user_data);
  Status (*prepare)(Context*, Node*);
  Status (*invoke)(Context*, Node*);
  const char* (*profiling_string)(const Context*, const Node*);
  int32_t builtin_code;
  const char* custom_name;
  int version;
  // It is passed by value: a runtime with more fields than these reads zeros.
  uint64_t newer_fields[8];
};

struct Context {
  size_t tensors_size;
  Status (*GetExecutionPlan)(Context*, IntArray** plan);
  Tensor* tensors;  // may move whenever the runtime is called
  void* impl;
  Status (*ResizeTensor)(Context*, Tensor*, IntArray* malloced_dims);
  void (*ReportError)(Context*, const char* format, ...);
  Status (*AddTensors)(Context*, int count, int* first_index);
  Status (*GetNodeAndRegistration)(Context*, int index, Node**, Registration**);
  Status (*ReplaceNodeSubsetsWithDelegateKernels)(Context*, Registration,
                                                  const IntArray* nodes,
                                                  Delegate*);
  int recommended_num_threads;
};

struct Delegate {
  void* data;
  Status (*Prepare)(Context*, Delegate*);
  void* CopyFromBufferHandle;
  void* CopyToBufferHandle;
  void* FreeBufferHandle;
  int64_t flags;
  void* opaque_builder;
};

static_assert(sizeof(void*) == 8, "the layout is that of 64-bit machines");
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
              "fields of a file are read as they lie in memory");
static_assert(offsetof(IntArray, data) == 4);
static_assert(offsetof(Tensor, data) == 8);
static_assert(offsetof(Tensor, dims) == 16);
static_assert(offsetof(Tensor, allocation_type) == 32);
static_assert(offsetof(Tensor, bytes) == 40);
static_assert(offsetof(Tensor, delegate) == 64);
static_assert(offsetof(Tensor, quantization) == 80);
static_assert(offsetof(Tensor, dims_signature) == 104);
static_assert(sizeof(Tensor) == 112);
static_assert(offsetof(Node, user_data) == 32);
static_assert(offsetof(Node, custom_initial_data) == 48);
static_assert(offsetof(Node, custom_initial_data_size) == 56);
static_assert(offsetof(Node, delegate) == 64);
static_assert(offsetof(Registration, builtin_code) == 40);
static_assert(offsetof(Registration, custom_name) == 48);
static_assert(offsetof(Registration, version) == 56);
static_assert(offsetof(Registration, newer_fields) == 64);
static_assert(offsetof(Context, tensors) == 16);
static_assert(offsetof(Context, ResizeTensor) == 32);
static_assert(offsetof(Context, GetNodeAndRegistration) == 56);
static_assert(offsetof(Context, ReplaceNodeSubsetsWithDelegateKernels) == 64);
static_assert(offsetof(Delegate, flags) == 40);
static_assert(sizeof(Delegate) == 56);

}  // namespace tfc::abi

#endif  // TFCOMPRESS_NATIVE_ABI_TFLITE_ABI_H_
