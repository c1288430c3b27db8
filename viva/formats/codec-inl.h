// The driver that turns a format's struct into FormatCode: gathers groups into lanes, calls the struct, scatters bytes.
// Like lanes-inl.h it is included once per SIMD target and once for the scalar twin.
//
// A struct over lanes (one lane, one group) has
//   kName, kSummary, kGroup (0: the row), kCodeBits (4 or 8), kOrder, kInterleaved
//   struct Fit                              what a group needs besides its codes
//   fields(coding)                          the stored parts of a Fit: role and dtype, in order
//   reference(x, n, coding), best(...)      choose a Fit for x[0..n)
//   code(x, fit), value(code, fit)          a code (I, or an integer-valued F), and what it stands for
//   store(fit, coding, I*), load(I*, coding)   fields as bits (the low bytes of each lane)
// and may have kGroups, kGgufType, kRowPanel, kSignedScale, kCodesAlign, kCodesType, kPerBlock, observe, share,
// exact(x, n, coding), a Fit that gives values of its grid back, and reference_code<dtype>(x, fit) where the reference's
// codes are not `code`: its quotients are rounded to that dtype.

VIVA_LANES_OPEN

template <class Fmt>
struct Codec {
  using Fit = typename Fmt::Fit;
  static constexpr size_t kMaxFields = 4;
  static constexpr bool kSigned = requires { Fmt::kSignedCodes; };  // 8-bit codes are two's complement

  // Interleaved formats may put the fields of several groups before their codes (NVFP4 of ggml: four).
  static constexpr size_t per_block() {
    if constexpr (requires { Fmt::kPerBlock; }) return Fmt::kPerBlock;
    return 1;
  }
  static constexpr size_t kPerBlock = per_block();

  struct Sizes {
    size_t group, groups, codes_bytes, fields, fields_bytes, block_bytes, row_bytes;
    size_t field_bytes[kMaxFields] = {}, field_at[kMaxFields] = {};

    Sizes(size_t cols, const Coding& coding) {
      group = coding.group != 0 ? coding.group : Fmt::kGroup;
      if (group == 0) group = cols;
      groups = cols == 0 ? 0 : ceil_div(cols, group);
      const auto list = Fmt::fields(coding);
      fields = list.size();
      fields_bytes = 0;
      for (size_t f = 0; f < fields; ++f) {
        field_bytes[f] = bytes(list[f].dtype);
        field_at[f] = fields_bytes;
        fields_bytes += field_bytes[f];
      }
      if constexpr (Fmt::kInterleaved) {
        block_bytes = kPerBlock * (fields_bytes + ceil_div(group * Fmt::kCodeBits, 8));
        codes_bytes = ceil_div(groups, kPerBlock) * block_bytes;
        row_bytes = codes_bytes;
      } else {
        block_bytes = 0;
        codes_bytes = ceil_div(cols * Fmt::kCodeBits, 8);
        if constexpr (requires { Fmt::kCodesAlign; }) codes_bytes = round_up(codes_bytes, Fmt::kCodesAlign);
        row_bytes = codes_bytes;
        for (size_t f = 0; f < fields; ++f) {
          field_at[f] = row_bytes;
          row_bytes += groups * field_bytes[f];
        }
      }
    }
    size_t codes_offset(size_t g) const {
      if (!Fmt::kInterleaved) return g * group * Fmt::kCodeBits / 8;
      return g / kPerBlock * block_bytes + kPerBlock * fields_bytes + g % kPerBlock * (group * Fmt::kCodeBits / 8);
    }
    size_t field_offset(size_t g, size_t f) const {
      if (!Fmt::kInterleaved) return field_at[f] + g * field_bytes[f];
      return g / kPerBlock * block_bytes + g % kPerBlock * fields_bytes + field_at[f];
    }
  };

