#include "delegate/delegate.h"

#include <cstdlib>
#include <exception>
#include <memory>
#include <new>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "delegate/graph.h"
#include "delegate/op.h"
#include "delegate/profile.h"
#include "delegate/workspace.h"
#include "format/error.h"

namespace tfc {
namespace {

constexpr char kFullyConnected[] = "TfcFullyConnected";
constexpr char kConv2D[] = "TfcConv2D";
constexpr char kDepthwise[] = "TfcDepthwiseConv2D";
constexpr char kBinaryConv2D[] = "TfcBinaryConv2D";
constexpr char kBinaryDense[] = "TfcBinaryFullyConnected";
constexpr char kDecode[] = "TfcDecode";
constexpr char kEmbedding[] = "TfcEmbedding";

// An op on its way from PrepareGraph to the init of its node. The runtime calls
// init from within ReplaceNodeSubsetsWithDelegateKernels, on the same thread,
// and gives it nothing else that is ours alone.
thread_local std::unique_ptr<Op> staged;

// Runs the body of a C function and turns an exception into the runtime's
// error.
template <typename Body>
abi::Status Guarded(abi::Context* context, Body body) {
  try {
    body();
    return abi::kOk;
  } catch (const std::bad_alloc&) {
    context->ReportError(context,
                         "tfcompress: memory must be enough for the "
                         "decoded weights and the workspace.\n");
  } catch (const std::exception& error) {
    context->ReportError(context, "tfcompress: %s\n", error.what());
  }
  return abi::kError;
}

Op* OpOf(const abi::Node* node) {
  if (node->user_data == nullptr)
    throw Error("a claimed node must have its op");
  return static_cast<Op*>(node->user_data);
}

void* InitNode(abi::Context* context, const char*, size_t) {
  if (staged != nullptr &&
      Guarded(context, [&] { staged->Attach(context); }) != abi::kOk) {
    staged.reset();
  }
  return staged.release();
}

void FreeNode(abi::Context* context, void* user_data) {
  const std::unique_ptr<Op> op(static_cast<Op*>(user_data));
  if (op != nullptr) Guarded(context, [&] { op->Detach(context); });
}

abi::Status PrepareNode(abi::Context* context, abi::Node* node) {
  return Guarded(context, [&] {
    OpOf(node)->Prepare(context);
    OpOf(node)->MakeTitle(context, *node);
  });
}

abi::Status InvokeNode(abi::Context* context, abi::Node* node) {
  return Guarded(context, [&] {
    Op* op = OpOf(node);
    const Stopwatch stopwatch(op->title());
    op->Invoke(context);
  });
}

const char* ProfilingString(const abi::Context*, const abi::Node* node) {
  return node->user_data == nullptr
             ? nullptr
             : static_cast<Op*>(node->user_data)->ProfileName();
}

// One of the values, of which the first is the default; others are errors.
size_t ReadChoice(const char* variable,
                  const std::vector<std::string>& values) {
  const char* set = std::getenv(variable);
  if (set == nullptr || *set == '\0') return 0;
  std::string rule = std::string(variable) + " must be";
  for (size_t i = 0; i < values.size(); ++i) {
    if (values[i] == set) return i;
    rule += (i == 0 ? " " : " or ") + values[i];
  }
  throw Error(rule, std::string(variable) + "=" + set);
}

Settings ReadSettings() {
  Settings settings;
  if (ReadChoice("TFC_ACT", {"int8", "float"}) == 1) {
    settings.arithmetic = Arithmetic::kFloat;
  }
  settings.use_ref = ReadChoice("TFC_KERNEL", {"best", "ref"}) == 1;
  return settings;
}

// The name that the runtime keeps by pointer, or nullptr for no op of ours.
const char* StaticName(const std::string& name) {
  for (const char* known : {kFullyConnected, kConv2D, kDepthwise, kBinaryConv2D,
                            kBinaryDense, kDecode, kEmbedding}) {
    if (name == known) return known;
  }
  return nullptr;
}

std::unique_ptr<Op> MakeOp(abi::Context* context, const OpNode& node,
                           const Settings& settings,
                           const std::shared_ptr<Workspace>& workspace) {
  const char* name = StaticName(node.name);
  if (name == kFullyConnected || name == kBinaryDense) {
    const auto kind =
        name == kBinaryDense ? ConvKind::kSigns : ConvKind::kDense;
    return MakeFullyConnected(context, node, kind, settings, workspace);
  }
  if (name == kConv2D || name == kDepthwise || name == kBinaryConv2D) {
    const auto kind = name == kConv2D      ? ConvKind::kDense
                      : name == kDepthwise ? ConvKind::kDepthwise
                                           : ConvKind::kSigns;
    return MakeConv2D(context, node, kind, settings, workspace);
  }
  if (name == kDecode) return MakeDecode(context, node);
  if (name == kEmbedding) return MakeEmbedding(context, node, settings);
  throw Error(node.Label() + " must be an op of this release of tfcompress",
              "op=" + node.name, "Use the release that wrote the file");
}

void Claim(abi::Context* context, abi::Delegate* delegate, const OpNode& node,
           std::unique_ptr<Op> op) {
  abi::Registration registration{};
  registration.init = InitNode;
  registration.free = FreeNode;
  registration.prepare = PrepareNode;
  registration.invoke = InvokeNode;
  registration.profiling_string = ProfilingString;
  registration.custom_name = StaticName(node.name);
  registration.version = 1;
  const abi::IntArray one{1, {node.index}};
  staged = std::move(op);
  const abi::Status status = context->ReplaceNodeSubsetsWithDelegateKernels(
      context, registration, &one, delegate);
  const bool taken = staged == nullptr;
  staged.reset();
  if (status != abi::kOk || !taken) {
    throw Error(node.Label() + " must be claimed by the runtime",
                "status=" + std::to_string(status));
  }
}

// Two ops that write one tensor would each put back what the other found there.
void RequireDistinctOutputs(const std::vector<OpNode>& nodes) {
  std::set<int> written;
  for (const OpNode& node : nodes) {
    for (const int output : node.outputs) {
      if (!written.insert(output).second) {
        throw Error(node.Label() + ": no other op must write its output",
                    "tensor=" + std::to_string(output));
      }
    }
  }
}

// Makes every op before it claims the first, so that a damaged payload leaves
// the graph as it was. Runs once per subgraph, and again after some resizes.
abi::Status PrepareGraph(abi::Context* context, abi::Delegate* delegate) {
  return Guarded(context, [&] {
    const Settings settings = ReadSettings();
    const auto workspace = std::make_shared<Workspace>();
    const std::vector<OpNode> nodes = FindOpNodes(context);
    RequireDistinctOutputs(nodes);
    std::vector<std::unique_ptr<Op>> ops;
    for (const OpNode& node : nodes) {
      ops.push_back(MakeOp(context, node, settings, workspace));
      ops.back()->set_label(node.Label());
    }
    for (size_t i = 0; i < nodes.size(); ++i) {
      Claim(context, delegate, nodes[i], std::move(ops[i]));
    }
  });
}

}  // namespace

void Op::MakeTitle(abi::Context* context, const abi::Node& node) {
  const int output = node.outputs != nullptr && node.outputs->size > 0
                         ? node.outputs->data[0]
                         : abi::kOptionalTensor;
  const std::string shape = output == abi::kOptionalTensor
                                ? "[]"
                                : DimsText(DimsOf(TensorAt(context, output)));
  title_ = std::make_shared<const std::string>(op_label_ + "|" + ProfileName() +
                                               "|" + shape);
}

abi::Delegate* NewDelegate() {
  auto* delegate = new abi::Delegate{};
  delegate->Prepare = PrepareGraph;
  // Without this flag the runtime would prepare our unresolved custom ops
  // itself, and fail, before they can be claimed.
  delegate->flags = abi::kAllowDynamicTensors;
  return delegate;
}

void DeleteDelegate(abi::Delegate* delegate) { delete delegate; }

}  // namespace tfc
