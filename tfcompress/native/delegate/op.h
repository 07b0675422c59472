// What a claimed node does. One node of the file becomes one node of the
// delegate: neighbours are never merged, so that every tensor between two of
// our ops is allocated by the runtime.
#ifndef TFCOMPRESS_NATIVE_DELEGATE_OP_H_
#define TFCOMPRESS_NATIVE_DELEGATE_OP_H_

#include <memory>
#include <string>

#include "abi/tflite_abi.h"
#include "delegate/graph.h"
#include "delegate/workspace.h"
#include "kernels/conv2d/conv2d.h"

namespace tfc {

// Read from the environment when a graph is claimed.
struct Settings {
  Arithmetic arithmetic = Arithmetic::kInt8;  // TFC_ACT
  bool use_ref = false;                       // TFC_KERNEL
};

// An Op holds all memory of its node: it is made before the node is claimed and
// dies with it. Its functions throw; the plugin's C functions catch.
class Op {
 public:
  virtual ~Op() = default;

  // The node has been claimed; the runtime's other delegates come after.
  virtual void Attach(abi::Context*) {}
  // The node is about to go: gives back what Attach did to the graph.
  virtual void Detach(abi::Context*) {}

  // Computes the output's shape from the input's. Called after each resize.
  virtual void Prepare(abi::Context*) {}
  virtual void Invoke(abi::Context*) {}

  // What a profiler shows: the kernel in use.
  virtual const char* ProfileName() const = 0;

  // "TfcConv2D (node 3)|conv2d_u4_avx2_4x16|[1, 14, 14, 64]": the op, its
  // kernel and the shape of its output; nullptr before the first Prepare.
  const std::shared_ptr<const std::string>& title() const { return title_; }
  void MakeTitle(abi::Context* context, const abi::Node& node);
  void set_label(const std::string& label) { op_label_ = label; }

 private:
  std::string op_label_;
  std::shared_ptr<const std::string> title_;
};

// What a payload's weights are to the kernel. kDepthwise: of one input channel
// each. kSigns: of x, too, only the sign counts, and it is -1 or 1.
enum class ConvKind { kDense, kDepthwise, kSigns };

// y = activation(conv(x, weights) + bias), x and y NHWC.
std::unique_ptr<Op> MakeConv2D(abi::Context* context, const OpNode& node,
                               ConvKind kind, const Settings& settings,
                               std::shared_ptr<Workspace> workspace);

// The 1x1 convolution whose batch is the number of rows.
std::unique_ptr<Op> MakeFullyConnected(abi::Context* context,
                                       const OpNode& node, ConvKind kind,
                                       const Settings& settings,
                                       std::shared_ptr<Workspace> workspace);

// y[i] = weights[indices[i]], from a table that stays packed in memory.
std::unique_ptr<Op> MakeEmbedding(abi::Context* context, const OpNode& node,
                                  const Settings& settings);

// Turns its output into a constant of the graph, decoded once.
std::unique_ptr<Op> MakeDecode(abi::Context* context, const OpNode& node);

}  // namespace tfc

#endif  // TFCOMPRESS_NATIVE_DELEGATE_OP_H_
