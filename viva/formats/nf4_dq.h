// NF4 with double-quantized scales (QLoRA), as bitsandbytes stores it: the blocks' scales, less their mean
// (`Shared:: offset`), are themselves coded in 8 bits of the dynamic map, 256 of them sharing an f32. A row
// is a flat run of values: [codes][a scale code per block][an f32 per 256 blocks], the last block and the
// last 256 may be short.

#include "viva/formats/dynamic_map.h"
#include "viva/formats/levels-inl.h"

VIVA_LANES_OPEN

struct Nf4Dq {
  static constexpr std::string_view kName = "nf4-dq";
  static constexpr std::string_view kSummary =
      "nf4 whose scales are 8-bit codes themselves (bitsandbytes double quantization)";
  static constexpr uint32_t kGroup = 64;
  static constexpr uint32_t kGroups[] = {32, 64, 128, 256, 512, 1024, 2048, 4096};
  static constexpr size_t kNested = 256;  // blocks that share an f32

  struct Sizes {
    size_t group, blocks, nested, scales_at, nested_at, row_bytes;

    Sizes(size_t cols, const Coding& coding) {
      group = coding.group != 0 ? coding.group : kGroup;
      blocks = ceil_div(cols, group);
      nested = ceil_div(blocks, kNested);
      scales_at = ceil_div(cols, 2);
      nested_at = scales_at + blocks;
      row_bytes = nested_at + 4 * nested;
    }
    size_t values(size_t block, size_t cols) const { return block + 1 < blocks ? group : cols - block * group; }
  };

  static std::vector<Piece> pieces(size_t cols, const Coding& coding) {
    const Sizes s(cols, coding);
    return {{Role::kCodes, DType::kU8, s.scales_at, 0, s.scales_at},
            {Role::kScale, DType::kU8, s.blocks, s.scales_at, s.blocks},
            {Role::kNested, DType::kF32, s.nested, s.nested_at, 4 * s.nested}};
  }

  // ---- what the tensor shares: the mean of the blocks' largest magnitudes ----

