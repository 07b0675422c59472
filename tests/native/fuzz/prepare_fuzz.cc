#include <algorithm>
#include <climits>
#include <cstdlib>
#include <iterator>
#include <memory>
#include <string>

#include "delegate/delegate.h"
#include "delegate/stored_weight.h"
#include "fake_runtime.h"
#include "format/error.h"
#include "fuzz/targets.h"

namespace tfc::testing {
namespace {

constexpr const char* kOps[] = {"TfcFullyConnected", "TfcConv2D", "TfcDecode",
                                "TfcEmbedding", "TfcLstm"};
constexpr size_t kOptions[] = {3, 7, 1, 1, 2};
constexpr int kDims[] = {0,    1,     2,       3,       5,       8,  17,
                         1000, 65536, 1 << 24, 1 << 30, INT_MAX, -1, 4};
constexpr int kTypes[] = {abi::kFloat32, abi::kInt32,   abi::kUInt8,
                          abi::kInt8,    abi::kFloat16, abi::kInt4};
constexpr uint64_t kMostCodes = 1 << 16;
constexpr uint64_t kMostWork = 1 << 24;

// Takes choices off the front; past the end all are 0.
class Choices {
 public:
  Choices(const uint8_t* bytes, size_t size) : next_(bytes), left_(size) {}

  uint8_t Byte() {
    if (left_ == 0) return 0;
    --left_;
    return *next_++;
  }
  size_t Below(size_t limit) { return Byte() % limit; }

  // Mostly small; sometimes the shape that is expected.
  std::vector<int> Dims(const std::vector<int>& expected) {
    const uint8_t how = Byte();
    std::vector<int> dims = expected;
    if (how < 64) dims.assign(how % 6, 1);
    for (size_t i = 0; i < dims.size(); ++i) {
      const uint8_t change = Byte();
      if (change < 96 || how < 64) dims[i] = kDims[change % std::size(kDims)];
    }
    return dims;
  }

  int Type(int expected) {
    const uint8_t change = Byte();
    return change < 32 ? kTypes[change % std::size(kTypes)] : expected;
  }

  const uint8_t* rest() const { return next_; }
  size_t left() const { return left_; }

