// FP8 (E4M3), one scale per block of 128 x 128, as compressed-tensors' float-quantized layout with strategy
// "block" stores it. Every row of a panel of 128 holds a copy of the panel's scales, so that rows stand
// alone; io writes one.

#include "viva/formats/fp8-inl.h"

VIVA_LANES_OPEN

struct Fp8Block : Fp8Scale {
  static constexpr std::string_view kName = "fp8-block";
  static constexpr std::string_view kSummary =
      "E4M3, 128 x 128 values share a scale in the model's dtype (compressed-tensors)";
  static constexpr uint32_t kGroup = 128;
  static constexpr uint32_t kRowPanel = 128;

  struct Sizes {
    size_t blocks, scale_bytes, row_bytes;
    Sizes(size_t cols, const Coding& c)
        : blocks(ceil_div(cols, kGroup)),
          scale_bytes(bytes(c.scale)),
          row_bytes(cols + blocks * scale_bytes) {}
  };

  static std::vector<Piece> pieces(size_t cols, const Coding& c) {
    const Sizes s(cols, c);
    return {{Role::kCodes, DType::kF8E4M3, cols, 0, cols},
            {Role::kScale, c.scale, s.blocks, cols, s.blocks * s.scale_bytes}};
  }

  template <DType kArithmetic>
  static void write_codes(const F* v, size_t height, size_t width, size_t stride, const Fit& fit,
                          uint8_t* out, size_t row_bytes, const float* next, size_t cols) {
    const auto code_of = [&](F x) VIVA_INL_LAMBDA {
      return fit.as_reference ? reference_code<kArithmetic>(x, fit) : code(x, fit);
    };
    for (size_t r = 0; r < height; ++r, out += row_bytes, v += stride / kLanes, next += cols) {
      for (size_t k = 0; k < kGroup; k += 16) __builtin_prefetch(next + k, 0, 2);
      size_t k = 0;
      for (; k + kLanes <= width; k += kLanes) store_low<1>(code_of(v[k / kLanes]), out + k);
      if (k < width) {
        alignas(64) uint8_t last[kLanes * 4];
        store_low<1>(code_of(v[k / kLanes]), last);
        std::memcpy(out + k, last, width - k);
      }
    }
  }

  static void encode(const float* x, size_t rows, size_t cols, const Coding& c, uint8_t* packed,
                     float* work) noexcept {
    const Sizes s(cols, c);
    F* v = reinterpret_cast<F*>(work);
    for (size_t top = 0; top < rows; top += kRowPanel) {
      const size_t height = rows - top < kRowPanel ? rows - top : kRowPanel;
      uint8_t* panel = packed + top * s.row_bytes;
      for (size_t b = 0; b < s.blocks; ++b) {
        // The block as one run of values, its rows padded with zeros to whole vectors.
        const size_t left = b * kGroup, width = cols - left < kGroup ? cols - left : kGroup;
        const size_t stride = round_up(width, kRowLanes);
        const float* block = x + top * cols + left;
        const float* next = b + 1 < s.blocks ? block + kGroup : x + (top + height) * cols;
        Absmax absmax;
        for (size_t r = 0; r < height; ++r) {
          const float* from = block + r * cols;
          F* to = v + r * stride / kLanes;
          size_t k = 0;
          for (; k + kRowLanes <= width; k += kRowLanes, to += Absmax::kTurns) {
            for (size_t t = 0; t < Absmax::kTurns; ++t) to[t] = load(from + k + t * kLanes);
            absmax.add(to);
          }
          if (k < width) {
            std::memset(static_cast<void*>(to), 0, kRowLanes * sizeof(float));
            std::memcpy(static_cast<void*>(to), from + k, (width - k) * sizeof(float));
            absmax.add(to);
          }
        }
        const Fit fit = c.encoder == Encoder::kReference ? reference(absmax.value(), c)
                                                         : best(v, height * stride / kLanes, c);
        const int32_t scale = first(stored_bits(c.scale, fit.scale));
        for (size_t r = 0; r < height; ++r) {
          std::memcpy(panel + r * s.row_bytes + cols + b * s.scale_bytes, &scale, s.scale_bytes);
        }
        if (c.arithmetic == DType::kBF16) {
          write_codes<DType::kBF16>(v, height, width, stride, fit, panel + left, s.row_bytes, next, cols);
        } else if (c.arithmetic == DType::kF16) {
          write_codes<DType::kF16>(v, height, width, stride, fit, panel + left, s.row_bytes, next, cols);
        } else {
          write_codes<DType::kF32>(v, height, width, stride, fit, panel + left, s.row_bytes, next, cols);
        }
      }
    }
  }

  static void decode(const uint8_t* packed, size_t rows, size_t cols, const Coding& c, float* x,
                     float*) noexcept {
    const Sizes s(cols, c);
    for (size_t r = 0; r < rows; ++r, packed += s.row_bytes, x += cols) {
      for (size_t b = 0; b < s.blocks; ++b) {
        int32_t bits = 0;
        std::memcpy(&bits, packed + cols + b * s.scale_bytes, s.scale_bytes);
        const Fit fit = {stored_value(c.scale, I(bits)), F(0.0f), false};
        const size_t end = cols < (b + 1) * kGroup ? cols : (b + 1) * kGroup;
        size_t k = b * kGroup;
        for (; k + kLanes <= end; k += kLanes) store(value(load_low<1>(packed + k), fit), x + k);
        if (k < end) {
          alignas(64) uint8_t last[kLanes * 4] = {};
          alignas(64) float tail[kLanes];
          std::memcpy(last, packed + k, end - k);
          store(value(load_low<1>(last), fit), tail);
          std::memcpy(x + k, tail, (end - k) * sizeof(float));
        }
      }
    }
  }

  static void observe(const float*, size_t rows, size_t cols, const Coding&, Observed& seen) noexcept {
    seen.count += rows * cols;
  }
  static size_t scratch(size_t cols, const Coding&) noexcept {
    return kRowPanel * round_up(cols < kGroup ? cols : kGroup, kRowLanes);
  }

  static constexpr FormatCode kCode = {&scratch, &observe, &encode, &decode};
};

using ThisFormat = Fp8Block;

VIVA_LANES_CLOSE