  static float largest_of(const float* p, size_t n) {
    F m(0.0f);
    size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) m = max(m, abs(load(p + i)));
    alignas(64) float lane[kLanes];
    store(m, lane);
    float largest = 0.0f;
    for (const float v : lane) largest = v > largest ? v : largest;
    for (; i < n; ++i) largest = std::fabs(p[i]) > largest ? std::fabs(p[i]) : largest;
    return largest;
  }
  static void observe(const float* x, size_t rows, size_t cols, const Coding& coding,
                      Observed& seen) noexcept {
    const Sizes s(cols, coding);
    for (size_t r = 0; r < rows; ++r) {
      for (size_t b = 0; b < s.blocks; ++b) {
        const float largest = largest_of(x + r * cols + b * s.group, s.values(b, cols));
        seen.absmax = largest > seen.absmax ? largest : seen.absmax;
        seen.sum += largest;
        ++seen.count;
      }
    }
  }
  static Shared share(const Observed& seen, const Coding&) noexcept {
    return {.offset =
                seen.count == 0 ? 0.0f : static_cast<float>(seen.sum / static_cast<double>(seen.count))};
  }

  // ---- the blocks of 256 scales ----

  // Up to kNested blocks: their scales, and the codes and the f32 that they become.
  struct Scales {
    size_t count;
    float wanted[kNested];
    uint8_t code[kNested];
    float nested;
  };
  static float scale_of(uint8_t code, float nested, float offset) {
    return kDynamicMap[code] * nested + offset;
  }

  // The map's nearest entry, the lower one at a tie.
  static uint8_t nearest(float v) {
    size_t low = 0;
    for (size_t step = 128; step != 0; step /= 2) {
      if ((kDynamicMap[low + step - 1] + kDynamicMap[low + step]) / 2 < v) low += step;
    }
    return static_cast<uint8_t>(low);
  }

  // bitsandbytes' CPU path goes through a table of 65536 points.
  static void quantize_as_reference(Scales& s, float offset) {
    float largest = 0.0f;
    for (size_t b = 0; b < s.count; ++b) {
      const float v = std::fabs(s.wanted[b] - offset);
      largest = v > largest ? v : largest;
    }
    s.nested = largest;
    const float inverse = 1.0f / largest;
    for (size_t b = 0; b < s.count; ++b) {
      float v = (s.wanted[b] - offset) * inverse;
      if (!(largest > 0.0f)) v = -1.0f;
      v = v < -1.0f ? -1.0f : v > 1.0f ? 1.0f : v;
      const int i = static_cast<int>((v + 1.0f) * 0.5f * 65535.0f + 0.5f);
      s.code[b] = nearest(-1.0f + 2.0f * static_cast<float>(i) / 65535.0f);
    }
  }

  // Looks for the f32 and the codes that give exactly the wanted scales; blocks of zeros want nothing. The block farthest
  // from the mean says the f32 to a few last bits for each code that it may have; among them it is found by halving.
  static bool recover(Scales& s, float offset) {
    float farthest = 0.0f;
    for (size_t b = 0; b < s.count; ++b) {
      const float v = s.wanted[b] - offset;
      if (s.wanted[b] != 0.0f && std::fabs(v) > std::fabs(farthest)) farthest = v;
    }
    const float reach = 0x1p-23f * (std::fabs(farthest) + std::fabs(offset));
    for (size_t k = 0; k < 127; ++k) {
      const float entry = std::fabs(kDynamicMap[farthest < 0.0f ? k : 255 - k]);
      const float low = (std::fabs(farthest) - reach) / entry, high = (std::fabs(farthest) + reach) / entry;
      uint32_t from = std::bit_cast<uint32_t>(low > 0.0f ? low : 0.0f), to = std::bit_cast<uint32_t>(high);
      while (from <= to) {
        const uint32_t middle = from + (to - from) / 2;
        s.nested = std::bit_cast<float>(middle);
        const int off = meets(s, offset);
        if (off == 0) return true;
        if (off < 0) {
          from = middle + 1;
        } else {
          to = middle - 1;
        }
      }
    }
    return false;
  }
  // 0 where the f32 gives all wanted scales, less where it is too small, more where it is too large.
  static int meets(Scales& s, float offset) {
    const float inverse = s.nested > 0.0f ? 1.0f / s.nested : 0.0f;
    for (size_t b = 0; b < s.count; ++b) {
      if (s.wanted[b] == 0.0f) continue;
      const uint8_t near = nearest((s.wanted[b] - offset) * inverse);
      s.code[b] = near;
      // Close to the mean, neighbours may give the same scale.
      for (int k = near - 2; k <= near + 2; ++k) {
        if (k >= 0 && k < 256 && scale_of(static_cast<uint8_t>(k), s.nested, offset) == s.wanted[b]) s.code[b] = static_cast<uint8_t>(k);
      }
      const float got = scale_of(s.code[b], s.nested, offset);
      if (got != s.wanted[b]) return (got < s.wanted[b]) == (kDynamicMap[near] > 0.0f) ? -1 : 1;
    }
    return 0;
  }

  // ---- groups of kLanes blocks ----

  static void load_blocks(const float* x, size_t stride, size_t count, size_t n, F* panel) {
    const float* p[kLanes];
    for (size_t l = 0; l < kLanes; ++l) p[l] = x + (l < count ? l : 0) * stride;
    size_t k = 0;
    for (; k + 4 <= n; k += 4) load_transposed4(p, k, panel + k);
    for (; k < n; ++k) {
      alignas(64) float lane[kLanes];
      for (size_t l = 0; l < kLanes; ++l) lane[l] = p[l][k];
      panel[k] = load(lane);
    }
    for (const size_t end = round_up(n, 8); k < end; ++k) panel[k] = F(0.0f);
  }

  struct Fit {
    F scale, inverse;
    bool divide = false;
  };
  static VIVA_INL I code(F x, const Fit& fit) {
    return kNf4.nearest(fit.divide ? x / fit.scale : x * fit.inverse);
  }
  static VIVA_INL F value(I code, const Fit& fit) { return lookup16(kNf4.level, code) * fit.scale; }
  // The codes that a stored scale calls for; a scale of 0 stands for zeros.
  static VIVA_INL Fit fit_of(F scale) { return {scale, select(scale == F(0.0f), F(0.0f), F(1.0f) / scale)}; }

  static void write_codes(const F* x, size_t n, const Fit& fit, size_t stride, size_t count, uint8_t* out) {
    uint8_t* p[kLanes];
    for (size_t l = 0; l < kLanes; ++l) p[l] = out + (l < count ? l : 0) * stride;
    const auto word = [&](size_t w) VIVA_INL_LAMBDA {
      const F* v = x + 8 * w;
      return code(v[1], fit) | shl<4>(code(v[0], fit)) | shl<8>(code(v[3], fit)) | shl<12>(code(v[2], fit)) |
             shl<16>(code(v[5], fit)) | shl<20>(code(v[4], fit)) | shl<24>(code(v[7], fit)) |
             shl<28>(code(v[6], fit));
    };
    const size_t total = ceil_div(n, 2);
    size_t w = 0;
    if (count == kLanes) {
      for (; 4 * w + 16 <= total; w += 4) {
        const I v[4] = {word(w), word(w + 1), word(w + 2), word(w + 3)};
        store_words4(v, p, 4 * w);
      }
    }
    for (; 4 * w < total; ++w) {
      alignas(64) int32_t lane[kLanes];
      store(word(w), lane);
      for (size_t l = 0; l < count; ++l)
        std::memcpy(p[l] + 4 * w, &lane[l], total - 4 * w < 4 ? total - 4 * w : 4);
    }
  }

  // Calls f(first block, how many, values in each) for up to kLanes blocks of equal length at a time.
  template <class Call>
  static void for_lanes(size_t first, size_t last, size_t cols, const Sizes& s, Call f) {
    for (size_t b = first; b < last;) {
      const size_t n = s.values(b, cols);
      size_t count = last - b < kLanes ? last - b : kLanes;
      if (b + count == s.blocks && count > 1 && cols % s.group != 0) --count;
      f(b, count, n);
      b += count;
    }
  }

  static F lanes_of(const float* v, size_t count) {
    alignas(64) float lane[kLanes];
    for (size_t l = 0; l < kLanes; ++l) lane[l] = v[l < count ? l : 0];
    return load(lane);
  }

  // bitsandbytes makes the codes with the exact scales, before it codes those.
  static Fit exact_fit(const F* x, size_t n, const Sizes& s) {
    const F absmax = absmax_of(x, n), safe = max(absmax, F(1e-38f));
    return {n < s.group ? safe : absmax, F(1.0f) / safe, n < s.group};
  }

  static void reference_super(const float* x, size_t cols, size_t first, size_t last, const Sizes& s,
                              float offset, Scales& scales, uint8_t* codes, F* panel) {
    for_lanes(first, last, cols, s, [&](size_t b, size_t count, size_t n) {
      load_blocks(x + b * s.group, s.group, count, n, panel);
      const Fit fit = exact_fit(panel, n, s);
      write_codes(panel, n, fit, s.group / 2, count, codes + b * s.group / 2);
      alignas(64) float lane[kLanes];
      store(fit.scale, lane);
      for (size_t l = 0; l < count; ++l) scales.wanted[b - first + l] = lane[l];
    });
    quantize_as_reference(scales, offset);
  }

  // Values that were decoded from this format come back to the last bit: their largest magnitudes are the stored scales.
  static bool keep_super(const float* x, size_t cols, size_t first, size_t last, const Sizes& s, float offset,
                         Scales& scales, uint8_t* codes, F* panel) {
    size_t farthest = first;
    for (size_t b = first; b < last; ++b) {
      const float v = scales.wanted[b - first];
      if (v != 0.0f && (scales.wanted[farthest - first] == 0.0f || std::fabs(v - offset) > std::fabs(scales.wanted[farthest - first] - offset))) farthest = b;
    }
    const auto exact = [&](size_t b, size_t count, size_t n) {
      load_blocks(x + b * s.group, s.group, count, n, panel);
      const Fit fit = fit_of(absmax_of(panel, n));
      write_codes(panel, n, fit, s.group / 2, count, codes + b * s.group / 2);
      return none(F(0.0f) < error_of<Nf4Dq>(panel, n, fit));
    };
    if (!exact(farthest, 1, s.values(farthest, cols)) || !recover(scales, offset)) return false;
    bool all = true;
    for_lanes(first, last, cols, s, [&](size_t b, size_t count, size_t n) { all = all && exact(b, count, n); });
    return all;
  }

  // The f32 is the reference's, so that every block can be left as the reference has it.
  static void best_super(const float* x, size_t cols, size_t first, size_t last, const Sizes& s, float offset,
                         Scales& scales, uint8_t* codes, F* panel) {
    for (size_t b = first; b < last; ++b) scales.wanted[b - first] = largest_of(x + b * s.group, s.values(b, cols));
    if (keep_super(x, cols, first, last, s, offset, scales, codes, panel)) return;
    quantize_as_reference(scales, offset);
    for_lanes(first, last, cols, s, [&](size_t b, size_t count, size_t n) {
      load_blocks(x + b * s.group, s.group, count, n, panel);
      uint8_t* codes_of = scales.code + (b - first);
      alignas(64) float lane[kLanes];
      alignas(64) int32_t number[kLanes];
      const auto scales_at = [&] {
        for (size_t l = 0; l < kLanes; ++l) {
          number[l] = number[l] < 0 ? 0 : number[l] > 255 ? 255 : number[l];
          lane[l] = scale_of(static_cast<uint8_t>(number[l]), scales.nested, offset);
        }
        return load(lane);
      };
      for (size_t l = 0; l < kLanes; ++l) number[l] = codes_of[l < count ? l : 0];
      // The reference's codes and its scale. Where that is no scale at all zeros are closer.
      Fit fit = exact_fit(panel, n, s);
      const F absmax = absmax_of(panel, n), stored = scales_at();
      const M reach = in_reach(absmax), off = reach & (stored <= F(0.0f));
      if (fit.divide) fit.scale = select(off, F(0x1p126f), fit.scale);
      fit.inverse = select(off, F(0.0f), fit.inverse);
      I chosen = load(number);
      F error(0.0f);
      for (size_t i = 0; i < n; ++i) {
        const F d = panel[i] - value(code(panel[i], fit), {stored, F(0.0f)});
        error = error + d * d;
      }
      const auto offer = [&](F scale, M where) {
        Fit other = fit_of(scale);
        other.divide = fit.divide;
        const F e = error_of<Nf4Dq>(panel, n, other);
        // Below 1.16 the largest magnitude keeps the outermost level, which is how decoded values are found again.
        const M better = where & (F(0.0f) < scale) & (scale < absmax * F(1.15f)) & beats(e, error);
        fit.scale = select(better, scale, fit.scale);
        fit.inverse = select(better, other.inverse, fit.inverse);
        error = select(better, e, error);
        chosen = select(better, load(number), chosen);
      };
      store(search_nf4_scale(panel, n, absmax, false), lane);
      int near[kLanes];
      for (size_t l = 0; l < kLanes; ++l) near[l] = nearest((lane[l] - offset) / scales.nested);
      const auto neighbour = [&](int k) {
        for (size_t l = 0; l < kLanes; ++l) number[l] = near[l] + k;
        return scales_at();
      };
      const F below = neighbour(-1), above = neighbour(1);
      offer(neighbour(0), reach);
      // Where the map is coarse the nearest scale may not be the best one.
      const M coarse = reach & (absmax * F(0.04f) < above - below);
      if (!none(coarse)) {
        offer(neighbour(-1), coarse);
        offer(neighbour(1), coarse);
      }
      write_codes(panel, n, fit, s.group / 2, count, codes + b * s.group / 2);
      store(chosen, number);
      for (size_t l = 0; l < count; ++l) codes_of[l] = static_cast<uint8_t>(number[l]);
    });
  }

  static void encode(const float* x, size_t rows, size_t cols, const Coding& coding, uint8_t* packed,
                     float* work) noexcept {
    const Sizes s(cols, coding);
    F* panel = reinterpret_cast<F*>(work);
    const float offset = coding.shared.offset;
    for (size_t r = 0; r < rows; ++r) {
      const float* row = x + r * cols;
      uint8_t* out = packed + r * s.row_bytes;
      for (size_t g = 0; g < s.nested; ++g) {
        const size_t first = g * kNested, last = first + kNested < s.blocks ? first + kNested : s.blocks;
        Scales scales;
        scales.count = last - first;
        if (coding.encoder == Encoder::kReference) {
          reference_super(row, cols, first, last, s, offset, scales, out, panel);
        } else {
          best_super(row, cols, first, last, s, offset, scales, out, panel);
        }
        std::memcpy(out + s.scales_at + first, scales.code, scales.count);
        std::memcpy(out + s.nested_at + 4 * g, &scales.nested, 4);
      }
    }
  }

  static void decode(const uint8_t* packed, size_t rows, size_t cols, const Coding& coding, float* x,
                     float* work) noexcept {
    const Sizes s(cols, coding);
    F* panel = reinterpret_cast<F*>(work);
    for (size_t r = 0; r < rows; ++r) {
      const uint8_t* row = packed + r * s.row_bytes;
      float* out = x + r * cols;
      for_lanes(0, s.blocks, cols, s, [&](size_t b, size_t count, size_t n) {
        alignas(64) float lane[kLanes];
        const uint8_t* codes[kLanes];
        float* to[kLanes];
        for (size_t l = 0; l < kLanes; ++l) {
          const size_t block = b + (l < count ? l : 0);
          float nested;
          std::memcpy(&nested, row + s.nested_at + 4 * (block / kNested), 4);
          lane[l] = scale_of(row[s.scales_at + block], nested, coding.shared.offset);
          codes[l] = row + block * s.group / 2;
          to[l] = out + block * s.group;
        }
        const Fit fit = {load(lane), F(0.0f)};
        const auto expand = [&](I w, F* p) VIVA_INL_LAMBDA {
          p[1] = value(w & I(15), fit), p[0] = value(shr<4>(w) & I(15), fit);
          p[3] = value(shr<8>(w) & I(15), fit), p[2] = value(shr<12>(w) & I(15), fit);
          p[5] = value(shr<16>(w) & I(15), fit), p[4] = value(shr<20>(w) & I(15), fit);
          p[7] = value(shr<24>(w) & I(15), fit), p[6] = value(shr<28>(w), fit);
        };
        const size_t total = ceil_div(n, 2);
        size_t w = 0;
        for (; 4 * w + 16 <= total; w += 4) {
          I v[4];
          load_words4(codes, 4 * w, v);
          for (size_t i = 0; i < 4; ++i) expand(v[i], panel + 8 * (w + i));
        }
        for (; 4 * w < total; ++w) {
          alignas(64) int32_t word[kLanes] = {};
          for (size_t l = 0; l < kLanes; ++l)
            std::memcpy(&word[l], codes[l] + 4 * w, total - 4 * w < 4 ? total - 4 * w : 4);
          expand(load(word), panel + 8 * w);
        }
        size_t k = 0;
        if (count == kLanes) {
          for (; k + 4 <= n; k += 4) store_transposed4(panel + k, to, k);
        }
        for (; k < n; ++k) {
          store(panel[k], lane);
          for (size_t l = 0; l < count; ++l) to[l][k] = lane[l];
        }
      });
    }
  }

  static size_t scratch(size_t cols, const Coding& coding) noexcept {
    return kLanes * Sizes(cols, coding).group;
  }

  static constexpr FormatCode kCode = {&scratch, &observe, &encode, &decode};
};

using ThisFormat = Nf4Dq;

VIVA_LANES_CLOSE
