// Times every conv2d kernel on the shapes that matter:
//   conv2d_bench [rounds]
// One line per shape and kernel: shape, kernel, median microseconds of one run
// (quantization of the activations included), 10^9 operations (two per
// multiply-add) per second.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <random>
#include <vector>

#include "kernels/conv2d/kernel.h"

namespace {

using tfc::Conv2D;
using tfc::Conv2DKernel;

// A square map (1: fully connected) with SAME padding.
struct Shape {
  int size, kernel, stride, ins, outs;

  int out_size() const { return (size + stride - 1) / stride; }
};

constexpr Shape kShapes[] = {
    {28, 5, 1, 1, 6},     {28, 3, 1, 1, 16},     {28, 5, 2, 1, 32},
    {32, 3, 1, 3, 32},    {28, 3, 1, 16, 16},    {28, 3, 1, 16, 32},
    {28, 3, 1, 32, 32},   {14, 3, 2, 32, 64},    {14, 3, 1, 32, 64},
    {14, 3, 1, 64, 64},   {7, 3, 1, 64, 64},     {7, 3, 2, 64, 96},
    {7, 3, 1, 64, 128},   {7, 3, 1, 128, 128},   {14, 3, 1, 256, 256},
    {28, 1, 1, 64, 64},   {14, 1, 1, 256, 256},  {7, 1, 1, 512, 512},
    {1, 1, 1, 1568, 64},  {1, 1, 1, 64, 10},     {1, 1, 1, 784, 300},
    {1, 1, 1, 1536, 208}, {1, 1, 1, 1024, 1024}, {1, 1, 1, 4096, 4096}};

enum class Kind { kUniform, kPalette };

struct Weights {
  tfc::WeightsView view;
  std::vector<uint8_t> symbols;
  std::vector<float> scale, codebook;
};

void Fill(const Shape& shape, Kind kind, int num_bits, Weights* w) {
  std::mt19937 random(1);
  w->symbols.resize(size_t{1} * shape.kernel * shape.kernel * shape.ins *
                    shape.outs);
  for (uint8_t& s : w->symbols) {
    s = static_cast<uint8_t>(random() & ((1u << num_bits) - 1));
  }
  w->scale.assign(shape.outs, 0.01f);
  std::normal_distribution<float> normal;
  if (kind == Kind::kPalette) w->codebook.resize(size_t{1} << num_bits);
  for (float& c : w->codebook) c = normal(random);
  std::sort(w->codebook.begin(), w->codebook.end());
  w->view = {shape.outs,
             shape.kernel,
             shape.kernel,
             shape.ins,
             num_bits,
             w->symbols.data(),
             w->scale.data(),
             shape.outs,
             w->codebook.empty() ? nullptr : w->codebook.data(),
             static_cast<int>(w->codebook.size())};
}

// Of this thread, so that other work on the machine counts less.
double CpuMicroseconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return now.tv_sec * 1e6 + now.tv_nsec * 1e-3;
}

double MedianMicroseconds(const Shape& shape, const Conv2D& conv, int rounds) {
  const int out = shape.out_size();
  const int pad =
      std::max(0, ((out - 1) * shape.stride + shape.kernel - shape.size) / 2);
  const tfc::ConvGeometry g = {1,   shape.size,   shape.size,   out,
                               out, shape.stride, shape.stride, 1,
                               1,   pad,          pad};
  std::vector<float> x(size_t{1} * shape.size * shape.size * shape.ins);
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  for (float& v : x) v = normal(random);
  std::vector<float> bias(shape.outs, 0.1f);
  std::vector<float> y(size_t{1} * out * out * shape.outs);
  void* workspace = std::aligned_alloc(64, conv.WorkspaceBytes(g) + 64);
  std::vector<double> times;
  int runs = 1;  // of one round: at least half a millisecond
  while (static_cast<int>(times.size()) < rounds) {
    const double start = CpuMicroseconds();
    for (int run = 0; run < runs; ++run) {
      conv.Run(g, x.data(), bias.data(), tfc::Activation::kRelu, y.data(),
               workspace);
    }
    const double spent = CpuMicroseconds() - start;
    if (spent >= 500.0) {
      times.push_back(spent / runs);
    } else {
      runs *= 2;
    }
  }
  std::free(workspace);
  std::nth_element(times.begin(), times.begin() + rounds / 2, times.end());
  return times[rounds / 2];
}

void Report(const Shape& shape, const Conv2D& conv, int rounds) {
  const double us = MedianMicroseconds(shape, conv, rounds);
  const double operations = 2.0 * shape.out_size() * shape.out_size() *
                            shape.kernel * shape.kernel * shape.ins *
                            shape.outs;
  std::printf("%d_k%d_s%d_%d_%d %s %.2f %.1f\n", shape.size, shape.kernel,
              shape.stride, shape.ins, shape.outs, conv.KernelName(), us,
              operations / us / 1e3);
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = std::max(1, argc > 1 ? std::atoi(argv[1]) : 15);
  for (const Shape& shape : kShapes) {
    for (const Conv2DKernel* kernel : tfc::Conv2DKernels()) {
      Weights w;
      const bool palette = kernel->packing == tfc::Packing::kPalette;
      const int bits = kernel->packing == tfc::Packing::kByte ? 8 : 4;
      Fill(shape, palette ? Kind::kPalette : Kind::kUniform, bits, &w);
      tfc::Levels levels;
      if (!kernel->available() || !tfc::MakeLevels(w.view, &levels)) continue;
      Report(shape, *tfc::CreatePacked(*kernel, w.view, levels), rounds);
    }
  }
  return 0;
}
