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
      for (size_t at = 0; at < cols; at += s.group) {
        const float largest = largest_of(x + r * cols + at, cols - at < s.group ? cols - at : s.group);
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

  // ---- the blocks that share an f32 ----

  // Up to kNested blocks: what is to be coded, where to, and room for kLanes blocks.
  struct Part {
    const float* x;
    size_t values, group;
    float offset;
    uint8_t* codes;
    F* panel;

    size_t length(size_t block) const {
      return values - block * group < group ? values - block * group : group;
    }
  };
  // Their scales, and the codes and the f32 that say them.
  struct Scales {
    size_t count;
    float wanted[kNested];
    uint8_t code[kNested];
    float nested;
  };
  static float scale_of(int code, float nested, float offset) { return kDynamicMap[code] * nested + offset; }

  static constexpr std::array<float, 255> kMidpoints = [] {
    std::array<float, 255> m{};
    for (size_t k = 0; k < 255; ++k) m[k] = (kDynamicMap[k] + kDynamicMap[k + 1]) / 2;
    return m;
  }();
  // The map's nearest entry, the lower one at a tie. Halving without branches: no one can foretell them.
  static uint8_t nearest(float v) {
    size_t low = 0;
    for (size_t step = 128; step != 0; step /= 2)
      low += step * static_cast<size_t>(kMidpoints[low + step - 1] < v);
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

  // Calls f(first block, how many, values in each, whether that is less than a group) for up to kLanes blocks
  // of equal length at a time. Loops over a known length are unrolled.
  template <class Call>
  static VIVA_INL void for_lanes(size_t values, size_t group, Call f) {
    for (size_t b = 0, count; b * group < values; b += count) {
      const size_t whole = values / group - b;
      count = whole == 0 ? 1 : whole < kLanes ? whole : kLanes;
      if (whole != 0 && group == kGroup) {
        f(b, count, kGroup, false);
      } else {
        f(b, count, whole != 0 ? group : values % group, whole == 0);
      }
    }
  }

  static VIVA_INL void load_blocks(const Part& part, size_t b, size_t count, size_t n) {
    const float* p[kLanes];
    for (size_t l = 0; l < kLanes; ++l) p[l] = part.x + (b + (l < count ? l : 0)) * part.group;
    size_t k = 0;
    for (; k < n / 4 * 4; k += 4) load_transposed4(p, k, part.panel + k);
    for (; k < n; ++k) {
      alignas(64) float lane[kLanes];
      for (size_t l = 0; l < kLanes; ++l) lane[l] = p[l][k];
      part.panel[k] = load(lane);
    }
    for (; k % 8 != 0; ++k) part.panel[k] = F(0.0f);
  }
  static VIVA_INL F lanes_of(const float* v, size_t count) {
    alignas(64) float lane[kLanes];
    for (size_t l = 0; l < kLanes; ++l) lane[l] = v[l < count ? l : 0];
    return load(lane);
  }
  static VIVA_INL void store_lanes(F from, size_t count, float* to) {
    alignas(64) float lane[kLanes];
    store(from, lane);
    std::memcpy(to, lane, count * sizeof(float));
  }

  static VIVA_INL void write_codes(const Part& part, size_t b, size_t count, size_t n, F inverse) {
    uint8_t* p[kLanes];
    for (size_t l = 0; l < kLanes; ++l) p[l] = part.codes + (b + (l < count ? l : 0)) * part.group / 2;
    const auto word = [&](size_t w) VIVA_INL_LAMBDA {
      const auto code = [&](size_t k)
                            VIVA_INL_LAMBDA { return kNf4.nearest(part.panel[8 * w + k] * inverse); };
      return code(1) | shl<4>(code(0)) | shl<8>(code(3)) | shl<12>(code(2)) | shl<16>(code(5)) |
             shl<20>(code(4)) | shl<24>(code(7)) | shl<28>(code(6));
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

  // ---- the reference ----

  static void divide_by(F* x, size_t n, F by) {
    for (size_t i = 0; i < n; ++i) x[i] = x[i] / by;
  }

  // bitsandbytes makes the codes with the exact scales, before it codes those. It divides in a short last
  // block and multiplies elsewhere.
  static void encode_reference(const Part& part, Scales& scales) {
    for_lanes(part.values, part.group, [&](size_t b, size_t count, size_t n, bool divide) VIVA_INL_LAMBDA {
      load_blocks(part, b, count, n);
      const F absmax = absmax_of(part.panel, n), safe = max(absmax, F(1e-38f));
      if (divide) divide_by(part.panel, n, safe);
      write_codes(part, b, count, n, divide ? F(1.0f) : F(1.0f) / safe);
      store_lanes(divide ? safe : absmax, count, scales.wanted + b);
    });
    quantize_as_reference(scales, part.offset);
  }

  // ---- values that were decoded from this format ----

  // Whether the block holds levels of that scale and nothing else.
  static bool on_levels(const float* x, size_t n, float scale) {
    for (size_t i = 0; i < n; ++i) {
      bool met = false;
      for (const float level : kNf4.level) met |= level * scale == x[i];
      if (!met) return false;
    }
    return true;
  }

  // Gives them back to the last bit: a block's largest magnitude is its stored scale (the reference's may be
  // negative). Most values say at once that they are not such values.
  static bool encode_again(const Part& part, Scales& scales) {
    for (size_t b = 0; b < scales.count; ++b) {
      const float largest = scales.wanted[b] <= 1e-38f ? 0.0f : scales.wanted[b];
      const float* x = part.x + b * part.group;
      scales.wanted[b] = largest;
      if (on_levels(x, part.length(b), largest)) continue;
      scales.wanted[b] = -largest;
      if (!on_levels(x, part.length(b), -largest)) return false;
    }
    if (!find_nested(scales, part.offset)) return false;
    for_lanes(part.values, part.group, [&](size_t b, size_t count, size_t n, bool) {
      load_blocks(part, b, count, n);
      const F scale = lanes_of(scales.wanted + b, count);
      write_codes(part, b, count, n, select(scale == F(0.0f), F(0.0f), F(1.0f) / scale));
    });
    return true;
  }

  // The f32 and the codes that give exactly the wanted scales; blocks of zeros want nothing. The scale
  // farthest from the mean says the f32 up to a few last bits for each code that it may have had; among them
  // halving finds it.
  static bool find_nested(Scales& s, float offset) {
    float farthest = 0.0f;
    for (size_t b = 0; b < s.count; ++b) {
      const float v = s.wanted[b] - offset;
      if (s.wanted[b] != 0.0f && std::fabs(v) > std::fabs(farthest)) farthest = v;
    }
    if (farthest == 0.0f) return false;  // the reference meets these
    const float distance = std::fabs(farthest), doubt = 0x1p-22f * (distance + std::fabs(offset));
    for (int k = 0; k < 127; ++k) {
      const float entry = std::fabs(kDynamicMap[farthest < 0.0f ? k : 255 - k]);
      int32_t low = distance > doubt ? std::bit_cast<int32_t>((distance - doubt) / entry) : 0;
      int32_t high = std::bit_cast<int32_t>((distance + doubt) / entry);
      while (low <= high) {
        const int32_t middle = low + (high - low) / 2;
        s.nested = std::bit_cast<float>(middle);
        const int off = meet(s, offset);
        if (off == 0) return true;
        if (off < 0) {
          low = middle + 1;
        } else {
          high = middle - 1;
        }
      }
    }
    return false;
  }
  // 0 where the f32 gives all wanted scales, less where it is too small, more where it is too large.
  static int meet(Scales& s, float offset) {
    for (size_t b = 0; b < s.count; ++b) {
      s.code[b] = 127;
      if (s.wanted[b] == 0.0f) continue;
      const int near = nearest((s.wanted[b] - offset) / s.nested);
      bool met = false;
      // Close to the mean neighbours may give the same scale.
      for (int k = near < 2 ? 0 : near - 2; !met && k <= near + 2 && k < 256; ++k) {
        met = scale_of(k, s.nested, offset) == s.wanted[b];
        s.code[b] = static_cast<uint8_t>(k);
      }
      if (!met)
        return (scale_of(near, s.nested, offset) < s.wanted[b]) == (kDynamicMap[near] > 0.0f) ? -1 : 1;
    }
    return 0;
  }

  // ---- best ----

  // The squared error of the levels nearest to ratio(x), times the scale.
  template <class Ratio>
  static VIVA_INL F error_with(const F* x, size_t n, F scale, Ratio ratio) {
    F sum(0.0f);
    for (size_t i = 0; i < n; i += 2) {
      F v[2] = {ratio(x[i]), ratio(x[i + 1])};
      kNf4.snap(v);
      for (size_t k = 0; k < 2; ++k) {
        const F d = x[i + k] - v[k] * scale;
        sum = sum + d * d;
      }
    }
    return sum;
  }

  // Chooses and writes the codes of kLanes blocks, the reference's first.
  static VIVA_INL void best_lanes(const Part& part, size_t b, size_t count, size_t n, bool divide,
                                  Scales& s) {
    load_blocks(part, b, count, n);
    F* x = part.panel;
    const F absmax = absmax_of(x, n), safe = max(absmax, F(1e-38f));
    const M reach = in_reach(absmax);
    alignas(64) int32_t near[kLanes], number[kLanes];
    const auto scales_at = [&](int k) VIVA_INL_LAMBDA {
      alignas(64) float lane[kLanes];
      for (size_t l = 0; l < kLanes; ++l) {
        number[l] = near[l] + k < 0 ? 0 : near[l] + k > 255 ? 255 : near[l] + k;
        lane[l] = scale_of(number[l], s.nested, part.offset);
      }
      return load(lane);
    };

    for (size_t l = 0; l < kLanes; ++l) near[l] = s.code[b + (l < count ? l : 0)];
    const F stored = scales_at(0);
    const M off = reach & (stored <= F(0.0f));  // zeros are closer than what such a scale gives
    F inverse = select(off, F(0.0f), F(1.0f) / safe);
    divide = divide && none(off);
    F error = error_with(x, n, stored, [&](F v) VIVA_INL_LAMBDA { return divide ? v / safe : v * inverse; });
    I chosen = load(near);
    const auto offer = [&](int k, M where) VIVA_INL_LAMBDA {
      const F scale = scales_at(k), unit = F(1.0f) / scale;
      const F e = error_with(x, n, scale, [&](F v) VIVA_INL_LAMBDA { return v * unit; });
      // Up to 1.16 the largest magnitude takes the outermost level, by which decoded values are recognized.
      const M better = where & (F(0.0f) < scale) & (scale < absmax * F(1.15f)) & beats(e, error);
      inverse = select(better, unit, inverse);
      error = select(better, e, error);
      chosen = select(better, load(number), chosen);
      divide = divide && none(better);
    };

    float wanted[kLanes];
    constexpr std::array<float, 7> kShares = {0.84f, 0.88f, 0.92f, 0.96f, 1.0f, 1.05f, 1.1f};
    store_lanes(search_nf4_scale(x, n, absmax, kShares, false), kLanes, wanted);
    for (size_t l = 0; l < kLanes; ++l) near[l] = nearest((wanted[l] - part.offset) / s.nested);
    offer(0, reach);
    // Where the map is coarse the nearest scale may not be the best one.
    const M coarse = reach & (absmax * F(0.04f) < scales_at(1) - scales_at(-1));
    if (!none(coarse)) {
      for (const int k : {-1, 1}) offer(k, coarse);
    }

    if (divide) divide_by(x, n, safe), inverse = F(1.0f);
    write_codes(part, b, count, n, inverse);
    store(chosen, number);
    for (size_t l = 0; l < count; ++l) s.code[b + l] = static_cast<uint8_t>(number[l]);
  }

  // The f32 is the reference's, so that every block can be left as the reference has it. With that f32, on
  // Gaussian weights, within 0.006 dB of the best of all scale codes up to 1.15 of the largest magnitude, and
  // within 0.036 dB of the best of all (every code tried on 4096 blocks).
  static void encode_best(const Part& part, Scales& scales) {
    for (size_t b = 0; b < scales.count; ++b) {
      const float largest = largest_of(part.x + b * part.group, part.length(b));
      scales.wanted[b] = part.length(b) < part.group && largest < 1e-38f ? 1e-38f : largest;
    }
    Scales again = scales;
    if (encode_again(part, again)) {
      scales = again;
      return;
    }
    quantize_as_reference(scales, part.offset);
    for_lanes(part.values, part.group, [&](size_t b, size_t count, size_t n, bool divide) VIVA_INL_LAMBDA {
      best_lanes(part, b, count, n, divide, scales);
    });
  }

  static void encode(const float* x, size_t rows, size_t cols, const Coding& coding, uint8_t* packed,
                     float* work) noexcept {
    const Sizes s(cols, coding);
    for (size_t r = 0; r < rows; ++r) {
      const float* row = x + r * cols;
      uint8_t* out = packed + r * s.row_bytes;
      for (size_t g = 0; g < s.nested; ++g) {
        const size_t first = g * kNested, last = first + kNested < s.blocks ? first + kNested : s.blocks;
        const size_t at = first * s.group, rest = cols - at;
        const Part part = {row + at,     rest < kNested * s.group ? rest : kNested * s.group,
                           s.group,      coding.shared.offset,
                           out + at / 2, reinterpret_cast<F*>(work)};
        Scales scales;
        scales.count = last - first;
        if (coding.encoder == Encoder::kReference) {
          encode_reference(part, scales);
        } else {
          encode_best(part, scales);
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
      for_lanes(cols, s.group, [&](size_t b, size_t count, size_t n, bool) {
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
        const F scale = load(lane);
        const auto value = [&](I code) VIVA_INL_LAMBDA { return lookup16(kNf4.level, code) * scale; };
        const auto expand = [&](I w, F* p) VIVA_INL_LAMBDA {
          p[1] = value(w & I(15)), p[0] = value(shr<4>(w) & I(15));
          p[3] = value(shr<8>(w) & I(15)), p[2] = value(shr<12>(w) & I(15));
          p[5] = value(shr<16>(w) & I(15)), p[4] = value(shr<20>(w) & I(15));
          p[7] = value(shr<24>(w) & I(15)), p[6] = value(shr<28>(w));
        };
        const size_t total = ceil_div(n, 2);
        const bool whole = count == kLanes;
        size_t w = 0, k = 0;
        for (; 4 * w + 16 <= total; w += 4) {
          I v[4];
          load_words4(codes, 4 * w, v);
          // Where all blocks are whole, 32 values of each go straight out, and the lines of the next blocks come in.
          const bool straight = whole && 8 * w + 32 <= n;
          F* block = straight ? panel : panel + 8 * w;
          for (size_t i = 0; i < 4; ++i) expand(v[i], block + 8 * i);
          if (!straight) continue;
          for (size_t i = 0; i < 32; i += 4) store_transposed4(block + i, to, k + i);
          for (size_t l = 0; l < kLanes; ++l) {
            __builtin_prefetch(to[l] + kLanes * s.group + k, 1);
            __builtin_prefetch(to[l] + kLanes * s.group + k + 16, 1);
          }
          k += 32;
        }
        for (; 4 * w < total; ++w) {
          alignas(64) int32_t word[kLanes] = {};
          for (size_t l = 0; l < kLanes; ++l)
            std::memcpy(&word[l], codes[l] + 4 * w, total - 4 * w < 4 ? total - 4 * w : 4);
          expand(load(word), panel + 8 * w);
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
