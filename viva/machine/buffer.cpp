#include "viva/machine/buffer.h"

#include <cstdlib>
#include <new>

namespace viva {

namespace {
constexpr uint64_t kAlign = 64;
constexpr uint64_t kSmall = 256 * 1024;  // below, header and values lie in one piece of the heap
}  // namespace

BufferPtr BufferPtr::allocate(const Machine& machine, uint64_t bytes) {
  if (bytes < kSmall) {
    void* raw = machine.take_piece(sizeof(Buffer) + kAlign + bytes);
    if (raw == nullptr) throw std::bad_alloc();
    const uintptr_t end = reinterpret_cast<uintptr_t>(raw) + sizeof(Buffer);
    auto* data = reinterpret_cast<uint8_t*>((end + kAlign - 1) / kAlign * kAlign);
    return BufferPtr(new (raw) Buffer(machine, data, bytes));
  }
  const Machine::Block block = machine.take_block(bytes);
  void* raw = std::malloc(sizeof(Buffer));
  if (raw == nullptr) {
    machine.give_block(block);
    throw std::bad_alloc();
  }
  auto* b = new (raw) Buffer(machine, block.data, block.bytes);
  b->owner_ = Buffer::Owner::kBlock;
  return BufferPtr(b);
}

BufferPtr BufferPtr::wrap(const Machine& machine, void* data, uint64_t bytes, std::function<void()> release) {
  void* raw = std::malloc(sizeof(Buffer));
  if (raw == nullptr) throw std::bad_alloc();
  auto* b = new (raw) Buffer(machine, static_cast<uint8_t*>(data), bytes);
  b->owner_ = Buffer::Owner::kOutside;
  b->release_ = std::move(release);
  return BufferPtr(b);
}

void Buffer::destroy() noexcept {
  if (owner_ == Owner::kBlock) machine_.give_block({data_, bytes_});
  if (owner_ == Owner::kOutside && release_) release_();
  const Machine machine = std::move(machine_);  // the memory of this may go back to it
  const uint64_t piece = owner_ == Owner::kInline ? sizeof(Buffer) + kAlign + bytes_ : 0;
  this->~Buffer();
  piece != 0 ? machine.give_piece(this, piece) : std::free(this);
}

}  // namespace viva
