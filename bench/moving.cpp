// What bench/moving.py times: reads names of cases, prints the seconds of one call.
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <map>
#include <string>

#include "bench/timing.h"
#include "viva/machine/stream.h"
#include "viva/ops/ops.h"

using namespace viva;

int main(int argc, char** argv) {
  const Machine m({.threads = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 0});
  Generator g{1};
  const int64_t n = 100000000, side = 4000;
  const Tensor x = uniform(m, g, {side, side}), line = reshape(x, {-1}), mask = greater(x, 0.5);
  const Tensor across = integers(m, g, {side, side}, 0, side), anywhere = integers(m, g, {side * side}, 0, side * side);
  const Tensor little = uniform(m, g, {100}), few = integers(m, g, {100}, 0, 100);
  const Tensor large(m, {n}, DType::kF32);
  const auto write = [&](size_t i) {
    const size_t part = 400000000 / 64 / 512 * 512;
    stream_code(m.target()).write(large.raw() + i * part, part, 1);
  };
  const std::map<std::string, std::function<void()>> cases = {
      {"write", [&] { m.parallel_for(64, write); }},
      {"uniform_f32", [&] { uniform(m, g, {n}); }},
      {"uniform_f64", [&] { uniform(m, g, {n}, 0, 1, DType::kF64); }},
      {"uniform_bf16", [&] { uniform(m, g, {n}, 0, 1, DType::kBF16); }},
      {"normal_f32", [&] { normal(m, g, {n}); }},
      {"integers", [&] { integers(m, g, {n}, 0, 1000); }},
      {"bernoulli", [&] { bernoulli(m, g, {n}); }},
      {"permutation", [&] { permutation(m, g, 10000000); }},
      {"orthogonal", [&] { orthogonal(m, g, {1024, 1024}); }},
      {"gather_0", [&] { gather(x, across, 0); }},
      {"gather_1", [&] { gather(x, across, 1); }},
      {"gather_line", [&] { gather(line, anywhere, 0); }},
      {"gather_100", [&] { gather(little, few, 0); }},
      {"scatter_0", [&] { scatter(x, across, x, 0); }},
      {"scatter_1", [&] { scatter(x, across, x, 1); }},
      {"scatter_add_0", [&] { scatter_add(x, across, x, 0); }},
      {"scatter_add_1", [&] { scatter_add(x, across, x, 1); }},
      {"scatter_add_line", [&] { scatter_add(line, anywhere, line, 0); }},
      {"masked_select", [&] { masked_select(x, mask); }},
      {"pad_reflect", [&] { pad(x, {{1, 1}, {1, 1}}, PadMode::kReflect); }},
      {"pad_constant", [&] { pad(x, {{1, 1}, {1, 1}}); }},
  };
  for (std::string name; std::cin >> name;) {
    std::printf("%.9e\n", seconds(cases.at(name)));
    std::fflush(stdout);
  }
}
