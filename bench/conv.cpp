// What bench/conv.py times: reads lines "verb dtype batch channels height width out kh kw stride ph pw groups" (verb: conv,
// transpose, max or avg), prints the seconds of one call.
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>

#include "bench/timing.h"
#include "viva/ops/ops.h"

using namespace viva;

namespace {

Tensor values(const Machine& machine, const Shape& shape, DType type) {
  const int64_t n = count(shape);
  return to(reshape(remainder(arange(machine, 0, static_cast<double>(n), 1, DType::kF32), 17.0f) - 8, shape), type);
}

}  // namespace

int main(int argc, char** argv) {
  const Machine machine({.threads = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 0});
  std::string verb, dtype;
  int64_t n, c, h, w, o, kh, kw, stride, ph, pw, groups;
  while (std::cin >> verb >> dtype >> n >> c >> h >> w >> o >> kh >> kw >> stride >> ph >> pw >> groups) {
    const DType type = dtype == "f64" ? DType::kF64 : dtype == "bf16" ? DType::kBF16 : DType::kF32;
    const Tensor x = values(machine, {n, c, h, w}, type);
    if (verb == "max" || verb == "avg") {
      const auto pool = verb == "max" ? &max_pool2d : &avg_pool2d;
      std::printf("%.9e\n", seconds([&] { pool(x, {kh, kw}, {.stride = stride, .padding = {ph, pw}}); }));
    } else if (verb == "transpose") {
      const Tensor weights = values(machine, {c, o / groups, kh, kw}, type), bias = values(machine, {o}, type);
      std::printf("%.9e\n", seconds([&] {
                    conv_transpose2d(x, weights, bias, {.stride = stride, .padding = {ph, pw}, .groups = groups});
                  }));
    } else {
      const Tensor weights = values(machine, {o, c / groups, kh, kw}, type), bias = values(machine, {o}, type);
      std::printf("%.9e\n", seconds([&] { conv2d(x, weights, bias, {.stride = stride, .padding = {ph, pw}, .groups = groups}); }));
    }
    std::fflush(stdout);
  }
}
