// What bench/small.py times: reads lines "operation values", prints the nanoseconds of one call.
#include <chrono>
#include <cstdio>
#include <functional>
#include <iostream>
#include <map>
#include <string>

#include "viva/ops/ops.h"

using namespace viva;

int main() {
  using Clock = std::chrono::steady_clock;
  const Machine machine;
  std::string operation;
  int64_t n = 0;
  while (std::cin >> operation >> n) {
    const Tensor x = linspace(machine, 0.5, 1.5, n), y = linspace(machine, 1, 2, n), matrix = reshape(x, {1, n});
    const int64_t cols = n > 10 ? 10 : 1, side = n > 8 ? 8 : 1;
    const Tensor square = reshape(linspace(machine, 0.5, 1.5, side * side), {side, side});
    const Tensor table = reshape(x, {-1, cols}), row = table.narrow(0, 0, 1), column = table.narrow(1, 0, 1), mask = less(x, y);
    const std::map<std::string, std::function<void()>> calls = {
        {"add", [&] { x + y; }},          {"add_number", [&] { x + 1.0f; }},          {"exp", [&] { exp(x); }},
        {"less", [&] { less(x, y); }},    {"sum", [&] { sum(x); }},                   {"max", [&] { max(x); }},
        {"slice", [&] { x.slice(0, 0, 1); }}, {"transpose", [&] { matrix.transpose(0, 1); }}, {"softmax", [&] { softmax(x); }},
        {"broadcast", [&] { matrix + y; }}, {"row", [&] { table + row; }},           {"column", [&] { table + column; }},
        {"sum_axis", [&] { sum(table, 0); }}, {"mean_axis", [&] { mean(table, 1); }}, {"layer_norm", [&] { layer_norm(x); }},
        {"where", [&] { where(mask, x, y); }}, {"matmul", [&] { matmul(square, square); }}, {"reshape", [&] { reshape(x, {cols, -1}); }},
        {"index", [&] { x.select(0, 0); }}, {"list", [&] { Tensor::of(machine, {1.0f, 2.0f, 3.0f, 4.0f}); }}, {"rms_norm", [&] { rms_norm(x); }},
        {"zeros", [&] { zeros(machine, {n}); }},  {"cast", [&] { to(x, DType::kF64); }}};
    const auto call = calls.find(operation);
    if (call == calls.end()) return 2;
    constexpr int kTimes = 20000;
    for (int i = 0; i < kTimes; ++i) call->second();
    const auto start = Clock::now();
    for (int i = 0; i < kTimes; ++i) call->second();
    std::printf("%.1f\n", std::chrono::duration<double, std::nano>(Clock::now() - start).count() / kTimes);
    std::fflush(stdout);
  }
}