 private:
  const uint8_t* next_;
  size_t left_;
};

struct Graph {
  FakeRuntime runtime;
  int x = 0, y = 0;
  std::vector<int> inputs;
};

struct Spec {
  size_t op;
  uint8_t form, bias, wiring, arithmetic;
  std::vector<uint8_t> options, choices;
};

Spec TakeSpec(Choices& choices) {
  Spec spec;
  spec.op = choices.Below(std::size(kOps));
  spec.form = choices.Byte();
  spec.bias = choices.Byte();
  spec.wiring = choices.Byte();
  spec.arithmetic = choices.Byte();
  spec.options.assign(kOptions[spec.op], 1);
  for (uint8_t& option : spec.options) {
    const uint8_t change = choices.Byte();
    option = change < 128 ? 1 : change - 128;
  }
  if (spec.form % 16 == 1) spec.options.resize(spec.form / 16);
  for (int i = 0; i < 24; ++i) spec.choices.push_back(choices.Byte());
  return spec;
}

// What the op expects of a payload of these dims; dims past int are cut.
std::vector<int> ExpectedX(size_t op, const std::vector<int>& dims) {
  if (op == 0) return {2, dims.back()};
  if (op == 1) return {1, 5, 4, dims.back()};
  return {2, 3};
}

void AddOp(const Spec& spec, const std::vector<uint8_t>& payload,
           const StoredWeight* parsed, Graph& graph) {
  Choices choices(spec.choices.data(), spec.choices.size());
  std::vector<int> dims = {1};
  if (parsed != nullptr) {
    dims.assign(parsed->dims().begin(), parsed->dims().end());
  }
  FakeRuntime& runtime = graph.runtime;
  const bool decode = spec.op == 2;
  const int in = spec.op == 3 ? abi::kInt32 : abi::kFloat32;
  graph.x = runtime.AddTyped(choices.Type(in),
                             choices.Dims(ExpectedX(spec.op, dims)));
  const int out =
      decode && parsed != nullptr ? parsed->TensorType() : abi::kFloat32;
  graph.y = runtime.AddTyped(choices.Type(out), choices.Dims(dims));
  const int p = runtime.AddPayload(payload, spec.form % 4 * 4);
  graph.inputs = decode ? std::vector<int>{p} : std::vector<int>{graph.x, p};
  if (spec.bias % 4 == 1) graph.inputs.push_back(abi::kOptionalTensor);
  if (spec.bias % 4 == 2) {
    const size_t count = std::min<size_t>(size_t(dims[0]), 1 << 16);
    graph.inputs.push_back(
        runtime.AddConstant(std::vector<float>(count + spec.bias / 128)));
  }
  std::vector<int> outputs = {graph.y};
  switch (spec.wiring) {
    case 1:
      graph.inputs[0] = 999;
      break;
    case 2:
      graph.inputs.pop_back();
      break;
    case 3:
      outputs = {graph.inputs[0]};
      break;
    case 4:
      outputs = {p};
      break;
    case 5:
      outputs.clear();
      break;
    case 6:
      outputs = {-1};
      break;
    case 7:
      graph.inputs[0] = abi::kOptionalTensor;
      break;
    default:
      break;
  }
  runtime.AddNode(kOps[spec.op], graph.inputs, outputs, spec.options);
  if (spec.wiring == 8) {
    runtime.AddNode(kOps[spec.op], graph.inputs, outputs, spec.options);
  }
}

bool RunOnce(Graph& graph, uint64_t codes, uint8_t fill) {
  FakeRuntime& runtime = graph.runtime;
  if (runtime.Allocate() != abi::kOk ||
      runtime.tensor(graph.y).bytes * codes > kMostWork) {
    return false;
  }
  const abi::Tensor& x = runtime.tensor(graph.x);
  auto* bytes = static_cast<uint8_t*>(x.data);
  for (size_t i = 0; i < x.bytes; ++i) {
    bytes[i] =
        x.type == abi::kInt32 ? (i % 4 == 0 ? fill % 8 : 0) : uint8_t(fill * i);
  }
  return runtime.Invoke() == abi::kOk;
}

}  // namespace

bool FuzzPrepare(const uint8_t* bytes, size_t size) {
  Choices choices(bytes, size);
  const Spec spec = TakeSpec(choices);
  const std::vector<uint8_t> payload =
      spec.form >= 240 ? std::vector<uint8_t>(choices.rest(),
                                              choices.rest() + choices.left())
                       : Repair(choices.rest(), choices.left());
  std::unique_ptr<StoredWeight> good;
  try {
    good = std::make_unique<StoredWeight>(payload.data(), payload.size());
    // A payload may honestly claim 2^39 zeros.
    if (good->count() > kMostCodes) return false;
  } catch (const Error&) {
  }
  const uint64_t codes = good != nullptr ? good->count() : 0;
  setenv("TFC_ACT", spec.arithmetic % 2 == 0 ? "int8" : "float", 1);
  setenv("TFC_KERNEL", spec.arithmetic % 4 < 2 ? "best" : "ref", 1);
  bool ran = false;
  abi::Delegate* delegate = NewDelegate();
  {
    Graph graph;
    AddOp(spec, payload, good.get(), graph);
    const bool claimed = graph.runtime.Apply(delegate) == abi::kOk;
    if (graph.runtime.errors().empty() != claimed) __builtin_trap();
    if (claimed) {
      ran = RunOnce(graph, codes, spec.arithmetic);
      Choices again(spec.choices.data() + 12, spec.choices.size() - 12);
      graph.runtime.Resize(graph.x, again.Dims(graph.runtime.dims(graph.x)));
      RunOnce(graph, codes, spec.bias);
      graph.runtime.Undo();
      if (graph.runtime.alive() != 0) __builtin_trap();
      if (graph.runtime.Apply(delegate) == abi::kOk) RunOnce(graph, codes, 3);
    }
  }
  DeleteDelegate(delegate);
  unsetenv("TFC_ACT");
  unsetenv("TFC_KERNEL");
  return ran;
}

}  // namespace tfc::testing

#ifdef TFC_LIBFUZZER
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  tfc::testing::FuzzPrepare(bytes, size);
  return 0;
}
#endif
