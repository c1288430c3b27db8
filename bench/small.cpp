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
    const std::map<std::string, std::function<void()>> calls = {
        {"add", [&] { x + y; }},          {"add_number", [&] { x + 1.0f; }},          {"exp", [&] { exp(x); }},
        {"less", [&] { less(x, y); }},    {"sum", [&] { sum(x); }},                   {"max", [&] { max(x); }},
        {"slice", [&] { x.slice(0, 0, 1); }}, {"transpose", [&] { matrix.transpose(0, 1); }}, {"softmax", [&] { softmax(x); }},
        {"broadcast", [&] { matrix + y; }}, {"zeros", [&] { zeros(machine, {n}); }},  {"cast", [&] { to(x, DType::kF64); }}};
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
