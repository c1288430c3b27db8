#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <utility>

#include "viva/machine/machine.h"

namespace viva {

// Bytes in RAM that all views of them share; freed with the last BufferPtr.
class Buffer {
 public:
  uint8_t* data() const noexcept { return data_; }
  uint64_t bytes() const noexcept { return bytes_; }
  const Machine& machine() const noexcept { return machine_; }

 private:
  friend class BufferPtr;
  Buffer(const Machine& machine, uint8_t* data, uint64_t bytes) : machine_(machine), data_(data), bytes_(bytes) {}
  void destroy() noexcept;

  std::atomic<uint32_t> count_ = 1;
  enum class Owner : uint8_t { kInline, kBlock, kOutside } owner_ = Owner::kInline;
  Machine machine_;
  uint8_t* data_;
  uint64_t bytes_;  // of a block: all of it
  std::function<void()> release_;
};

class BufferPtr {
 public:
  BufferPtr() = default;
  BufferPtr(const BufferPtr& o) noexcept : p_(o.p_) {
    if (p_ != nullptr) p_->count_.fetch_add(1, std::memory_order_relaxed);
  }
  BufferPtr(BufferPtr&& o) noexcept : p_(std::exchange(o.p_, nullptr)) {}
  BufferPtr& operator=(BufferPtr o) noexcept {
    std::swap(p_, o.p_);
    return *this;
  }
  ~BufferPtr() {
    // The only holder needs no exchange: nobody else can become one.
    if (p_ != nullptr && (p_->count_.load(std::memory_order_acquire) == 1 || p_->count_.fetch_sub(1, std::memory_order_acq_rel) == 1)) p_->destroy();
  }

  // Memory of nobody's values, aligned to 64 bytes. Throws kResource where there is not that much.
  static BufferPtr allocate(const Machine& machine, uint64_t bytes);
  // Somebody else's memory; `release` is called when no view is left.
  static BufferPtr wrap(const Machine& machine, void* data, uint64_t bytes, std::function<void()> release);

  Buffer* operator->() const noexcept { return p_; }
  Buffer& operator*() const noexcept { return *p_; }
  explicit operator bool() const noexcept { return p_ != nullptr; }
  bool operator==(const BufferPtr& o) const noexcept { return p_ == o.p_; }
  uint32_t views() const noexcept { return p_ == nullptr ? 0 : p_->count_.load(std::memory_order_relaxed); }

 private:
  explicit BufferPtr(Buffer* p) noexcept : p_(p) {}
  Buffer* p_ = nullptr;
};

}  // namespace viva
