// What bench/matmul.py times: reads lines "dtype batch m k n transposed", prints the seconds of one product
// (the best batch of calls is not chosen: one figure a line, the script takes the median). "peak f32" times a
// product that stays in the cache.
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
  return to(reshape(remainder(arange(machine, 0, static_cast<double>(n), 1, DType::kF32), 17.0f) - 8, shape),
            type);
}

}  // namespace

int main(int argc, char** argv) {
  const Machine machine({.threads = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 0});
  std::string dtype;
  int64_t batch, m, k, n;
  int turned;
  while (std::cin >> dtype >> batch >> m >> k >> n >> turned) {
    const DType type = dtype == "bf16"  ? DType::kBF16
                       : dtype == "f16" ? DType::kF16
                       : dtype == "f64" ? DType::kF64
                       : dtype == "i32" ? DType::kI32
                                        : DType::kF32;
    const Tensor a = values(machine, batch == 0 ? Shape{m, k} : Shape{batch, m, k}, type);
    Tensor b = values(
        machine,
        batch == 0 ? Shape{turned ? n : k, turned ? k : n} : Shape{batch, turned ? n : k, turned ? k : n},
        type);
    if (turned) b = b.transpose(-1, -2);
    std::printf("%.9e\n", seconds([&] { matmul(a, b); }));
    std::fflush(stdout);
  }
}
