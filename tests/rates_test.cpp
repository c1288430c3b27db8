// What the machine says of itself, and the passes that measure it. No figure is expected: only that the
// passes touch every byte, that the rates are rates, and that nothing is left behind.
#include "viva/machine/rates.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <cmath>
#include <cstring>
#include <filesystem>

#include "viva/base/error.h"
#include "viva/machine/profile.h"
#include "viva/machine/stream.h"

namespace viva {
namespace {

TEST(Profile, SaysWhatEveryComputerHas) {
  const Profile p = profile();
  EXPECT_GE(p.packages, 1u);
  EXPECT_GE(p.hardware_threads, p.cores);
  EXPECT_GE(p.cores_usable, 1u);
  EXPECT_EQ(p.target, best_target());
  EXPECT_FALSE(p.cpu.empty());
  EXPECT_FALSE(p.kernel.empty());
  EXPECT_GT(p.ram_available, 0u);
  EXPECT_GE(p.ram_total, p.ram_available);
  for (const Cache& c : p.caches) {
    EXPECT_GE(c.level, 1u);
    EXPECT_GT(c.count, 0u);
    EXPECT_LE(c.bytes, uint64_t{4} << 30);
  }
}

TEST(Profile, LastLevelCacheIsTheHighestThatHoldsData) {
  Profile p;
  EXPECT_EQ(last_level_cache(p), 0u);
  p.caches = {{1, "data", 32768, 4},
              {2, "unified", 1 << 20, 4},
              {2, "unified", 2 << 20, 2},
              {3, "instruction", 9 << 20, 1}};
  EXPECT_EQ(last_level_cache(p), 0u);
  p.caches.pop_back();
  EXPECT_EQ(last_level_cache(p), uint64_t{2} << 20);
}

TEST(Stream, PassesTouchEveryByteOnEveryTarget) {
  constexpr size_t kBytes = 64 << 10;
  struct alignas(64) Block {
    uint8_t b[kBytes];
  };
  const auto from = std::make_unique<Block>(), to = std::make_unique<Block>();
  for (Target t : {Target::kAvx3, Target::kAvx2, Target::kSse4, Target::kScalar}) {
    if (!runs(t)) continue;
    const StreamCode& code = stream_code(t);
    for (size_t i = 0; i < kBytes; ++i) from->b[i] = static_cast<uint8_t>(i * 131 >> 3);
    code.copy(to->b, from->b, kBytes);
    EXPECT_EQ(std::memcmp(from->b, to->b, kBytes), 0) << name(t);
    const uint64_t whole = code.read(from->b, kBytes);
    EXPECT_EQ(whole, stream_code(Target::kScalar).read(from->b, kBytes)) << name(t);
    for (size_t i = 0; i < kBytes; i += 997) {  // a pass that skips a byte does not see it change
      from->b[i] ^= 0x40;
      EXPECT_NE(code.read(from->b, kBytes), whole) << name(t) << " byte " << i;
      from->b[i] ^= 0x40;
    }
    code.write(to->b, kBytes, 0xa5);
    for (size_t i = 0; i < kBytes; ++i) ASSERT_EQ(to->b[i], 0xa5) << name(t) << " byte " << i;
  }
}

TEST(Rates, MedianOfOddAndEven) {
  EXPECT_EQ(rate_of({}).runs, 0u);
  const Rate odd = rate_of({{3, 1}, {1, 2}, {2, 9}});
  EXPECT_EQ(odd.median, 2);
  EXPECT_EQ(odd.lowest, 1);
  EXPECT_EQ(odd.best, 3);
  EXPECT_EQ(odd.alone, 2);
  EXPECT_EQ(rate_of({{4, 0}, {1, 0}, {2, 0}, {3, 0}}).median, 2.5);
}

TEST(Rates, MemoryIsMeasured) {
  const Machine machine({.threads = 2});
  const MemoryRates r = measure_memory(machine, {.bytes = 8 << 20, .runs = 3, .seconds = 0});
  EXPECT_EQ(r.bytes, uint64_t{8} << 20);
  for (const Rate* x : {&r.read_one, &r.write_one, &r.copy_one, &r.read_all, &r.write_all, &r.copy_all}) {
    EXPECT_EQ(x->runs, 3u);
    EXPECT_GT(x->lowest, 0);
    EXPECT_LE(x->lowest, x->median);
    EXPECT_LE(x->median, x->best);
    EXPECT_TRUE(std::isfinite(x->best));
  }
}

TEST(Rates, DiskIsMeasuredAndLeftAsItWas) {
  std::string name = (std::filesystem::temp_directory_path() / "viva-rates-XXXXXX").string();
  ASSERT_NE(::mkdtemp(name.data()), nullptr);
  const DiskRates r = measure_disk(name, {.bytes = 8 << 20, .runs = 2, .seconds = 60});
  EXPECT_EQ(r.write.runs, 2u);
  EXPECT_GT(r.write.lowest, 0);
  EXPECT_GT(r.read.lowest, 0);
  EXPECT_GT(r.read_many.lowest, 0);
  EXPECT_TRUE(std::filesystem::is_empty(name));
  std::filesystem::remove(name);
  try {
    measure_disk(name, {.bytes = 1 << 20});
    FAIL() << "a missing folder was measured";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::kResource);
    EXPECT_NE(std::string(e.what()).find(name), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace viva