  // Up to kLanes groups of the same length, waiting to be coded together.
  struct Batch {
    size_t count = 0, n = 0;
    const float* x[kLanes] = {};
    float* out[kLanes] = {};
    uint8_t* packed[kLanes] = {};  // the group's row
    size_t index[kLanes] = {};     // the group's number in its row
  };

  // Calls `flush` for every full batch, in order.
  template <class Add, class Flush>
  static void for_groups(size_t rows, size_t cols, const Sizes& s, Add add, Flush flush) {
    Batch batch;
    for (size_t r = 0; r < rows; ++r) {
      for (size_t g = 0; g < s.groups; ++g) {
        const size_t n = g + 1 < s.groups ? s.group : cols - g * s.group;
        if (batch.count == kLanes || (batch.count != 0 && n != batch.n)) {
          flush(batch);
          batch.count = 0;
        }
        batch.n = n;
        batch.index[batch.count] = g;
        add(batch, batch.count, r, g);
        ++batch.count;
      }
    }
    if (batch.count != 0) flush(batch);
  }

  static VIVA_INL void load_panel(const Batch& b, size_t n, const Sizes& s, F* x) {
    const float* p[kLanes];
    for (size_t l = 0; l < kLanes; ++l) p[l] = b.x[l < b.count ? l : 0];
    // Eight rows at a time are more than the processor's own prefetcher follows.
    constexpr size_t kLine = 16, kAhead = 1024;
    for (size_t l = 0; l < kLanes; ++l) {
      for (size_t k = 0; k < n; k += kLine) __builtin_prefetch(p[l] + kAhead + k);
    }
    size_t k = 0;
    for (; k < n / 4 * 4; k += 4) load_transposed4(p, k, x + k);
    for (; k < n; ++k) {
      alignas(64) float lane[kLanes];
      for (size_t l = 0; l < kLanes; ++l) lane[l] = p[l][k];
      x[k] = load(lane);
    }
    std::memset(static_cast<void*>(x + n), 0, (round_up(coded(n, s), 8) - n) * sizeof(F));
  }

  // Codes stored for a group of n values: halves are always laid out for a whole group.
  static size_t coded(size_t n, const Sizes& s) { return Fmt::kOrder == Order::kHalves ? s.group : n; }

  // Which of the struct's functions makes the codes.
  template <Encoder kE, DType kA>
  struct Make {
    static constexpr Encoder kEncoder = kE;
    static constexpr DType kArithmetic = kA;
    static VIVA_INL auto code(F x, const Fit& fit) {
      if constexpr (kEncoder == Encoder::kReference && kOwnReference) {
        return Fmt::template reference_code<kArithmetic>(x, fit);
      } else {
        return Fmt::code(x, fit);
      }
    }
  };
  static constexpr bool kOwnReference =
      requires(F x, const Fit& fit) { Fmt::template reference_code<DType::kF32>(x, fit); };

  // Calls f(Make<..>()) with what `coding` asks for.
  template <class Call>
  static VIVA_INL void with_make(const Coding& coding, Call f) {
    if (coding.encoder == Encoder::kReference) return with_arithmetic(coding, f);
    if constexpr (requires(const F* x) { Fmt::exact(x, size_t{}, coding); }) {
      if (coding.encoder == Encoder::kExact) return f(Make<Encoder::kExact, DType::kF32>());
    }
    f(Make<Encoder::kBest, DType::kF32>());
  }
  template <class Call>
  static VIVA_INL void with_arithmetic(const Coding& coding, Call f) {
    if constexpr (kOwnReference) {
      if (coding.arithmetic == DType::kBF16) return f(Make<Encoder::kReference, DType::kBF16>());
      if (coding.arithmetic == DType::kF16) return f(Make<Encoder::kReference, DType::kF16>());
    }
    f(Make<Encoder::kReference, DType::kF32>());
  }

