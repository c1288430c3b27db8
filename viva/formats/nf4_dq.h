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
  static constexpr size_t kFew = 64;      // blocks of which all may gain from an f32 of their own

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

  static void observe(const float* x, size_t rows, size_t cols, const Coding& coding,
                      Observed& seen) noexcept {
    const Sizes s(cols, coding);
    for (size_t r = 0; r < rows; ++r) {
      for (size_t b = 0; b < s.blocks; ++b) {
        const float* p = x + r * cols + b * s.group;
        const size_t n = b + 1 < s.blocks ? s.group : cols - b * s.group;
        F m(0.0f);
        size_t i = 0;
        for (; i + kLanes <= n; i += kLanes) m = max(m, abs(load(p + i)));
        alignas(64) float lane[kLanes];
        store(m, lane);
        float largest = 0.0f;
        for (const float v : lane) largest = v > largest ? v : largest;
        for (; i < n; ++i) largest = std::fabs(p[i]) > largest ? std::fabs(p[i]) : largest;
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

  // The f32 of a few that says the wanted scales best, and the nearest codes. Blocks of zeros want nothing.
  // The map ends at +1 and at -0.993; the f32 has 16 significant bits, so that it is found again from decoded
  // values.
  static void quantize(Scales& s, float offset) {
    float high = 0.0f, low = 0.0f;
    for (size_t b = 0; b < s.count; ++b) {
      if (s.wanted[b] == 0.0f) continue;
      const float v = s.wanted[b] - offset;
      high = v > high ? v : high;
      low = v < low ? v : low;
    }
    const float end = -low / -kDynamicMap[0];
    const float largest = end > high ? end : high;
    // The last one is for values that the reference has coded: it is taken where it meets them.
    const float trials[] = {round16(largest), round16(high), round16(end), largest};
    double lowest = HUGE_VAL;
    for (const float& nested : trials) {
      if (nested == 0.0f && lowest != HUGE_VAL) continue;
      const float inverse = nested == 0.0f ? 0.0f : 1.0f / nested;
      uint8_t code[kNested];
      double error = 0;
      for (size_t b = 0; b < s.count; ++b) {
        const bool empty = s.wanted[b] == 0.0f;
        code[b] = empty ? 127 : nearest((s.wanted[b] - offset) * inverse);
        const double d = empty ? 0.0 : static_cast<double>(s.wanted[b]) - scale_of(code[b], nested, offset);
        error += d * d;
      }
      if (error < (&nested == &trials[3] ? lowest * 0x1p-10 : lowest)) {
        lowest = error;
        s.nested = nested;
        std::memcpy(s.code, code, s.count);
      }
    }
  }
  // Guess k at the reference's f32 behind scales that were decoded: what either end of the map gives, give or take the
  // rounding of the sum.
  static constexpr size_t kRecoveries = 34;
  static void recover(Scales& s, float offset, size_t k) {
    float high = 0.0f, low = 0.0f, largest = std::fabs(offset);
    for (size_t b = 0; b < s.count; ++b) {
      if (s.wanted[b] == 0.0f) continue;
      high = s.wanted[b] - offset > high ? s.wanted[b] - offset : high;
      low = s.wanted[b] - offset < low ? s.wanted[b] - offset : low;
      largest = s.wanted[b] > largest ? s.wanted[b] : largest;
    }
    const float end = k % 2 == 0 ? high : low / kDynamicMap[0];
    const float step = (end > largest / 8 ? end : largest / 8) * 0x1p-24f;
    const float away = static_cast<float>((k / 2 + 1) / 2);
    s.nested = end + (k / 2 % 2 == 0 ? away : -away) * step;
    const float inverse = s.nested > 0.0f ? 1.0f / s.nested : 0.0f;
    for (size_t b = 0; b < s.count; ++b) s.code[b] = s.wanted[b] == 0.0f ? 127 : nearest((s.wanted[b] - offset) * inverse);
  }
  static float round16(float v) { return std::bit_cast<float>((std::bit_cast<uint32_t>(v) + 0x7f) & ~0xffu); }

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
      const size_t n = b + 1 < s.blocks ? s.group : cols - b * s.group;
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
      if (codes != nullptr) write_codes(panel, n, fit, s.group / 2, count, codes + b * s.group / 2);
      alignas(64) float lane[kLanes];
      store(fit.scale, lane);
      for (size_t l = 0; l < count; ++l) scales.wanted[b - first + l] = lane[l];
    });
    quantize_as_reference(scales, offset);
  }

  // The squared errors of 256 blocks as they are coded and as the reference codes them; whether the first is larger
  // anywhere.
  struct Errors {
    double mine = 0, reference = 0;
    bool worse = false;
  };

  // Moves each block to the scale code near its own (in `scales`) and near its wanted scale that fits it best, writes its
  // codes. `anchored`: `scales` are the reference's, and what it writes is the least that is accepted, block by block.
  static Errors best_super(const float* x, size_t cols, size_t first, size_t last, const Sizes& s, float offset,
                           Scales& scales, const Scales& reference, bool anchored, uint8_t* codes, F* panel) {
    float widest = 0.0f;
    for (size_t b = 0; b < scales.count; ++b) {
      const float v = std::fabs(kDynamicMap[scales.code[b]]);
      widest = v > widest ? v : widest;
    }
    Errors sum;
    for_lanes(first, last, cols, s, [&](size_t b, size_t count, size_t n) {
      load_blocks(x + b * s.group, s.group, count, n, panel);
      const size_t at = b - first;
      uint8_t* codes_of = scales.code + at;
      uint8_t from[kLanes];
      for (size_t l = 0; l < kLanes; ++l) from[l] = codes_of[l < count ? l : 0];
      alignas(64) float lane[kLanes];
      alignas(64) int32_t number[kLanes];
      // Scales of the codes in `number`; blocks that hold the end of the map stay there, or the f32 would be
      // lost.
      const auto scales_at = [&] {
        for (size_t l = 0; l < kLanes; ++l) {
          if (std::fabs(kDynamicMap[from[l]]) == widest) number[l] = from[l];
          number[l] = number[l] < 0 ? 0 : number[l] > 255 ? 255 : number[l];
          lane[l] = scale_of(static_cast<uint8_t>(number[l]), scales.nested, offset);
        }
        return load(lane);
      };
      const auto neighbour = [&](int k) {
        for (size_t l = 0; l < kLanes; ++l) number[l] = from[l] + k;
        return scales_at();
      };
      const Fit exact = exact_fit(panel, n, s);
      for (size_t l = 0; l < kLanes; ++l)
        lane[l] = scale_of(reference.code[at + (l < count ? l : 0)], reference.nested, offset);
      const Fit stored = {load(lane), F(0.0f)};
      F there(0.0f);
      for (size_t i = 0; i < n; ++i) {
        const F d = panel[i] - value(code(panel[i], exact), stored);
        there = there + d * d;
      }
      const auto trial_fit = [&](F scale) {
        Fit fit = fit_of(scale);
        fit.divide = exact.divide;
        return fit;
      };

      const F step = abs(neighbour(1) - neighbour(-1));
      const F scale = neighbour(0);
      I chosen = load(number);
      Fit fit = anchored ? exact : trial_fit(scale);
      F error = anchored ? there : error_of<Nf4Dq>(panel, n, fit);
      const M all = step == step;  // every lane
      // Where the largest value takes an inner level the scale may not be found again from the decoded values.
      const F longest = absmax_of(panel, n) * F(anchored ? 1.15f : 0x1p60f);
      const auto offer = [&](F trial, M where) {
        const Fit other = trial_fit(trial);
        const F e = error_of<Nf4Dq>(panel, n, other);
        const M better = where & (F(0.0f) < trial) & (trial < longest) & beats(e, error);
        fit.scale = select(better, trial, fit.scale);
        fit.inverse = select(better, other.inverse, fit.inverse);
        error = select(better, e, error);
        chosen = select(better, load(number), chosen);
      };
      if (anchored) {
        offer(scale, all);
        for (const int k : {0, -1, 1}) {
          for (size_t l = 0; l < kLanes; ++l)
            number[l] = nearest((scales.wanted[at + (l < count ? l : 0)] - offset) / scales.nested) + k;
          offer(scales_at(), all);
        }
      }
      // Where the map is fine the nearest code is as good as any; where it is coarse more of them are worth a
      // look.
      const M some = abs(scale) * F(0.02f) < step, many = abs(scale) * F(0.04f) < step;
      if (!none(some)) {
        for (const int k : {-1, 1}) offer(neighbour(k), some);
      }
      if (!anchored && !none(many)) {
        // The scale may have to be so large that the block's largest value takes an inner level.
        alignas(64) float largest[kLanes];
        store(absmax_of(panel, n), largest);
        for (const float level : kNf4.level) {
          if (level == 0.0f) continue;
          for (size_t l = 0; l < kLanes; ++l)
            number[l] = nearest((largest[l] / std::fabs(level) - offset) / scales.nested);
          offer(scales_at(), many);
        }
      }
      write_codes(panel, n, fit, s.group / 2, count, codes + b * s.group / 2);
      store(chosen, number);
      for (size_t l = 0; l < count; ++l) codes_of[l] = static_cast<uint8_t>(number[l]);
      sum.worse = sum.worse || !none(there < error);
      store(error, lane);
      for (size_t l = 0; l < count; ++l) sum.mine += lane[l];
      store(there, lane);
      for (size_t l = 0; l < count; ++l) sum.reference += lane[l];
    });
    return sum;
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
        Scales reference, scales;
        reference.count = scales.count = last - first;
        const Scales* chosen = &reference;
        if (coding.encoder == Encoder::kReference) {
          reference_super(row, cols, first, last, s, offset, reference, out, panel);
        } else {
          bool usable = true;
          double least = 0, power = 0;  // what the wanted scales leave, and the values' own squares
          for_lanes(first, last, cols, s, [&](size_t b, size_t count, size_t n) {
            load_blocks(row + b * s.group, s.group, count, n, panel);
            const Fit fit = exact_fit(panel, n, s);
            const F absmax = absmax_of(panel, n);
            usable = usable && none(!(in_reach(absmax) | (absmax == F(0.0f))));
            alignas(64) float lane[kLanes];
            store(fit.scale, lane);
            for (size_t l = 0; l < count; ++l) reference.wanted[b - first + l] = lane[l];
            const F wanted = select(absmax == F(0.0f), F(0.0f), search_nf4_scale(panel, n, absmax, false));
            store(wanted, lane);
            for (size_t l = 0; l < count; ++l) scales.wanted[b - first + l] = lane[l];
            const Fit fit_wanted = fit_of(wanted);
            F left(0.0f), squares(0.0f);
            for (size_t i = 0; i < n; ++i) {
              const F d = panel[i] - value(code(panel[i], fit_wanted), fit_wanted);
              left = left + d * d;
              squares = squares + panel[i] * panel[i];
            }
            store(left, lane);
            for (size_t l = 0; l < count; ++l) least += lane[l];
            store(squares, lane);
            for (size_t l = 0; l < count; ++l) power += lane[l];
          });
          quantize_as_reference(reference, offset);
          bool better = false;
          // The f32 that suits the wanted scales best, if no block pays for the others; else the reference's.
          for (const bool anchored : {false, true}) {
            if (!usable || better) break;
            // Of many blocks one always pays, so the first is only for few, and for values that were coded like this before.
            if (!anchored && scales.count > kFew && least > power * 1e-9) continue;
            if (anchored) {
              std::memcpy(scales.code, reference.code, scales.count);
              scales.nested = reference.nested;
            } else {
              quantize(scales, offset);
            }
            Errors e = best_super(row, cols, first, last, s, offset, scales, reference, anchored, out, panel);
            // Values that were coded like this before keep theirs to the last bit.
            const bool close = !anchored && e.mine != 0 && e.mine < power * 1e-9;
            for (size_t k = 0; close && k < kRecoveries && e.mine != 0; ++k) {
              Scales guess = scales;
              recover(guess, offset, k);
              e = best_super(row, cols, first, last, s, offset, guess, reference, false, out, panel);
              if (e.mine == 0) scales = guess;
            }
            better = !e.worse && e.mine < e.reference * (1 - 1e-5) && (!close || e.mine == 0);
          }
          if (better) {
            chosen = &scales;
          } else {
            reference_super(row, cols, first, last, s, offset, reference, out, panel);
          }
        }
        std::memcpy(out + s.scales_at + first, chosen->code, chosen->count);
        std::memcpy(out + s.nested_at + 4 * g, &chosen->nested, 4);
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
