// What tools/bench_kernels times through ctypes, interleaved with XNNPACK in
// one process: a layer with random weights, and its runs.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <random>
#include <vector>

#include "kernels/binary_conv2d/binary_conv2d.h"
#include "kernels/conv2d/kernel.h"
#include "kernels/depthwise_conv2d/depthwise_conv2d.h"

namespace {

enum Weights {
  kUniform = 0,
  kPalette = 1,
  kTernary = 2,
  kBinary = 3,
  kSigns = 4
};

// A convolution of a square map (size 1: a fully-connected layer of `batch`
// rows) with SAME padding, some of whose weights are zero, in whole blocks of
// depths x outs.
struct Shape {
  int size, kernel, stride, ins, outs, batch;
  int zeros;  // percent
  int block_depth, block_outs;
  int depthwise;  // 1: each channel on its own, outs == ins

  int out_size() const { return (size + stride - 1) / stride; }
  int depth() const { return kernel * kernel * (depthwise ? 1 : ins); }

  tfc::ConvGeometry geometry() const {
    const int out = out_size();
    const int pad = std::max(0, ((out - 1) * stride + kernel - size) / 2);
    return {batch, size, size, out, out, stride, stride, 1, 1, pad, pad};
  }
};

// Of this thread, so that other work on the machine counts less.
double CpuMicroseconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return now.tv_sec * 1e6 + now.tv_nsec * 1e-3;
}

std::vector<float> Normal(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& v : values) v = normal(random);
  return values;
}

std::vector<float> Codebook(int weights, int num_bits) {
  if (weights == kTernary) return {-1.0f, 0.0f, 1.0f};
  if (weights == kBinary) return {-1.0f, 1.0f};
  if (weights != kPalette) return {};
  std::vector<float> codebook = Normal(size_t{1} << num_bits, 1);
  std::sort(codebook.begin(), codebook.end());
  codebook[codebook.size() / 2] = 0.0f;
  return codebook;
}

// [out][depth].
std::vector<uint8_t> Symbols(const Shape& shape, int count, int zero) {
  std::mt19937 random(3);
  const int depth = shape.depth();
  std::vector<uint8_t> symbols(size_t{1} * shape.outs * depth);
  for (uint8_t& s : symbols) s = static_cast<uint8_t>(random() % count);
  for (int o = 0; o < shape.outs; o += shape.block_outs) {
    for (int k = 0; k < depth; k += shape.block_depth) {
      if (static_cast<int>(random() % 100) >= shape.zeros) continue;
      for (int i = o; i < std::min(o + shape.block_outs, shape.outs); ++i) {
        const int end = std::min(k + shape.block_depth, depth);
        std::fill(&symbols[size_t{1} * i * depth + k],
                  &symbols[size_t{1} * i * depth] + end,
                  static_cast<uint8_t>(zero));
      }
    }
  }
  return symbols;
}

struct Layer {
  Layer(const Shape& shape, int weights, int num_bits, const char* kernel)
      : shape(shape),
        x(Normal(size_t{1} * shape.batch * shape.size * shape.size * shape.ins,
                 2)),
        bias(shape.outs, 0.1f),
        y(size_t{1} * shape.batch * shape.out_size() * shape.out_size() *
          shape.outs) {
    const std::vector<float> codebook = Codebook(weights, num_bits);
    const int symbols =
        codebook.empty() ? 1 << num_bits : static_cast<int>(codebook.size());
    const int zero = symbols / 2;  // code 0, or the entry of the codebook
    const std::vector<uint8_t> codes = Symbols(shape, symbols, zero);
    const std::vector<float> scale(shape.outs, 0.01f);
    const tfc::WeightsView view = {shape.outs,
                                   shape.kernel,
                                   shape.kernel,
                                   shape.depthwise ? 1 : shape.ins,
                                   num_bits,
                                   codes.data(),
                                   scale.data(),
                                   shape.outs,
                                   codebook.empty() ? nullptr : codebook.data(),
                                   static_cast<int>(codebook.size()),
                                   shape.size > 1};
    if (weights == kSigns) {
      conv = tfc::CreateBinaryConv2D({shape.outs, shape.kernel, shape.kernel,
                                      shape.ins, codes.data(), scale.data(),
                                      shape.outs});
    } else if (shape.depthwise) {
      conv = tfc::CreateDepthwiseConv2D(view, 1, tfc::Arithmetic::kInt8);
    } else {
      Create(view, kernel);
    }
    if (!good()) return;
    const size_t bytes = conv->WorkspaceBytes(shape.geometry());
    workspace = std::aligned_alloc(64, (bytes + 127) / 64 * 64);
  }
  ~Layer() { std::free(workspace); }
  Layer(const Layer&) = delete;
  Layer& operator=(const Layer&) = delete;

  void Create(const tfc::WeightsView& view, const char* name) {
    if (*name == '\0') {
      conv = tfc::Conv2D::Create(view, tfc::Arithmetic::kInt8);
      return;
    }
    tfc::Levels levels;
    if (!tfc::MakeLevels(view, &levels)) return;
    for (const tfc::Conv2DKernel* kernel : tfc::Conv2DKernels()) {
      if (std::strcmp(kernel->name, name) == 0 && kernel->available() &&
          tfc::Accepts(kernel->packing, levels)) {
        conv = tfc::CreatePacked(*kernel, view, levels);
      }
    }
  }

  bool good() const { return conv != nullptr; }

  void Run() {
    conv->Run(shape.geometry(), x.data(), bias.data(), tfc::Activation::kRelu,
              y.data(), workspace);
  }

  Shape shape;
  std::vector<float> x, bias, y;
  std::unique_ptr<tfc::Conv2D> conv;
  void* workspace = nullptr;
};

}  // namespace

#define TFC_BENCH_EXPORT extern "C" __attribute__((visibility("default")))

// `shape` is that of struct Shape; `name` of a conv2d kernel, or "" for the one
// that dispatch chooses; nullptr when that kernel does not take these weights.
TFC_BENCH_EXPORT void* tfc_bench_layer(const int* shape, int weights,
                                       int num_bits, const char* name) {
  auto* layer = new Layer({shape[0], shape[1], shape[2], shape[3], shape[4],
                           shape[5], shape[6], shape[7], shape[8], shape[9]},
                          weights, num_bits, name);
  if (layer->good()) return layer;
  delete layer;
  return nullptr;
}

TFC_BENCH_EXPORT const char* tfc_bench_name(const void* layer) {
  const auto& l = *static_cast<const Layer*>(layer);
  return l.conv->KernelName();
}

// Microseconds of CPU time that one of `runs` runs takes, quantization of the
// activations included.
TFC_BENCH_EXPORT double tfc_bench_run(void* layer, int runs) {
  const double start = CpuMicroseconds();
  for (int run = 0; run < runs; ++run) static_cast<Layer*>(layer)->Run();
  return (CpuMicroseconds() - start) / runs;
}

TFC_BENCH_EXPORT void tfc_bench_free(void* layer) {
  delete static_cast<Layer*>(layer);
}