  // Word w of the codes of a group, in every lane.
  template <class M>
  static VIVA_INL I word(const F* x, size_t w, size_t n, const Fit& fit) {
    constexpr bool kBytes = Fmt::kCodeBits == 8, kHalves = Fmt::kOrder == Order::kHalves;
    constexpr size_t kSwap = Fmt::kOrder == Order::kHighFirst ? 1 : 0;
    const F* p = x + (kBytes || kHalves ? 4 * w : 8 * w);
    // The value whose code is number i from the low end of the word.
    const auto at = [&](size_t i) VIVA_INL_LAMBDA { return kHalves ? p[i / 2 + (i % 2) * (n / 2)] : p[i ^ kSwap]; };
    if constexpr (std::is_same_v<decltype(M::code(x[0], fit)), F>) {
      // Sixteen bits of codes are put together as an integer-valued float, signed bytes with 128 added.
      const auto half = [&](size_t i) VIVA_INL_LAMBDA {
        if constexpr (kBytes) {
          return bits(M::code(at(i), fit) + M::code(at(i + 1), fit) * F(256.0f) +
                      F(12582912.0f + (kSigned ? 128.0f * 257.0f : 0.0f)));
        } else {
          return bits(M::code(at(i), fit) + M::code(at(i + 1), fit) * F(16.0f) +
                      (M::code(at(i + 2), fit) + M::code(at(i + 3), fit) * F(16.0f)) * F(256.0f) + F(12582912.0f));
        }
      };
      const I v = (half(0) & I(0xffff)) | shl<16>(half(kBytes ? 2 : 4));
      if constexpr (kBytes && kSigned) return v ^ I(static_cast<int32_t>(0x80808080));
      return v;
    } else if constexpr (kBytes) {
      return (M::code(at(0), fit) & I(255)) | shl<8>(M::code(at(1), fit) & I(255)) |
             shl<16>(M::code(at(2), fit) & I(255)) | shl<24>(M::code(at(3), fit));
    } else {
      return M::code(at(0), fit) | shl<4>(M::code(at(1), fit)) | shl<8>(M::code(at(2), fit)) |
             shl<12>(M::code(at(3), fit)) | shl<16>(M::code(at(4), fit)) | shl<20>(M::code(at(5), fit)) |
             shl<24>(M::code(at(6), fit)) | shl<28>(M::code(at(7), fit));
    }
  }

  // The groups of a full batch follow each other in one row: so do the bytes of a field.
  static bool consecutive(const Batch& b) {
    return !Fmt::kInterleaved && b.count == kLanes && b.packed[0] == b.packed[kLanes - 1] &&
           b.index[kLanes - 1] == b.index[0] + kLanes - 1;
  }
  // A full batch of whole blocks, whose one field is put before the codes of all their groups.
  static bool whole_blocks(const Batch& b) {
    return kPerBlock > 1 && kLanes % kPerBlock == 0 && b.count == kLanes && b.index[0] % kPerBlock == 0 &&
           b.index[kLanes - 1] == b.index[0] + kLanes - 1 && b.packed[0] == b.packed[kLanes - 1];
  }
  // Calls f with the field's size as a constant.
  template <class Call>
  static VIVA_INL void with_bytes(size_t bytes, Call f) {
    if (bytes == 1) return f(std::integral_constant<int, 1>());
    if (bytes == 2) return f(std::integral_constant<int, 2>());
    f(std::integral_constant<int, 4>());
  }
  static VIVA_INL void store_field(const Batch& b, const Sizes& s, size_t f, I field) {
    with_bytes(s.field_bytes[f], [&](auto bytes) VIVA_INL_LAMBDA {
      if (consecutive(b)) return store_low<bytes()>(field, b.packed[0] + s.field_offset(b.index[0], f));
      if (whole_blocks(b)) {
        alignas(64) uint8_t low[4 * kLanes];
        store_low<bytes()>(field, low);
        for (size_t l = 0; l < kLanes; l += kPerBlock) {
          std::memcpy(b.packed[l] + s.field_offset(b.index[l], f), low + l * bytes(), kPerBlock * bytes());
        }
        return;
      }
      alignas(64) int32_t lane[kLanes];
      store(field, lane);
      for (size_t l = 0; l < kLanes && l < b.count; ++l) {
        std::memcpy(b.packed[l] + s.field_offset(b.index[l], f), &lane[l], bytes());
      }
    });
  }
  static VIVA_INL I load_field(const Batch& b, const Sizes& s, size_t f) {
    I field(0);
    with_bytes(s.field_bytes[f], [&](auto bytes) VIVA_INL_LAMBDA {
      if (consecutive(b)) {
        field = load_low<bytes()>(b.packed[0] + s.field_offset(b.index[0], f));
        return;
      }
      if (whole_blocks(b)) {
        alignas(64) uint8_t low[4 * kLanes];
        for (size_t l = 0; l < kLanes; l += kPerBlock) {
          std::memcpy(low + l * bytes(), b.packed[l] + s.field_offset(b.index[l], f), kPerBlock * bytes());
        }
        field = load_low<bytes()>(low);
        return;
      }
      alignas(64) int32_t lane[kLanes] = {};
      for (size_t l = 0; l < kLanes; ++l) {
        const size_t from = l < b.count ? l : 0;
        std::memcpy(&lane[l], b.packed[from] + s.field_offset(b.index[from], f), bytes());
      }
      field = load(lane);
    });
    return field;
  }

