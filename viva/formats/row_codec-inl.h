// The driver of formats whose group is the whole row, or that have no group (f16): vectors run along the row,
// one row after the other, so that a row stays in the first-level cache. Included like codec-inl.h.
//
// The struct is that of codec-inl.h with kAlongRow = true, and
//   - x points to the row as `n` vectors, padded with zeros to whole kRowLanes; the lanes of a Fit are all
//   equal
//   - sums go through row_sums, which has one order of additions for every target
//   - kCodeBits is 8, 16 or 32; code gives an I, or an integer-valued F for 8 bits; value takes an I.

VIVA_LANES_OPEN

inline constexpr size_t kRowLanes = 16;

// out[k] = sum over i < n of what term(i, acc) adds to acc[k]. Sixteen partial sums, then a tree: what the
// widest target does naturally, the narrower ones do in turns.
template <size_t K, class Term>
VIVA_INL void row_sums(size_t n, F (&out)[K], Term term) {
  constexpr size_t kTurns = kRowLanes / kLanes;
  F acc[kTurns][K];
  for (auto& turn : acc) {
    for (F& a : turn) a = F(0.0f);
  }
  for (size_t i = 0; i < n; i += kTurns) {
    for (size_t t = 0; t < kTurns; ++t) term(i + t, acc[t]);
  }
  for (size_t k = 0; k < K; ++k) {
    alignas(64) float s[kRowLanes];
    for (size_t t = 0; t < kTurns; ++t) store(acc[t][k], s + t * kLanes);
    for (size_t half = kRowLanes / 2; half != 0; half /= 2) {
      for (size_t j = 0; j < half; ++j) s[j] = s[j] + s[j + half];
    }
    out[k] = F(s[0]);
  }
}

// The largest magnitude of what was added, in every lane.
struct Absmax {
  static constexpr size_t kTurns = kRowLanes / kLanes;
  F m[kTurns];

  VIVA_INL Absmax() {
    for (F& a : m) a = F(0.0f);
  }
  // kTurns vectors.
  VIVA_INL void add(const F* x) {
    for (size_t t = 0; t < kTurns; ++t) m[t] = max(m[t], abs(x[t]));
  }
  VIVA_INL F value() const {
    alignas(64) float s[kRowLanes];
    for (size_t t = 0; t < kTurns; ++t) store(m[t], s + t * kLanes);
    float a = 0.0f;
    for (float v : s) a = v > a ? v : a;
    return F(a);
  }
};
VIVA_INL F row_absmax(const F* x, size_t n) {
  Absmax a;
  for (size_t i = 0; i < n; i += Absmax::kTurns) a.add(x + i);
  return a.value();
}

template <class Fmt>
struct RowCodec {
  using Groups = Codec<Fmt>;
  using Fit = typename Fmt::Fit;
  using Sizes = typename Groups::Sizes;
  static constexpr int kBytes = Fmt::kCodeBits / 8;

  template <class M>
  static VIVA_INL void write_codes(const F* x, size_t cols, const Fit& fit, uint8_t* out) {
    const auto code = [&](size_t i) VIVA_INL_LAMBDA {
      const auto c = M::code(x[i], fit);
      if constexpr (std::is_same_v<decltype(c), const F>) {
        return low_bits(c);
      } else {
        return c;
      }
    };
    size_t k = 0;
    for (; k + kLanes <= cols; k += kLanes) store_low<kBytes>(code(k / kLanes), out + k * kBytes);
    if (k < cols) {
      alignas(64) uint8_t last[kLanes * 4];
      store_low<kBytes>(code(k / kLanes), last);
      std::memcpy(out + k * kBytes, last, (cols - k) * kBytes);
    }
  }

