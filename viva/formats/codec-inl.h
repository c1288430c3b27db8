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

  // Up to kLanes groups of the same length, from anywhere, waiting to be coded together.
  struct Batch {
    static constexpr bool kWhole = false, kPairs = false;
    static constexpr size_t kTogether = 1;
    size_t count = 0, n = 0;
    float* values[kLanes] = {};
    uint8_t* row[kLanes] = {};  // the packed row of the group
    size_t index[kLanes] = {};  // the group's number in its row

    // Lanes without a group repeat the first.
    size_t lane(size_t l) const { return l < count ? l : 0; }
    float* x(size_t l) const { return values[lane(l)]; }
    uint8_t* codes(const Sizes& s, size_t l) const { return row[lane(l)] + s.codes_offset(index[lane(l)]); }
    uint8_t* field(const Sizes& s, size_t f, size_t l) const {
      return row[lane(l)] + s.field_offset(index[lane(l)], f);
    }
  };

  // kLanes groups of the format's own length, one after the other in one row: the first one's place tells the others'.
  struct Run {
    static constexpr bool kWhole = true;
    static constexpr size_t count = kLanes, n = Fmt::kGroup, kGroupBytes = n * Fmt::kCodeBits / 8;
    // The fields of this many lanes lie side by side.
    static constexpr size_t kTogether = !Fmt::kInterleaved ? kLanes : kLanes % kPerBlock == 0 ? kPerBlock : 1;
    // So do the eight bytes of codes of every two lanes.
    static constexpr bool kPairs = kGroupBytes == 8 && kTogether % 2 == 0;
    float* values;
    uint8_t *first_codes, *first_field[kMaxFields];

    Run(float* x, uint8_t* row, size_t index, const Sizes& s) : values(x), first_codes(row + s.codes_offset(index)) {
      for (size_t f = 0; f < s.fields; ++f) first_field[f] = row + s.field_offset(index, f);
    }
    float* x(size_t l) const { return values + l * n; }
    uint8_t* codes(const Sizes& s, size_t l) const {
      if constexpr (!Fmt::kInterleaved) return first_codes + l * kGroupBytes;
      return first_codes + l / kPerBlock * s.block_bytes + l % kPerBlock * kGroupBytes;
    }
    uint8_t* field(const Sizes& s, size_t f, size_t l) const {
      if constexpr (!Fmt::kInterleaved) return first_field[f] + l * s.field_bytes[f];
      return first_field[f] + l / kPerBlock * s.block_bytes + l % kPerBlock * s.fields_bytes;
    }
  };

  static constexpr bool kRuns = Fmt::kGroup != 0 && (kPerBlock == 1 || kLanes % kPerBlock == 0);

  // Calls `begin` and `end` for all groups, in whole runs and, for what is left of the rows, in batches. The next run
  // begins before one ends, so that nothing waits for the divisions of a scale; `turn` tells the two apart.
  template <class Begin, class End>
  static void for_groups(float* x, uint8_t* packed, size_t rows, size_t cols, const Sizes& s, Begin begin,
                         End end) {
    Batch batch;
    const auto flush = [&] {
      begin(batch, 0);
      end(batch, 0);
      batch.count = 0;
    };
    const size_t in_runs = kRuns && s.group == Fmt::kGroup ? cols / s.group / kLanes * kLanes : 0;
    for (size_t r = 0; r < rows; ++r, x += cols, packed += s.row_bytes) {
      if constexpr (kRuns) {
        for (size_t g = 0; in_runs != 0 && g <= in_runs; g += kLanes) {
          const size_t turn = g / kLanes % 2;
          if (g < in_runs) begin(Run(x + g * s.group, packed, g, s), turn);
          if (g != 0) end(Run(x + (g - kLanes) * s.group, packed, g - kLanes, s), 1 - turn);
        }
      }
      for (size_t g = in_runs; g < s.groups; ++g) {
        const size_t n = g + 1 < s.groups ? s.group : cols - g * s.group;
        if (batch.count == kLanes || (batch.count != 0 && n != batch.n)) flush();
        batch.n = n;
        batch.values[batch.count] = x + g * s.group;
        batch.row[batch.count] = packed;
        batch.index[batch.count] = g;
        ++batch.count;
      }
    }
    if (batch.count != 0) flush();
  }

  template <class B>
  static VIVA_INL void load_panel(const B& b, const Sizes& s, F* x) {
    const auto p = by_lane([&](size_t l) VIVA_INL_LAMBDA { return static_cast<const float*>(b.x(l)); });
    const size_t n = b.n;
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

  // Values of a group that a panel has room for.
  static size_t panel_values(const Sizes& s) { return round_up(s.group, 8); }

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

  // Calls f with the field's size as a constant.
  template <class Call>
  static VIVA_INL void with_bytes(size_t bytes, Call f) {
    if (bytes == 1) return f(std::integral_constant<int, 1>());
    if (bytes == 2) return f(std::integral_constant<int, 2>());
    f(std::integral_constant<int, 4>());
  }
  template <class B>
  static VIVA_INL void store_field(const B& b, const Sizes& s, size_t f, I field) {
    with_bytes(s.field_bytes[f], [&](auto bytes) VIVA_INL_LAMBDA {
      if constexpr (B::kTogether == kLanes) {
        store_low<bytes()>(field, b.field(s, f, 0));
      } else if constexpr (B::kTogether > 1) {
        alignas(64) uint8_t low[4 * kLanes];
        store_low<bytes()>(field, low);
        for (size_t l = 0; l < kLanes; l += B::kTogether) {
          std::memcpy(b.field(s, f, l), low + l * bytes(), B::kTogether * bytes());
        }
      } else {
        alignas(64) int32_t lane[kLanes];
        store(field, lane);
        for (size_t l = 0; l < kLanes && l < b.count; ++l) std::memcpy(b.field(s, f, l), &lane[l], bytes());
      }
    });
  }
  template <class B>
  static VIVA_INL I load_field(const B& b, const Sizes& s, size_t f) {
    I field(0);
    with_bytes(s.field_bytes[f], [&](auto bytes) VIVA_INL_LAMBDA {
      if constexpr (B::kTogether == kLanes) {
        field = load_low<bytes()>(b.field(s, f, 0));
      } else if constexpr (B::kTogether == 4) {
        field = load_low_blocks<bytes()>(by_lane([&](size_t l) VIVA_INL_LAMBDA { return b.field(s, f, l); }));
      } else {
        alignas(64) int32_t lane[kLanes] = {};
        for (size_t l = 0; l < kLanes; ++l) std::memcpy(&lane[l], b.field(s, f, l), bytes());
        field = load(lane);
      }
    });
    return field;
  }

  template <class M, class B>
  static VIVA_INL void write(const B& b, const F* x, const Fit& fit, const Sizes& s, const Coding& coding) {
    I field[kMaxFields];
    Fmt::store(fit, coding, field);
    for (size_t f = 0; f < s.fields; ++f) store_field(b, s, f, field[f]);
    const size_t n = coded(b.n, s);
    const size_t total = ceil_div(n * Fmt::kCodeBits, 8);
    const auto codes = by_lane([&](size_t l) VIVA_INL_LAMBDA { return b.codes(s, l); });
    size_t w = 0;
    if (b.count == kLanes) {
      for (; 4 * w + 16 <= total; w += 4) {
        const I v[4] = {word<M>(x, w, n, fit), word<M>(x, w + 1, n, fit), word<M>(x, w + 2, n, fit),
                        word<M>(x, w + 3, n, fit)};
        store_words4(v, codes, 4 * w);
      }
    }
    if constexpr (B::kPairs) {
      store_words2(word<M>(x, 0, n, fit), word<M>(x, 1, n, fit), codes);
      w = 2;
    }
    for (; 4 * w < total; ++w) {
      alignas(64) int32_t lane[kLanes];
      store(word<M>(x, w, n, fit), lane);
      for (size_t l = 0; l < kLanes && l < b.count; ++l) {
        std::memcpy(codes[l] + 4 * w, &lane[l], total - 4 * w < 4 ? total - 4 * w : 4);
      }
    }
  }

  template <Encoder kEncoder>
  static VIVA_INL Fit fit_of(const F* x, size_t n, const Coding& coding) {
    if constexpr (kEncoder == Encoder::kExact) return Fmt::exact(x, n, coding);
    if constexpr (kEncoder == Encoder::kBest) return Fmt::best(x, n, coding);
    return Fmt::reference(x, n, coding);
  }

  static void encode(const float* x, size_t rows, size_t cols, const Coding& coding, uint8_t* packed,
                     float* scratch) noexcept {
    const Sizes s(cols, coding);
    if (rows != 0 && needs_padding(s, cols)) std::memset(packed, 0, rows * s.row_bytes);
    with_make(coding, [&](auto make) {
      Fit fit[2];
      F* const panel[2] = {reinterpret_cast<F*>(scratch), reinterpret_cast<F*>(scratch) + panel_values(s)};
      for_groups(
          const_cast<float*>(x), packed, rows, cols, s,
          [&](const auto& b, size_t turn) {
            load_panel(b, s, panel[turn]);
            fit[turn] = fit_of<make.kEncoder>(panel[turn], b.n, coding);
          },
          [&](const auto& b, size_t turn) { write<decltype(make)>(b, panel[turn], fit[turn], s, coding); });
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

  // The values of a word: four that follow each other in the group, and four more of 4-bit codes.
  static constexpr size_t kWordValues = 32 / Fmt::kCodeBits;
  static VIVA_INL void expand(I w, const Fit& fit, F* v) {
    if constexpr (Fmt::kCodeBits == 8) {
      const auto byte = [&](I c) VIVA_INL_LAMBDA {
        c = c & I(255);
        if constexpr (kSigned) c = select(c < I(128), c, c - I(256));
        return value(c, fit);
      };
      v[0] = byte(w), v[1] = byte(shr<8>(w)), v[2] = byte(shr<16>(w)), v[3] = byte(shr<24>(w));
    } else {
      const auto nibble = [&](I c) VIVA_INL_LAMBDA { return value(c & I(15), fit); };
      // Where the value of nibble i goes.
      const auto at = [](size_t i) {
        return Fmt::kOrder == Order::kHalves ? i / 2 + i % 2 * 4 : Fmt::kOrder == Order::kHighFirst ? i ^ 1 : i;
      };
      v[at(0)] = nibble(w), v[at(1)] = nibble(shr<4>(w)), v[at(2)] = nibble(shr<8>(w)), v[at(3)] = nibble(shr<12>(w));
      v[at(4)] = nibble(shr<16>(w)), v[at(5)] = nibble(shr<20>(w)), v[at(6)] = nibble(shr<24>(w));
      v[at(7)] = nibble(shr<28>(w));
    }
  }
  // Calls put(v, k) with the values k..k+3 of word w.
  template <class Put>
  static VIVA_INL void expand(I word, size_t w, size_t n, const Fit& fit, Put put) {
    constexpr bool kHalves = Fmt::kOrder == Order::kHalves;
    F v[kWordValues];
    expand(word, fit, v);
    put(v, kHalves ? 4 * w : kWordValues * w);
    if constexpr (kWordValues == 8) put(v + 4, kHalves ? n / 2 + 4 * w : kWordValues * w + 4);
  }

  template <class B, class Put>
  static VIVA_INL void read(const B& b, const Sizes& s, const Coding& coding, Put put) {
    const auto codes = by_lane([&](size_t l) VIVA_INL_LAMBDA { return static_cast<const uint8_t*>(b.codes(s, l)); });
    I field[kMaxFields];
    for (size_t f = 0; f < s.fields; ++f) field[f] = load_field(b, s, f);
    const Fit fit = Fmt::load(field, coding);
    const size_t n = coded(b.n, s);
    const size_t total = ceil_div(n * Fmt::kCodeBits, 8);
    size_t w = 0;
    for (; 4 * w + 16 <= total; w += 4) {
      I v[4];
      load_words4(codes, 4 * w, v);
      for (int i = 0; i < 4; ++i) expand(v[i], w + i, n, fit, put);
    }
    if constexpr (B::kPairs) {
      I v[2];
      load_words2(codes, v);
      for (; w < 2; ++w) expand(v[w], w, n, fit, put);
    }
    for (; 4 * w < total; ++w) {
      alignas(64) int32_t lane[kLanes];
      for (size_t l = 0; l < kLanes; ++l) {
        lane[l] = 0;
        std::memcpy(&lane[l], codes[l] + 4 * w, total - 4 * w < 4 ? total - 4 * w : 4);
      }
      expand(load(lane), w, n, fit, put);
    }
  }

  static void decode(const uint8_t* packed, size_t rows, size_t cols, const Coding& coding, float* x,
                     float* scratch) noexcept {
    const Sizes s(cols, coding);
    for_groups(
        x, const_cast<uint8_t*>(packed), rows, cols, s, [](const auto&, size_t) {},
        [&](const auto& b, size_t) { expand_groups(b, s, coding, reinterpret_cast<F*>(scratch)); });
  }
  template <class B>
  static VIVA_INL void expand_groups(const B& b, const Sizes& s, const Coding& coding, F* panel) {
    const auto out = by_lane([&](size_t l) VIVA_INL_LAMBDA { return b.x(l); });
    if constexpr (B::kWhole) {
      // Lines that are written in pieces, many at a time, are fetched early: the next run's.
      for (size_t k = 0; k < kLanes * B::n; k += 16) __builtin_prefetch(out[kLanes] + k, 1);
      if constexpr (B::n % kWordValues == 0) {
        return read(b, s, coding, [&](const F* v, size_t k) VIVA_INL_LAMBDA { store_transposed4(v, out, k); });
      }
    }
    read(b, s, coding,
         [&](const F* v, size_t k) VIVA_INL_LAMBDA { std::memcpy(static_cast<void*>(panel + k), v, 4 * sizeof(F)); });
    size_t k = 0;
    if (b.count == kLanes) {
      for (; k < b.n / 4 * 4; k += 4) store_transposed4(panel + k, out, k);
    }
    for (; k < b.n; ++k) {
      alignas(64) float lane[kLanes];
      store(panel[k], lane);
      for (size_t l = 0; l < kLanes && l < b.count; ++l) out[l][k] = lane[l];
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
    return kLanes * panel_values(s) * (kRuns ? 2 : 1);
  }

  static constexpr FormatCode kCode = {&scratch, &observe, &encode, &decode};
};

VIVA_LANES_CLOSE
