#include "delegate/stored_weight.h"

#include "format/error.h"

namespace tfc {
namespace {

void RequireSound(tfc_status status) {
  if (status == TFC_OK) return;
  throw Error("a payload must be what a writer of version 1 makes",
              tfc_status_text(status),
              status == TFC_NEWER_VERSION
                  ? "Use the tfcompress release that wrote the file"
                  : "The file is truncated or damaged; write it again");
}

}  // namespace

StoredWeight::StoredWeight(const uint8_t* bytes, uint64_t size) {
  RequireSound(tfc_open(bytes, size, &info_));
  dims_.assign(info_.dims, info_.dims + info_.rank);
  ReadScales();
  for (uint64_t i = 0; i < info_.bias_size; ++i) {
    bias_.push_back(tfc_bias(&info_, i));
  }
  if (info_.encoding == TFC_FLOAT) return;
  for (uint32_t s = 0; s < info_.symbols; ++s) {
    levels_.push_back(tfc_level(&info_, s));
  }
}

// Which axis it is follows from the weights between two scales.
void StoredWeight::ReadScales() {
  for (uint64_t i = 0; i < info_.scale_count; ++i) {
    scales_.push_back(tfc_scale(&info_, i));
  }
  if (scales_.empty() || info_.scale_stride == info_.count) return;
  if (info_.scale_count * info_.scale_stride == info_.count) {
    channel_axis_ = 0;
    if (info_.scale_stride != info_.row) block_ = info_.scale_stride;
    return;
  }
  uint64_t inner = info_.row;
  channel_axis_ = 1;
  while ((inner /= dims_[channel_axis_]) != info_.scale_stride ||
         dims_[channel_axis_] != info_.scale_count) {
    ++channel_axis_;
  }
}

abi::TensorType StoredWeight::TensorType() const {
  switch (info_.type) {
    case TFC_INT8:
      return abi::kInt8;
    case TFC_INT4:
      return abi::kInt4;
    case TFC_FLOAT16:
      return abi::kFloat16;
    case TFC_FLOAT32:
      break;
  }
  return abi::kFloat32;
}

std::vector<uint8_t> StoredWeight::Symbols() const {
  std::vector<uint8_t> symbols(info_.count), workspace(info_.workspace_size);
  RequireSound(tfc_decode_symbols(&info_, symbols.data(), symbols.size(),
                                  workspace.data(), workspace.size()));
  return symbols;
}

void StoredWeight::Decode(uint8_t* tensor) const {
  std::vector<uint8_t> workspace(info_.workspace_size);
  RequireSound(tfc_decode_into(&info_, tensor, info_.output_size,
                               workspace.data(), workspace.size()));
}

std::string StoredWeight::ShapeText() const {
  std::string text = "[";
  for (size_t i = 0; i < dims_.size(); ++i) {
    text += (i == 0 ? "" : ", ") + std::to_string(dims_[i]);
  }
  return text + "]";
}

}  // namespace tfc
