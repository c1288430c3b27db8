#include "viva/machine/blocks.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <string>
#include <utility>

#include "viva/base/error.h"

namespace viva {

namespace {

constexpr uint64_t kHuge = 2 << 20;   // a large page
constexpr uint64_t kLook = 64 << 20;  // from here on the computer is asked what it has
constexpr uint64_t kKeptShare = 4;    // of the memory, at most this part is kept unused
constexpr uint64_t kWasteShare = 4;   // a kept block may be larger than what is wanted by this part

std::optional<uint64_t> number_in(const char* path) {
  std::ifstream file(path);
  uint64_t n;
  if (file >> n) return n;
  return std::nullopt;
}

// Large pages where the system gives them, which older kernels only do from an address that is a multiple of one; null where there
// is no memory.
uint8_t* map_pages(uint64_t size) {
  void* raw = ::mmap(nullptr, size + kHuge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (raw == MAP_FAILED) return nullptr;
  auto* const first = static_cast<uint8_t*>(raw);
  const uint64_t before = -reinterpret_cast<uintptr_t>(first) % kHuge;
  if (before != 0) ::munmap(first, before);
  ::munmap(first + before + size, kHuge - before);
  ::madvise(first + before, size, MADV_HUGEPAGE);
  return first + before;
}

}  // namespace

uint64_t available_memory() {
  uint64_t n = UINT64_MAX;
  std::ifstream file("/proc/meminfo");
  for (std::string key, unit; file >> key;) {
    uint64_t value;
    if (!(file >> value)) break;
    std::getline(file, unit);
    if (key == "MemAvailable:") n = value * 1024;
  }
  const auto limit = number_in("/sys/fs/cgroup/memory.max"),
             used = number_in("/sys/fs/cgroup/memory.current");
  if (limit && used) n = std::min(n, *limit > *used ? *limit - *used : 0);
  return n;
}

BlockStore::~BlockStore() { release(); }

Machine::Block BlockStore::take(uint64_t bytes, uint64_t cap) {
  const auto refuse = [&](uint64_t have) {
    throw Error(
        Code::kResource, "allocate", fmt::format("{} bytes are wanted, {} are left", bytes, have),
        cap != 0 ? "a larger cap, or smaller pieces" : "smaller pieces, or a machine with more memory");
  };
  if (bytes > UINT64_MAX / 2) refuse(available_memory());
  const uint64_t size = (bytes + kHuge - 1) / kHuge * kHuge;
  const std::lock_guard lock(mutex_);
  const auto fit = kept_.lower_bound(size);
  if (fit != kept_.end() && fit->first <= size + size / kWasteShare) {
    const Block block{fit->second, fit->first};
    kept_.erase(fit);
    kept_bytes_ -= block.bytes;
    taken_bytes_ += block.bytes;
    return block;
  }
  const auto drop = [&] {
    for (const auto& [n, data] : kept_) ::munmap(data, n);
    kept_.clear();
    kept_bytes_ = 0;
  };
  if (cap != 0 && taken_bytes_ + kept_bytes_ + size > cap) {
    drop();
    if (taken_bytes_ + size > cap) refuse(cap - std::min(cap, taken_bytes_));
  }
  if (size >= kLook && size > available_memory()) {
    drop();
    if (const uint64_t have = available_memory(); size > have) refuse(have);
  }
  uint8_t* data = map_pages(size);
  if (data == nullptr) {
    drop();
    data = map_pages(size);
    if (data == nullptr) refuse(available_memory());
  }
  taken_bytes_ += size;
  return {data, size};
}

void BlockStore::give(Block block) noexcept {
  const std::lock_guard lock(mutex_);
  taken_bytes_ -= block.bytes;
  try {
    if (most_kept_ == 0) most_kept_ = available_memory() / kKeptShare;
    if (kept_bytes_ + block.bytes <= most_kept_) {
      kept_.emplace(block.bytes, block.data);
      kept_bytes_ += block.bytes;
      return;
    }
  } catch (...) {  // no memory for the note: then the block goes back
  }
  ::munmap(block.data, block.bytes);
}

uint64_t BlockStore::release() noexcept {
  const std::lock_guard lock(mutex_);
  for (const auto& [n, data] : kept_) ::munmap(data, n);
  kept_.clear();
  return std::exchange(kept_bytes_, 0);
}

namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kKeep = false;  // every piece is to have its own bounds
#elif defined(__has_feature)
constexpr bool kKeep = !__has_feature(address_sanitizer);
#else
constexpr bool kKeep = true;
#endif

// The class of pieces that holds `bytes`; 0: malloc's own.
size_t class_of(uint64_t bytes, uint64_t least) {
  return kKeep ? static_cast<size_t>(std::bit_width((bytes - 1) / least)) : 0;
}

}  // namespace

void* PieceStore::take(uint64_t bytes) noexcept {
  const size_t c = class_of(bytes, kLeast);
  if (c == 0 || c > kClasses) return std::malloc(bytes);
  if (!busy_.exchange(true, std::memory_order_acquire)) {
    Class& k = classes_[c - 1];
    void* piece = k.count == 0 ? nullptr : k.piece[--k.count];
    busy_.store(false, std::memory_order_release);
    if (piece != nullptr) return piece;
  }
  return std::malloc(kLeast << c);
}

void PieceStore::give(void* piece, uint64_t bytes) noexcept {
  const size_t c = class_of(bytes, kLeast);
  if (c != 0 && c <= kClasses && !busy_.exchange(true, std::memory_order_acquire)) {
    Class& k = classes_[c - 1];
    if (k.count != kKept) k.piece[k.count++] = std::exchange(piece, nullptr);
    busy_.store(false, std::memory_order_release);
  }
  std::free(piece);
}

uint64_t PieceStore::release() noexcept {
  uint64_t bytes = 0;
  while (busy_.exchange(true, std::memory_order_acquire)) {
  }
  for (size_t c = 0; c < kClasses; ++c) {
    Class& k = classes_[c];
    bytes += k.count * (kLeast << (c + 1));
    while (k.count != 0) std::free(k.piece[--k.count]);
  }
  busy_.store(false, std::memory_order_release);
  return bytes;
}

}  // namespace viva