  template <class M>
  static VIVA_INL void write(const Batch& b, size_t values, const F* x, const Fit& fit, const Sizes& s, const Coding& coding) {
    I field[kMaxFields];
    Fmt::store(fit, coding, field);
    for (size_t f = 0; f < s.fields; ++f) store_field(b, s, f, field[f]);
    alignas(64) int32_t lane[kLanes];
    const size_t n = coded(values, s);
    const size_t total = ceil_div(n * Fmt::kCodeBits, 8);
    uint8_t* codes[kLanes];
    for (size_t l = 0; l < kLanes; ++l) {
      codes[l] = l < b.count ? b.packed[l] + s.codes_offset(b.index[l]) : nullptr;
    }
    size_t w = 0;
    if (b.count == kLanes) {
      for (; 4 * w + 16 <= total; w += 4) {
        const I v[4] = {word<M>(x, w, n, fit), word<M>(x, w + 1, n, fit), word<M>(x, w + 2, n, fit),
                        word<M>(x, w + 3, n, fit)};
        store_words4(v, codes, 4 * w);
      }
      for (; 4 * w + 8 <= total; w += 2) store_words2(word<M>(x, w, n, fit), word<M>(x, w + 1, n, fit), codes, 4 * w);
    }
    for (; 4 * w < total; ++w) {
      store(word<M>(x, w, n, fit), lane);
      for (size_t l = 0; l < kLanes && l < b.count; ++l) {
        std::memcpy(codes[l] + 4 * w, &lane[l], total - 4 * w < 4 ? total - 4 * w : 4);
      }
    }
  }

  template <Encoder kEncoder, DType kArithmetic>
  static VIVA_INL void code_groups(const Batch& b, size_t n, const Sizes& s, const Coding& coding, F* panel) {
    load_panel(b, n, s, panel);
    const auto fit_of = [&]() VIVA_INL_LAMBDA -> Fit {
      if constexpr (kEncoder == Encoder::kExact) return Fmt::exact(panel, n, coding);
      if constexpr (kEncoder == Encoder::kBest) return Fmt::best(panel, n, coding);
      return Fmt::reference(panel, n, coding);
    };
    const Fit fit = fit_of();
    write<Make<kEncoder, kArithmetic>>(b, n, panel, fit, s, coding);
  }

