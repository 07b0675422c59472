// A stand-in for the runtime, as strict as the real one can be: tensors move at
// each resize, every buffer has exactly the size that was asked for, and
// claimed nodes are counted.
#ifndef TFCOMPRESS_TESTS_NATIVE_FAKE_RUNTIME_H_
#define TFCOMPRESS_TESTS_NATIVE_FAKE_RUNTIME_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "abi/tflite_abi.h"

namespace tfc::testing {

class FakeRuntime {
 public:
  FakeRuntime();
  ~FakeRuntime();
  FakeRuntime(const FakeRuntime&) = delete;

  // Constants are copied to `offset` bytes behind an aligned address.
  int AddFloat(const std::vector<int>& dims);
  int AddTyped(int type, const std::vector<int>& dims);
  int AddConstant(const std::vector<float>& values);
  int AddPayload(const std::vector<uint8_t>& bytes, size_t offset = 4);
  int AddNode(const std::string& op, const std::vector<int>& inputs,
              const std::vector<int>& outputs,
              const std::vector<uint8_t>& options);

  abi::Status Apply(abi::Delegate* delegate);  // ModifyGraphWithDelegate
  void Undo();                                 // frees every claimed node
  // Prepares, then gives memory; refuses tensors of 16 MB and more.
  abi::Status Allocate();
  abi::Status Invoke();

  void Resize(int tensor, const std::vector<int>& dims);
  void Set(int tensor, const std::vector<float>& values);
  void Set(int tensor, const std::vector<int32_t>& values);
  std::vector<float> Get(int tensor) const;

  abi::Tensor& tensor(int index) { return context_.tensors[index]; }
  std::vector<int> dims(int index) const;
  const std::vector<int>& plan() const { return plan_; }
  const abi::Registration& registration(int node) {
    return nodes_[node].registration;
  }
  abi::Node* node(int index) { return &nodes_[index].node; }
  abi::Context* context() { return &context_; }
  const std::string& errors() const { return errors_; }
  int alive() const { return alive_; }  // claimed nodes with user data

 private:
  struct NodeData {
    abi::Node node{};
    abi::Registration registration{};
    std::string op;
    std::vector<uint8_t> options;
  };
  struct FreeDelete {
    void operator()(void* p) const;
  };
  using Array = std::unique_ptr<abi::IntArray, FreeDelete>;

  static FakeRuntime* Of(abi::Context* context);
  static void Report(abi::Context* context, const char* format, ...);
  int AddTensor(int type, const std::vector<int>& dims, int allocation_type);
  void MoveTensors();
  void SetData(int tensor, const void* data, size_t bytes, size_t offset);
  abi::IntArray* Keep(const std::vector<int>& values);
  abi::Status Claim(const abi::Registration& registration, int node,
                    abi::Delegate* delegate);

  abi::Context context_{};
  std::unique_ptr<abi::Tensor[]> tensors_;
  std::deque<NodeData> nodes_;
  std::vector<int> plan_;
  std::vector<Array> kept_;
  std::vector<std::unique_ptr<uint8_t[]>> constants_;
  std::vector<std::unique_ptr<uint8_t[]>> arena_;
  std::string errors_;
  int alive_ = 0;
};

}  // namespace tfc::testing

#endif  // TFCOMPRESS_TESTS_NATIVE_FAKE_RUNTIME_H_
