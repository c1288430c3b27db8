#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "viva/base/dtype.h"
#include "viva/base/target.h"

// The contract of a format: how a row of weights is written in bytes.
//
// A format is one file `formats/NAME.h` and one line in `formats.inc`. The file holds one struct, written once over
// the lane types of `lanes-inl.h` and compiled once for each SIMD target and once as plain scalar code, the twin that
// every target is compared with. `docs/add_a_format.md` walks through one.
namespace viva {

enum class Encoder : uint8_t {
  kReference,  // the bytes that the format's own reference implementation gives
  kBest,       // searches for the lowest squared error in the same bytes; never worse than reference on any group
  kExact,      // for values that lie on a grid of this kind already: gives them back where the format can, else kBest
};
std::string_view name(Encoder encoder) noexcept;

// What a whole tensor (or a fused set of tensors) shares, chosen after a pass over all its values.
struct Shared {
  float scale = 1.0f;   // nvfp4: the tensor's second-level scale
  float offset = 0.0f;  // nf4-dq: mean of the block maxima
};

// What the first pass gathers; merged in a fixed order, so that the result does not depend on threads.
struct Observed {
  float absmax = 0.0f;
  double sum = 0.0;
  uint64_t count = 0;

  void merge(const Observed& o) noexcept {
    absmax = absmax < o.absmax ? o.absmax : absmax;
    sum += o.sum;
    count += o.count;
  }
};

// The free choices inside one format; a format's name with these says every byte.
struct Coding {
  uint32_t group = 0;                 // values that share a scale; 0: the format's default
  DType scale = DType::kF32;          // dtype of stored scales, where the format leaves it open
  DType arithmetic = DType::kF32;     // dtype that the reference rounds its intermediate results to
  Encoder encoder = Encoder::kBest;
  bool signed_scale = true;           // best may store negative scales (not every loader expects them)
  Shared shared;
};

// What the parts of a packed row are, for io to place them in the tensors of an outside layout.
enum class Role : uint8_t {
  kBlock,   // codes and scales interleaved: the row is one unit (GGUF)
  kCodes,
  kScale,
  kZero,    // integer zero point
  kMinimum, // what code 0 stands for
  kNested,  // second-level scale inside the row
};

// One part of a packed row: `count` elements of `dtype` at `offset`.
struct Piece {
  Role role;
  DType dtype;
  size_t count;
  size_t offset;
  size_t bytes;
};

// Where the codes of a group lie in its bytes.
enum class Order : uint8_t {
  kBytes,      // one byte a code
  kLowFirst,   // element 2j in the low nibble of byte j, 2j+1 in the high one
  kHighFirst,  // element 2j in the high nibble of byte j (bitsandbytes)
  kHalves,     // element j in the low nibble of byte j, j + group/2 in the high one (ggml)
};

// A stored part of a group besides its codes.
struct Field {
  Role role;
  DType dtype;
};
// The fields of one format, at most four.
struct Fields {
  std::array<Field, 4> list{};
  size_t count = 0;
  constexpr Fields() = default;
  constexpr Fields(std::initializer_list<Field> l) : count(l.size()) {
    size_t i = 0;
    for (const Field& f : l) list[i++] = f;
  }
  constexpr size_t size() const { return count; }
  constexpr const Field& operator[](size_t i) const { return list[i]; }
};

// Code of one format for one SIMD target. Rows are contiguous; x is (rows, cols) f32 and finite. Nothing allocates:
// `work` holds scratch(cols, coding) floats, aligned to 64 bytes.
struct FormatCode {
  size_t (*scratch)(size_t cols, const Coding&) noexcept;
  void (*observe)(const float* x, size_t rows, size_t cols, const Coding&, Observed&) noexcept;
  void (*encode)(const float* x, size_t rows, size_t cols, const Coding&, uint8_t* packed, float* work) noexcept;
  void (*decode)(const uint8_t* packed, size_t rows, size_t cols, const Coding&, float* x, float* work) noexcept;
};

struct Format {
  std::string_view name;
  std::string_view summary;           // one line for people
  uint32_t group;                     // default group; 0: the whole row
  std::span<const uint32_t> groups;   // legal groups; empty: only the default
  int gguf_type;                      // ggml type id, or -1
  uint32_t row_panel;                 // rows that share a scale (1, or 128 for square blocks)
  bool signed_scale;                  // has scales whose sign is free
  bool group_in_name;                 // people always say its group: int4-g128
  Shared (*share)(const Observed&, const Coding&) noexcept;  // null: nothing is shared
  std::vector<Piece> (*pieces)(size_t cols, const Coding&);
  std::array<const FormatCode*, kTargets> code;

  // The code for `target`, or for the next weaker one that this build has.
  const FormatCode& on(Target target) const noexcept {
    size_t i = static_cast<size_t>(target);
    while (code[i] == nullptr) ++i;
    return *code[i];
  }

  size_t row_bytes(size_t cols, const Coding& coding) const {
    size_t n = 0;
    for (const Piece& p : pieces(cols, coding)) n += p.bytes;
    return n;
  }
};

// THE LIST, in the order of formats.inc.
std::span<const Format* const> formats() noexcept;
// The format of that exact name, or null.
const Format* find_format(std::string_view name) noexcept;

// A format as people write it, the group after the name's first word: "nf4", "nf4-g128", "int4-g32-asym". Empty where
// no format has that name or the format cannot have that group.
struct FormatChoice {
  const Format* format;
  Coding coding;
};
std::optional<FormatChoice> parse_format(std::string_view text);
// The reverse.
std::string format_text(const Format& format, const Coding& coding);

}  // namespace viva