  template <Encoder kEncoder, DType kArithmetic>
  static void encode_groups(const float* x, size_t rows, size_t cols, const Coding& coding, uint8_t* packed,
                            float* scratch) {
    const Sizes s(cols, coding);
    F* panel = reinterpret_cast<F*>(scratch);
    for_groups(
        rows, cols, s,
        [&](Batch& b, size_t l, size_t r, size_t g) {
          b.x[l] = x + r * cols + g * s.group;
          b.packed[l] = packed + r * s.row_bytes;
        },
        [&](const Batch& b) {
          // Most groups have the format's own length: loops over a known length are unrolled.
          if (Fmt::kGroup != 0 && b.n == Fmt::kGroup) {
            code_groups<kEncoder, kArithmetic>(b, Fmt::kGroup, s, coding, panel);
          } else {
            code_groups<kEncoder, kArithmetic>(b, b.n, s, coding, panel);
          }
        });
  }

  static void encode(const float* x, size_t rows, size_t cols, const Coding& coding, uint8_t* packed,
                     float* scratch) noexcept {
    const Sizes s(cols, coding);
    if (rows != 0 && needs_padding(s, cols)) std::memset(packed, 0, rows * s.row_bytes);
    with_make(coding, [&](auto make) {
      encode_groups<make.kEncoder, make.kArithmetic>(x, rows, cols, coding, packed, scratch);
    });
  }
  static bool needs_padding(const Sizes& s, size_t cols) {
    return (Fmt::kInterleaved && cols % (kPerBlock * s.group) != 0) || (!Fmt::kInterleaved && s.codes_bytes != ceil_div(cols * Fmt::kCodeBits, 8));
  }

  static VIVA_INL F value(I c, const Fit& fit) {
    if constexpr (requires { Fmt::value(c, fit); }) {
      return Fmt::value(c, fit);
    } else {
      return Fmt::value(to_float(c), fit);
    }
  }

  // Value of code k of the words of a group (w: the word that holds it).
  static VIVA_INL void expand(I w, size_t at, size_t n, const Fit& fit, F* x) {
    const auto nibble = [&](I c) VIVA_INL_LAMBDA { return value(c & I(15), fit); };
    if constexpr (Fmt::kCodeBits == 8) {
      const auto byte = [&](I c) VIVA_INL_LAMBDA {
        c = c & I(255);
        if constexpr (kSigned) c = select(c < I(128), c, c - I(256));
        return value(c, fit);
      };
      F* p = x + 4 * at;
      p[0] = byte(w);
      p[1] = byte(shr<8>(w));
      p[2] = byte(shr<16>(w));
      p[3] = byte(shr<24>(w));
    } else if constexpr (Fmt::kOrder == Order::kHalves) {
      const size_t half = n / 2;
      F* p = x + 4 * at;
      p[0] = nibble(w), p[half] = nibble(shr<4>(w));
      p[1] = nibble(shr<8>(w)), p[half + 1] = nibble(shr<12>(w));
      p[2] = nibble(shr<16>(w)), p[half + 2] = nibble(shr<20>(w));
      p[3] = nibble(shr<24>(w)), p[half + 3] = nibble(shr<28>(w));
    } else {
      constexpr int kSwap = Fmt::kOrder == Order::kHighFirst ? 1 : 0;
      F* p = x + 8 * at;
      p[0 ^ kSwap] = nibble(w), p[1 ^ kSwap] = nibble(shr<4>(w));
      p[2 ^ kSwap] = nibble(shr<8>(w)), p[3 ^ kSwap] = nibble(shr<12>(w));
      p[4 ^ kSwap] = nibble(shr<16>(w)), p[5 ^ kSwap] = nibble(shr<20>(w));
      p[6 ^ kSwap] = nibble(shr<24>(w)), p[7 ^ kSwap] = nibble(shr<28>(w));
    }
  }