  template <Encoder kEncoder, DType kArithmetic>
  static void encode_rows(const float* x, size_t rows, size_t cols, const Coding& coding, uint8_t* packed,
                          float* row) {
    const Sizes s(cols, coding);
    const size_t padded = round_up(cols, kRowLanes);
    for (size_t k = cols; k < padded; ++k) row[k] = 0.0f;
    // Rows that are aligned and need no padding are read where they lie.
    const bool in_place = cols == padded && reinterpret_cast<uintptr_t>(x) % 64 == 0;
    for (size_t r = 0; r < rows; ++r, packed += s.row_bytes) {
      const F* v = reinterpret_cast<const F*>(in_place ? x + r * cols : row);
      if (!in_place) std::memcpy(row, x + r * cols, cols * sizeof(float));
      const size_t n = padded / kLanes;
      const Fit fit = kEncoder == Encoder::kBest ? Fmt::best(v, n, coding) : Fmt::reference(v, n, coding);
      I field[Groups::kMaxFields];
      Fmt::store(fit, coding, field);
      for (size_t f = 0; f < s.fields; ++f) {
        const int32_t bits = first(field[f]);
        std::memcpy(packed + s.field_offset(0, f), &bits, s.field_bytes[f]);
      }
      // Where the search found nothing better, the reference's own codes are never worse than itself.
      if constexpr (kEncoder == Encoder::kBest && requires { fit.as_reference; }) {
        if (fit.as_reference) {
          Groups::with_arithmetic(coding,
                                  [&](auto make) { write_codes<decltype(make)>(v, cols, fit, packed); });
          continue;
        }
      }
      write_codes<typename Groups::template Make<kEncoder, kArithmetic>>(v, cols, fit, packed);
    }
  }

  static void encode(const float* x, size_t rows, size_t cols, const Coding& coding, uint8_t* packed,
                     float* scratch) noexcept {
    if (cols == 0) return;
    Groups::with_make(coding, [&](auto make) {
      encode_rows<make.kEncoder, make.kArithmetic>(x, rows, cols, coding, packed, scratch);
    });
  }

  static void decode(const uint8_t* packed, size_t rows, size_t cols, const Coding& coding, float* x,
                     float*) noexcept {
    if (cols == 0) return;
    const Sizes s(cols, coding);
    for (size_t r = 0; r < rows; ++r, packed += s.row_bytes, x += cols) {
      I field[Groups::kMaxFields];
      for (size_t f = 0; f < s.fields; ++f) {
        int32_t bits = 0;
        std::memcpy(&bits, packed + s.field_offset(0, f), s.field_bytes[f]);
        field[f] = I(bits);
      }
      const Fit fit = Fmt::load(field, coding);
      const auto value = [&](const uint8_t* p) VIVA_INL_LAMBDA {
        I c = load_low<kBytes>(p);
        if constexpr (Groups::kSigned) c = (c ^ I(128)) - I(128);
        return Groups::value(c, fit);
      };
      size_t k = 0;
      for (; k + kLanes <= cols; k += kLanes) store(value(packed + k * kBytes), x + k);
      if (k < cols) {
        alignas(64) uint8_t last[kLanes * 4] = {};
        alignas(64) float tail[kLanes];
        std::memcpy(last, packed + k * kBytes, (cols - k) * kBytes);
        store(value(last), tail);
        std::memcpy(x + k, tail, (cols - k) * sizeof(float));
      }
    }
  }

  static size_t scratch(size_t cols, const Coding&) noexcept { return round_up(cols, kRowLanes); }

  static constexpr FormatCode kCode = {&scratch, &Groups::observe, &encode, &decode};
};

// A struct whose bytes fit neither driver brings its own code, kCode.
template <class Fmt>
constexpr const FormatCode* code_of() {
  if constexpr (requires { Fmt::kCode; }) {
    return &Fmt::kCode;
  } else if constexpr (requires { Fmt::kAlongRow; }) {
    return &RowCodec<Fmt>::kCode;
  } else {
    return &Codec<Fmt>::kCode;
  }
}

VIVA_LANES_CLOSE
