// What convolutions and fully-connected layers share: x, payload and bias in,
// one tensor out, computed by a kernel behind the interface of Conv2D.
#ifndef TFCOMPRESS_NATIVE_DELEGATE_CONV_OP_H_
#define TFCOMPRESS_NATIVE_DELEGATE_CONV_OP_H_

#include <memory>
#include <string>
#include <vector>

#include "delegate/op.h"

namespace tfc {

class ConvOp : public Op {
 public:
  void Prepare(abi::Context* context) override;
  void Invoke(abi::Context* context) override;
  const char* ProfileName() const override { return kernel_->KernelName(); }

 protected:
  // Options that follow version and activation are left to the op itself.
  ConvOp(abi::Context* context, const OpNode& node, size_t num_options,
         ConvKind kind, std::shared_ptr<Workspace> workspace);

  // Decodes the payload to symbols, which live only until the kernel has packed
  // them in its own layout. `dims` is out, kernel height, kernel width, in; for
  // kDepthwise 1, height, width, out. `multiplier` is the latter's.
  void MakeKernel(const StoredWeight& weight, const std::vector<uint64_t>& dims,
                  const Settings& settings, int multiplier = 1);

  virtual ConvGeometry Plan(const std::vector<int>& x,
                            std::vector<int>* out) const = 0;

  void RequireShape(bool good, const std::string& rule,
                    const std::vector<int>& x) const;

  std::string label_;
  const ConvKind kind_;
  int out_channels_ = 0;

 private:
  bool HasBiasInput() const { return bias_ != abi::kOptionalTensor; }
  const float* Bias(abi::Context* context) const;

  std::unique_ptr<Conv2D> kernel_;
  Activation activation_;
  std::vector<float> inner_bias_;  // of the payload
  std::shared_ptr<Workspace> workspace_;
  int x_, y_, bias_ = abi::kOptionalTensor;
  ConvGeometry geometry_{};
  size_t in_bytes_ = 0, out_bytes_ = 0;
};

}  // namespace tfc

#endif  // TFCOMPRESS_NATIVE_DELEGATE_CONV_OP_H_
