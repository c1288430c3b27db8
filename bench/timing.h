#pragma once

#include <algorithm>
#include <chrono>
#include <functional>

// Seconds of one call: the mean over about a tenth of a second, after two calls that do not count.
inline double seconds(const std::function<void()>& f) {
  using Clock = std::chrono::steady_clock;
  const auto since = [](Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); };
  f();
  const auto once = Clock::now();
  f();
  const int times = static_cast<int>(std::clamp(0.1 / since(once), 1.0, 1e6));
  const auto start = Clock::now();
  for (int i = 0; i < times; ++i) f();
  return since(start) / times;
}
