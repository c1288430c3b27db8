#include "viva/kernels/fft.h"

#include <algorithm>
#include <cmath>
#include <kissfft/kissfft.hh>
#include <memory>
#include <numbers>

namespace viva::kernels {

namespace {

using C = std::complex<double>;
using Plan = kissfft<double>;

constexpr int64_t kTask = 16 * 1024;  // values
constexpr int64_t kSlowPrime = 32;    // kissfft takes n * p steps for a prime factor p

// std::complex asks each product whether it is NaN.
C times(C a, C b) { return {a.real() * b.real() - a.imag() * b.imag(), a.real() * b.imag() + a.imag() * b.real()}; }

// kissfft's tables of sines, which cost as much as a transform: each thread keeps its last ones. Nobody transforms by them but by
// copies, as they have scratch inside.
using Tables = std::shared_ptr<const Plan>;
constexpr int64_t kKept = 64 * 1024;  // values
Tables tables(const Machine& machine, int64_t m, bool inverse) {
  struct Last {
    Tables tables;
    int64_t m = 0;
    bool inverse = false;
  };
  thread_local Last last;
  if (last.m == m && last.inverse == inverse) return last.tables;
  const Tensor room(machine, {m, 4}, DType::kF64);  // refused where it is not there: the heap would promise it
  const auto made = std::make_shared<const Plan>(static_cast<size_t>(m), inverse);
  if (m <= kKept) last = {made, m, inverse};
  return made;
}

int64_t largest_prime(int64_t n) {
  int64_t largest = 1;
  for (int64_t p = 2; p * p <= n; ++p) {
    for (; n % p == 0; n /= p) largest = p;
  }
  return std::max(largest, n);
}

// What rows of one length share; `run` needs room for the values that `room` says.
class Transform {
 public:
  explicit Transform(const Fourier& f, const Machine& machine)
      : n_(f.n), chirped_(largest_prime(f.n) > kSlowPrime), m_(chirped_ ? chirp_length(f.n) : f.n),
        tables_(tables(machine, m_, !chirped_ && f.inverse)) {
    if (!chirped_) return;
    // Bluestein 1970: jk = (j^2 + k^2 - (k - j)^2) / 2 makes of the sum a convolution, whose length may be a power of 2.
    chirp_ = Tensor(machine, {2, m_}, DType::kC128);
    C* w = chirp();
    const double sign = f.inverse ? 1 : -1;
    for (int64_t j = 0; j < n_; ++j) {
      const auto turns = static_cast<unsigned __int128>(j) * static_cast<uint64_t>(j) % static_cast<uint64_t>(2 * n_);
      w[j] = std::polar(1.0, sign * std::numbers::pi * static_cast<double>(static_cast<int64_t>(turns)) / static_cast<double>(n_));
    }
    const Tensor around(machine, {m_}, DType::kC128);
    C* b = reinterpret_cast<C*>(around.raw());
    std::fill_n(b, m_, C(0));
    b[0] = std::conj(w[0]);
    for (int64_t j = 1; j < n_; ++j) b[j] = b[m_ - j] = std::conj(w[j]);
    plan().transform(b, w + m_);
  }

  int64_t room() const { return chirped_ ? 2 * m_ : m_; }
  Plan plan() const { return *tables_; }

  // row to its transform, which lies in `room` then.
  void run(const Plan& plan, const C* row, C* room) const {
    if (!chirped_) return plan.transform(row, room);
    const C *w = chirp(), *b = w + m_;
    C* a = room + m_;
    for (int64_t j = 0; j < n_; ++j) a[j] = times(row[j], w[j]);
    std::fill(a + n_, a + m_, C(0));
    plan.transform(a, room);
    // Backwards by the transform forwards: of the conjugates.
    for (int64_t k = 0; k < m_; ++k) a[k] = std::conj(times(room[k], b[k]));
    plan.transform(a, room);
    const double by = 1 / static_cast<double>(m_);
    for (int64_t k = 0; k < n_; ++k) room[k] = times(std::conj(room[k]) * by, w[k]);
  }

 private:
  static int64_t chirp_length(int64_t n) {
    int64_t m = 1;
    while (m < 2 * n - 1) m *= 2;
    return m;
  }
  C* chirp() const { return reinterpret_cast<C*>(chirp_.raw()); }

  int64_t n_;
  bool chirped_;
  int64_t m_;     // values of kissfft's rows
  Tables tables_;
  Tensor chirp_;  // w[j] = exp(-+pi i j^2 / n), and the transform of its conjugates around 0
};

template <class T>
C wide(T v) {
  return element_cast<T, C>(v);
}

template <class From>
void load(const From* x, int64_t have, const Fourier& f, C* row) {
  const int64_t known = std::min(have, f.half ? f.n / 2 + 1 : f.n);
  for (int64_t j = 0; j < known; ++j) row[j] = wide(x[j]);
  std::fill(row + known, row + f.n, C(0));
  if (!f.half) return;
  // What is its own mirror image is real, whatever x says.
  row[0] = row[0].real();
  if (f.n % 2 == 0) row[f.n / 2] = row[f.n / 2].real();
  for (int64_t j = 1; j < std::min(known, (f.n + 1) / 2); ++j) row[f.n - j] = std::conj(row[j]);
}

template <class From, class To>
void rows(const Machine& machine, const Tensor& x, const Fourier& f, const Tensor& out) {
  const int64_t count = x.size(0), have = x.size(1), want = out.size(1), each = std::max<int64_t>(1, kTask / f.n);
  const Transform transform(f, machine);
  const auto some = [&](int64_t begin, int64_t end) {
    const Plan plan = transform.plan();
    const Tensor room(machine, {f.n + transform.room()}, DType::kC128);
    C *row = reinterpret_cast<C*>(room.raw()), *result = row + f.n;
    for (int64_t r = begin; r < end; ++r) {
      load(reinterpret_cast<const From*>(x.raw()) + r * have, have, f, row);
      transform.run(plan, row, result);
      To* to = reinterpret_cast<To*>(out.raw()) + r * want;
      for (int64_t k = 0; k < want; ++k) to[k] = element_cast<C, To>(result[k] * f.scale);
    }
  };
  const int64_t tasks = (count + each - 1) / each;
  if (tasks <= 1) return some(0, count);
  machine.parallel_for(static_cast<size_t>(tasks), [&](size_t t) {
    const int64_t begin = static_cast<int64_t>(t) * each;
    some(begin, std::min(count, begin + each));
  });
}

template <class R>
void rows_of(const Machine& machine, const Tensor& x, const Fourier& f, const Tensor& out) {
  const bool from = is_complex(x.dtype()), to = is_complex(out.dtype());
  if (from && to) return rows<std::complex<R>, std::complex<R>>(machine, x, f, out);
  if (from) return rows<std::complex<R>, R>(machine, x, f, out);
  if (to) return rows<R, std::complex<R>>(machine, x, f, out);
  rows<R, R>(machine, x, f, out);
}

}  // namespace

void fourier(const Machine& machine, const Tensor& x, const Fourier& f, const Tensor& out) {
  if (out.count() == 0) return;
  const bool single = out.dtype() == DType::kF32 || out.dtype() == DType::kC64;
  single ? rows_of<float>(machine, x, f, out) : rows_of<double>(machine, x, f, out);
}

}  // namespace viva::kernels