  static VIVA_INL void read(const Batch& b, size_t values, const Sizes& s, const Coding& coding, F* x) {
    I field[kMaxFields];
    alignas(64) int32_t lane[kLanes];
    const uint8_t* codes[kLanes];
    for (size_t l = 0; l < kLanes; ++l) {
      const size_t from = l < b.count ? l : 0;
      codes[l] = b.packed[from] + s.codes_offset(b.index[from]);
    }
    for (size_t f = 0; f < s.fields; ++f) field[f] = load_field(b, s, f);
    const Fit fit = Fmt::load(field, coding);
    const size_t n = coded(values, s);
    const size_t total = ceil_div(n * Fmt::kCodeBits, 8);
    size_t w = 0;
    for (; 4 * w + 16 <= total; w += 4) {
      I v[4];
      load_words4(codes, 4 * w, v);
      for (int i = 0; i < 4; ++i) expand(v[i], w + i, n, fit, x);
    }
    for (; 4 * w + 8 <= total; w += 2) {
      I v[2];
      load_words2(codes, 4 * w, v);
      expand(v[0], w, n, fit, x);
      expand(v[1], w + 1, n, fit, x);
    }
    for (; 4 * w < total; ++w) {
      for (size_t l = 0; l < kLanes; ++l) {
        lane[l] = 0;
        std::memcpy(&lane[l], codes[l] + 4 * w, total - 4 * w < 4 ? total - 4 * w : 4);
      }
      expand(load(lane), w, n, fit, x);
    }
  }

  static void decode(const uint8_t* packed, size_t rows, size_t cols, const Coding& coding, float* x,
                     float* scratch) noexcept {
    const Sizes s(cols, coding);
    F* panel = reinterpret_cast<F*>(scratch);
    for_groups(
        rows, cols, s,
        [&](Batch& b, size_t l, size_t r, size_t g) {
          b.out[l] = x + r * cols + g * s.group;
          b.packed[l] = const_cast<uint8_t*>(packed) + r * s.row_bytes;
        },
        [&](const Batch& b) {
          if (Fmt::kGroup != 0 && b.n == Fmt::kGroup) {
            expand_groups(b, Fmt::kGroup, s, coding, panel);
          } else {
            expand_groups(b, b.n, s, coding, panel);
          }
        });
  }
  static VIVA_INL void expand_groups(const Batch& b, size_t n, const Sizes& s, const Coding& coding, F* panel) {
    read(b, n, s, coding, panel);
    size_t k = 0;
    if (b.count == kLanes) {
      for (; k < n / 4 * 4; k += 4) store_transposed4(panel + k, b.out, k);
    }
    for (; k < n; ++k) {
      alignas(64) float lane[kLanes];
      store(panel[k], lane);
      for (size_t l = 0; l < kLanes && l < b.count; ++l) b.out[l][k] = lane[l];
    }
  }

  static void observe(const float* x, size_t rows, size_t cols, const Coding& coding, Observed& seen) noexcept {
    if constexpr (requires { Fmt::observe(x, rows, cols, coding, seen); }) {
      Fmt::observe(x, rows, cols, coding, seen);
    } else {
      const size_t n = rows * cols;
      F m(0.0f);
      size_t i = 0;
      for (; i + kLanes <= n; i += kLanes) m = max(m, abs(load(x + i)));
      alignas(64) float lane[kLanes];
      store(m, lane);
      for (size_t l = 0; l < kLanes; ++l) seen.absmax = lane[l] > seen.absmax ? lane[l] : seen.absmax;
      for (; i < n; ++i) seen.absmax = std::fabs(x[i]) > seen.absmax ? std::fabs(x[i]) : seen.absmax;
      seen.count += n;
    }
  }

  // Floats of scratch that encode and decode need.
  static size_t scratch(size_t cols, const Coding& coding) noexcept {
    const Sizes s(cols, coding);
    return kLanes * round_up(s.group, 8);
  }

  static constexpr FormatCode kCode = {&scratch, &observe, &encode, &decode};
};

VIVA_LANES_CLOSE
