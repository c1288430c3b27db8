// Fourier transforms against the sum that defines them, in long double.
#include "viva/ops/fft.h"

#include <numbers>

#include "linear.h"
#include "views.h"

namespace viva {
namespace {

using test::error_of;
using test::machine;
using test::other_strides;
using test::random_tensor;
using L = std::complex<long double>;
using Row = std::vector<L>;

constexpr DType kTypes[] = {DType::kF16, DType::kBF16, DType::kF32, DType::kF64, DType::kC64, DType::kC128};
// Powers, products, primes on both sides of where kissfft gives up, and twice such a prime.
constexpr int64_t kLengths[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 16, 25, 31, 37, 64, 67, 97, 100, 134, 210, 257, 1009};

Row twin(Row x, int64_t n, bool inverse, long double scale) {
  x.resize(static_cast<size_t>(n));
  Row out(x.size()), roots;
  for (int64_t i = 0; i < n; ++i) roots.push_back(std::polar(1.0L, (inverse ? 2 : -2) * std::numbers::pi_v<long double> * static_cast<long double>(i) / static_cast<long double>(n)));
  for (int64_t k = 0; k < n; ++k) {
    for (int64_t j = 0; j < n; ++j) out[static_cast<size_t>(k)] += x[static_cast<size_t>(j)] * roots[static_cast<size_t>(j * k % n)];
    out[static_cast<size_t>(k)] *= scale;
  }
  return out;
}
Row row_of(const Tensor& x) {
  Row out;
  for (const auto v : x.values<std::complex<double>>()) out.emplace_back(v);
  return out;
}
Row whole(Row half, int64_t n) {  // the Hermitian row that starts so
  half.resize(static_cast<size_t>(n / 2 + 1));
  Row out(static_cast<size_t>(n));
  for (int64_t j = 0; j < n; ++j) out[static_cast<size_t>(j)] = j <= n / 2 ? half[static_cast<size_t>(j)] : std::conj(half[static_cast<size_t>(n - j)]);
  out[0] = out[0].real();
  if (n % 2 == 0) out[static_cast<size_t>(n / 2)] = out[static_cast<size_t>(n / 2)].real();
  return out;
}

// How far a value may be from the twin's, as a part of the row's largest.
long double allowed(DType t, int64_t n) {
  const bool wide = t == DType::kF64 || t == DType::kC128;
  return (wide ? 0x1p-52L : 0x1p-23L) * (wide ? 4 + std::log2(static_cast<long double>(n)) : 1);
}
void expect_row(const Tensor& got, const Row& want, DType type, int64_t n, const std::string& what) {
  ASSERT_EQ(got.count(), static_cast<int64_t>(want.size())) << what;
  long double largest = 0, off = 0;
  const Row g = row_of(got);
  for (size_t k = 0; k < want.size(); ++k) largest = std::max(largest, std::abs(want[k])), off = std::max(off, std::abs(g[k] - want[k]));
  EXPECT_LE(off, largest * allowed(type, n)) << what;
}

DType complex_type(DType t) { return t == DType::kF64 || t == DType::kC128 ? DType::kC128 : DType::kC64; }
DType real_type(DType t) { return t == DType::kF64 || t == DType::kC128 ? DType::kF64 : DType::kF32; }

TEST(Fft, OneAxisIsTheSum) {
  std::mt19937_64 turns(1);
  for (const DType type : kTypes) {
    for (const int64_t n : kLengths) {
      const Tensor x = other_strides(random_tensor(machine(), {3, n, 2}, type, static_cast<uint64_t>(n)), turns);
      const long double by = 1 / static_cast<long double>(n);
      struct Case {
        const char* name;
        Tensor got;
        bool inverse, half_in, half_out, real_out;
        int64_t length;
      };
      std::vector<Case> cases = {{"fft", fft(x, {}, 1), false, false, false, false, n}, {"ifft", ifft(x, {}, 1), true, false, false, false, n}};
      if (!is_complex(type)) cases.push_back({"rfft", rfft(x, {}, -2), false, false, true, false, n}), cases.push_back({"ihfft", ihfft(x, {}, 1), true, false, true, false, n});
      if (n > 1) {
        cases.push_back({"irfft", irfft(x, {}, 1), true, true, false, true, 2 * (n - 1)});
        cases.push_back({"hfft", hfft(x, 2 * n - 1, 1), false, true, false, true, 2 * n - 1});
      }
      for (const Case& c : cases) {
        ASSERT_EQ(c.got.dtype(), c.real_out ? real_type(type) : complex_type(type));
        for (const int64_t i : {0, 2}) {
          Row row = row_of(x.select(0, i).select(1, 1));
          if (c.half_in) row = whole(row, c.length);
          Row want = twin(row, c.length, c.inverse, c.inverse ? 1 / static_cast<long double>(c.length) : 1);
          if (c.half_out) want.resize(static_cast<size_t>(c.length / 2 + 1));
          expect_row(c.got.select(0, i).select(1, 1), want, type, c.length, std::string(c.name) + " " + std::string(name(type)) + " " + std::to_string(n));
        }
      }
      if (n == 12) {
        const Row row = row_of(x.select(0, 0).select(1, 0));
        for (const int64_t m : {1, 5, 12, 40}) expect_row(fft(x, m, 1, FourierNorm::kOrtho).select(0, 0).select(1, 0), twin(row, m, false, 1 / std::sqrt(static_cast<long double>(m))), type, m, "cut");
        expect_row(fft(x, {}, 1, FourierNorm::kForward).select(0, 0).select(1, 0), twin(row, n, false, by), type, n, "forward");
        expect_row(ifft(x, {}, 1, FourierNorm::kForward).select(0, 0).select(1, 0), twin(row, n, true, 1), type, n, "forward");
      }
    }
  }
}

TEST(Fft, LongRowsComeBack) {
  for (const int64_t n : {1 << 18, 3 * 5 * 7 * 11 * 13 * 16, 100003}) {
    const Tensor x = random_tensor(machine(), {2, n}, DType::kC128, 5);
    EXPECT_LE(max(abs(ifft(fft(x)) - x)).item<double>(), 1e-14) << n;
    const Tensor r = random_tensor(machine(), {2, n}, DType::kF64, 6);
    EXPECT_LE(max(abs(irfft(rfft(r), n) - r)).item<double>(), 1e-14) << n;
    EXPECT_LE(max(abs(hfft(ihfft(r), n) - r)).item<double>(), 1e-14) << n;
  }
}

TEST(Fft, SeveralAxesAreOneAfterTheOther) {
  std::mt19937_64 turns(2);
  for (const DType type : kTypes) {
    const Tensor x = other_strides(random_tensor(machine(), {4, 5, 6}, type, 3), turns);
    const auto near = [&](const Tensor& a, const Tensor& b) {
      ASSERT_EQ(a.shape(), b.shape());
      ASSERT_EQ(a.dtype(), b.dtype());
      EXPECT_LE(max(abs(a - b)).item<double>(), static_cast<double>(allowed(type, 120)) * 200);
    };
    near(fftn(x), fft(fft(fft(x, {}, 2), {}, 1), {}, 0));
    near(fftn(x, Dims{3, 8}), fft(fft(x, 3, 1), 8, 2));
    near(fftn(x, {}, Dims{0}), fft(x, {}, 0));
    near(fftn(x, Dims{}, Dims{}), to(x, complex_type(type)));
    near(ifftn(x, Dims{7, 2}, Dims{2, 0}, FourierNorm::kOrtho), ifft(ifft(x, 7, 2, FourierNorm::kOrtho), 2, 0, FourierNorm::kOrtho));
    near(ifftn(fftn(x)), to(x, complex_type(type)));
    near(irfftn(x, Dims{4, 5, 9}), irfft(ifft(ifft(x, 4, 0), 5, 1), 9, 2));
    if (!is_complex(type)) {
      near(rfftn(x), fft(fft(rfft(x), {}, 1), {}, 0));
      near(rfftn(x, {}, Dims{2, 0}), fft(rfft(x, {}, 0), {}, 2));
      near(irfftn(rfftn(x), Dims{4, 5, 6}), to(x, real_type(type)));
    }
  }
}

TEST(Fft, Places) {
  EXPECT_EQ((fftfreq(machine(), 5, 0.5).values<double>()), (std::vector<double>{0, 0.4f, 0.8f, -0.8f, -0.4f}));
  EXPECT_EQ((fftfreq(machine(), 4).values<double>()), (std::vector<double>{0, 0.25, -0.5, -0.25}));
  EXPECT_EQ((rfftfreq(machine(), 4, 1, DType::kF64).values<double>()), (std::vector<double>{0, 0.25, 0.5}));
  EXPECT_EQ((rfftfreq(machine(), 1).values<double>()), (std::vector<double>{0}));
  EXPECT_EQ((fftshift(arange(machine(), 0, 5)).values<int64_t>()), (std::vector<int64_t>{3, 4, 0, 1, 2}));
  const Tensor x = reshape(arange(machine(), 0, 12), {3, 4});
  EXPECT_EQ(fftshift(x, Dims{1}).values<int64_t>(), (std::vector<int64_t>{2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9}));
  EXPECT_EQ(ifftshift(fftshift(x)).values<int64_t>(), x.values<int64_t>());
  EXPECT_EQ(fftshift(x, Dims{}).values<int64_t>(), x.values<int64_t>());
}

TEST(Fft, Errors) {
  const Tensor x = ones(machine(), {3, 4}), none = ones(machine(), {3, 0});
  const auto has = [](const std::string& e, std::string_view part) { EXPECT_NE(e.find(part), std::string::npos) << e; };
  has(error_of([&] { fft(none); }), "fft: 0 values along axis 1 of shape (3, 0)");
  has(error_of([&] { irfft(ones(machine(), {3, 1})); }), "irfft: 0 values");
  has(error_of([&] { rfft(x, -1); }), "rfft: -1 values");
  has(error_of([&] { rfft(to(x, DType::kC64)); }), "rfft: it is not defined on C64");
  has(error_of([&] { fft(to(x, DType::kBool)); }), "BOOL");
  has(error_of([&] { fft(x, {}, 2); }), "fft");
  has(error_of([&] { fft(ones(machine(), {})); }), "fft");
  has(error_of([&] { fftn(x, Dims{2}, Dims{0, 1}); }), "fftn: 1 lengths for 2 axes");
  has(error_of([&] { fftn(x, {}, Dims{0, -2}); }), "fftn: axis 0 is named twice");
  has(error_of([&] { rfftn(x, {}, Dims{}); }), "rfftn: 0 axes");
  has(error_of([&] { fftfreq(machine(), 0); }), "fftfreq: 0 values");
  has(error_of([&] { fftfreq(machine(), 4, 1, DType::kI32); }), "fftfreq");
  has(error_of([&] { fft(Tensor()); }), "fft");
  EXPECT_EQ(fft(ones(machine(), {0, 4})).shape(), (Shape{0, 4}));
  EXPECT_EQ(fft(none, 3).shape(), (Shape{3, 3}));
  EXPECT_EQ(rfft(none, 3).values<double>(), std::vector<double>(6, 0.0));
  for (const int64_t n : {int64_t{1} << 45, int64_t{1} << 61}) {
    try {
      fft(x, n);
      ADD_FAILURE();
    } catch (const Error& e) {
      EXPECT_TRUE(e.code() == Code::kResource || e.code() == Code::kUsage) << e.what();
    }
  }
}

}  // namespace
}  // namespace viva
