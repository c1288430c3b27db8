// The threads that everything runs on, and which SIMD targets a machine offers.
#include "viva/machine/machine.h"

#include <gtest/gtest.h>

#include <atomic>
#include <numeric>
#include <stdexcept>
#include <thread>
#include <vector>

#include "viva/base/error.h"

namespace viva {
namespace {

class Threads : public testing::TestWithParam<size_t> {
 protected:
  Machine machine_{Machine::Options{.threads = GetParam()}};
};

TEST_P(Threads, EveryItemRunsOnce) {
  EXPECT_EQ(machine_.threads(), GetParam());
  for (size_t n : {size_t{0}, size_t{1}, size_t{7}, size_t{1000}}) {
    std::vector<std::atomic<int>> count(n);
    machine_.parallel_for(n, [&](size_t i) { ++count.at(i); });
    for (size_t i = 0; i < n; ++i) EXPECT_EQ(count[i], 1) << i << " of " << n;
  }
}

TEST_P(Threads, ResultsOfItemsAreSeenAfterwards) {
  std::vector<uint64_t> squares(5000);
  machine_.parallel_for(squares.size(), [&](size_t i) { squares[i] = i * i; });
  uint64_t sum = 0;
  for (uint64_t s : squares) sum += s;
  EXPECT_EQ(sum, 4999ull * 5000 * 9999 / 6);
}

TEST_P(Threads, ExceptionsArriveWhenNothingRunsAnyMore) {
  for (int round = 0; round < 20; ++round) {
    std::atomic<int> running = 0, begun = 0;
    try {
      machine_.parallel_for(64, [&](size_t i) {
        ++running;
        ++begun;
        struct Leave {
          std::atomic<int>& n;
          ~Leave() { --n; }
        } leave{running};
        if (i % 16 == 5) throw Error(Code::kBadInput, "item", std::to_string(i));
      });
      FAIL() << "no exception";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), Code::kBadInput);
      EXPECT_EQ(std::stoul(e.message()) % 16, 5u);
    }
    EXPECT_EQ(running, 0);
    EXPECT_GE(begun, 1);
  }
  std::atomic<int> after = 0;
  machine_.parallel_for(10, [&](size_t) { ++after; });
  EXPECT_EQ(after, 10);
}

TEST_P(Threads, LoopsMayBeNested) {
  std::vector<std::atomic<int>> count(12 * 30);
  machine_.parallel_for(12, [&](size_t i) {
    machine_.parallel_for(30, [&](size_t j) { ++count[i * 30 + j]; });
  });
  for (const auto& c : count) EXPECT_EQ(c, 1);
}

TEST_P(Threads, NestedExceptionsArriveToo) {
  EXPECT_THROW(machine_.parallel_for(4,
                                     [&](size_t i) {
                                       machine_.parallel_for(4, [&](size_t j) {
                                         if (i == 2 && j == 3) throw std::runtime_error("inner");
                                       });
                                     }),
               std::runtime_error);
}

TEST_P(Threads, CallersFromSeveralThreadsDoNotMix) {
  std::vector<std::vector<int>> seen(3, std::vector<int>(200));
  {
    std::vector<std::jthread> callers;
    for (auto& mine : seen) {
      callers.emplace_back([&] { machine_.parallel_for(mine.size(), [&](size_t i) { ++mine[i]; }); });
    }
  }
  for (const auto& mine : seen) EXPECT_EQ(std::accumulate(mine.begin(), mine.end(), 0), 200);
}

INSTANTIATE_TEST_SUITE_P(OneToEight, Threads, testing::Range<size_t>(1, 9));

TEST(Machine, NeverMoreThreadsThanAskedFor) {
  const Machine machine({.threads = 2});
  std::atomic<int> running = 0, most = 0;
  machine.parallel_for(100, [&](size_t) {
    const int now = ++running;
    int seen = most;
    while (now > seen && !most.compare_exchange_weak(seen, now)) {
    }
    std::this_thread::yield();
    --running;
  });
  EXPECT_LE(most, 2);
}

TEST(Machine, UsesTheCoresThatItMayUse) {
  EXPECT_GE(usable_cores(), 1u);
  EXPECT_LE(usable_cores(), std::max(1u, std::thread::hardware_concurrency()));
  EXPECT_EQ(Machine().threads(), usable_cores());
}

TEST(Machine, RefusesAbsurdThreadCounts) {
  EXPECT_THROW(Machine({.threads = 100'000}), Error);
}

TEST(Machine, TargetsHaveNamesAndTheBestRuns) {
  for (size_t i = 0; i < kTargets; ++i) {
    const Target t = static_cast<Target>(i);
    EXPECT_EQ(target_from_name(name(t)), t);
    if (runs(t)) {
      EXPECT_EQ(Machine({.threads = 1, .target = t}).target(), t);
      EXPECT_LE(best_target(), t) << "targets are listed by falling power";
    } else {
      try {
        Machine machine({.threads = 1, .target = t});
        FAIL() << name(t);
      } catch (const Error& e) {
        EXPECT_EQ(e.code(), Code::kUsage);
        EXPECT_NE(e.hint().find(name(best_target())), std::string::npos);
      }
    }
  }
  EXPECT_TRUE(runs(best_target()));
  EXPECT_TRUE(runs(Target::kScalar));
  EXPECT_EQ(target_from_name("mmx"), std::nullopt);
}

TEST(Machine, SeesItsOwnMemoryGrow) {
  const uint64_t before = own_memory();
  EXPECT_GT(before, 0u);
  std::vector<char> block(64 << 20);
  volatile char* touched = block.data();  // or a compiler may do without the block
  for (size_t i = 0; i < block.size(); i += 4096) touched[i] = 1;
  EXPECT_GE(own_memory(), before + (60 << 20));
  EXPECT_GE(peak_own_memory(), before + (60 << 20));
}

}  // namespace
}  // namespace viva
