// Linear algebra by residuals over random shapes, batches, strides and types; special matrices; errors.
#include "linear.h"
#include "viva/base/attempt.h"

namespace viva {
namespace {

using namespace test;

constexpr DType kFloats[] = {DType::kF32, DType::kF64, DType::kC64, DType::kC128, DType::kBF16, DType::kF16};
constexpr double kInf = HUGE_VAL;

// The largest |x - y| of two stacks.
double apart(const Tensor& x, const Tensor& y) {
  EXPECT_EQ(x.shape(), y.shape());
  if (x.shape() != y.shape()) return kInf;
  const auto a = x.values<Wide>(), b = y.values<Wide>();
  double most = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double d = std::abs(a[i] - b[i]);
    if (!(d <= most)) most = d;
  }
  return most;
}
Tensor wide(const Tensor& t) { return to(t, DType::kC128); }
Tensor adjoint(const Tensor& t) { return conj(t).transpose(-1, -2); }
Tensor ones_diagonal(const Tensor& like) {
  const Tensor t = zeros(like.machine(), like.shape(), DType::kC128);
  if (t.count() != 0) assign(diagonal(t), 1);
  return t;
}

Shape random_batch(std::mt19937_64& random) {
  switch (random() % 4) {
    case 0:
      return {3};
    case 1:
      return {2, 1, 2};
    case 2:
      return {0};
    default:
      return {};
  }
}
Shape with(Shape batch, std::initializer_list<int64_t> last) {
  for (const int64_t d : last) batch.push_back(d);
  return batch;
}

// Calls f(shape of the batch, m, n, type, random) for many.
template <class F>
void over_shapes(bool square, F f) {
  std::mt19937_64 random(7);
  constexpr int64_t kSizes[] = {0, 1, 2, 3, 5, 7, 13, 31, 67};
  for (const DType type : kFloats) {
    for (int round = 0; round < 24; ++round) {
      const int64_t m = kSizes[random() % 9], n = square ? m : kSizes[random() % 9];
      SCOPED_TRACE(std::string(name(type)) + " " + std::to_string(m) + " " + std::to_string(n));
      f(random_batch(random), m, n, type, random);
      if (testing::Test::HasFailure()) return;
    }
  }
}

double allowed(DType t, int64_t size) { return 40 * precision(t) * static_cast<double>(size + 1); }

TEST(linalg, solve_inv_det) {
  const Machine machine({.threads = 3});
  over_shapes(true, [&](const Shape& batch, int64_t n, int64_t, DType type, std::mt19937_64& random) {
    // Well conditioned: a heavy diagonal.
    Tensor a = random_tensor(machine, with(batch, {n, n}), type, random());
    if (a.count() != 0) assign(diagonal(a), add(diagonal(a), 0.6 * static_cast<double>(n) + 2));
    a = other_strides(a, random);
    const int64_t columns = static_cast<int64_t>(random() % 4);
    const Tensor b = other_strides(
        random_tensor(machine, with(random() % 2 ? batch : Shape(), {n, columns}), type, random()), random);
    const Tensor x = solve(a, b);
    EXPECT_EQ(x.dtype(), type);
    EXPECT_EQ(x.shape(), with(batch, {n, columns}));
    EXPECT_LE(apart(matmul(wide(a), wide(x)), add(wide(b), zeros(machine, x.shape(), DType::kC128))),
              allowed(type, n));
    const Tensor v = random_tensor(machine, {n}, type, random());
    EXPECT_LE(apart(matmul(wide(a), wide(solve(a, v)).unsqueeze(-1)).select(-1, 0),
                    add(wide(v), zeros(machine, with(batch, {n}), DType::kC128))),
              allowed(type, n));
    EXPECT_LE(apart(matmul(wide(a), wide(inv(a))), ones_diagonal(a)), allowed(type, n));
    if (n > 13 || type == DType::kF16) return;  // it overflows
    // The twin: elimination in f64.
    const Stack s(a);
    const auto dets = det(a).values<Wide>();
    const SignLogDet parts = slogdet(a);
    EXPECT_FALSE(is_complex(parts.logabsdet.dtype()));
    const auto signs = parts.sign.values<Wide>();
    const auto logs = parts.logabsdet.values<double>();
    for (int64_t q = 0; q < s.count; ++q) {
      std::vector<Wide> e;
      for (int64_t i = 0; i < n * n; ++i) e.push_back(s.at(q, i / n, i % n));
      Wide d = 1;
      for (int64_t c = 0; c < n; ++c) {
        int64_t p = c;
        for (int64_t r = c; r < n; ++r) {
          if (std::abs(e[static_cast<size_t>(r * n + c)]) > std::abs(e[static_cast<size_t>(p * n + c)]))
            p = r;
        }
        if (p != c) {
          d = -d;
          for (int64_t k = 0; k < n; ++k)
            std::swap(e[static_cast<size_t>(p * n + k)], e[static_cast<size_t>(c * n + k)]);
        }
        d *= e[static_cast<size_t>(c * n + c)];
        for (int64_t r = c + 1; r < n; ++r) {
          const Wide f = e[static_cast<size_t>(r * n + c)] / e[static_cast<size_t>(c * n + c)];
          for (int64_t k = c; k < n; ++k)
            e[static_cast<size_t>(r * n + k)] -= f * e[static_cast<size_t>(c * n + k)];
        }
      }
      EXPECT_LE(std::abs(dets[static_cast<size_t>(q)] - d), allowed(type, n) * std::abs(d));
      EXPECT_NEAR(logs[static_cast<size_t>(q)], std::log(std::abs(d)), allowed(type, n) * 10);
      EXPECT_LE(std::abs(signs[static_cast<size_t>(q)] - d / std::abs(d)), allowed(type, n));
    }
  });
}

TEST(linalg, determinants_of_permutations_and_singular_ones) {
  const Machine machine;
  const Tensor a = Tensor::of<double>(machine, {{0, 1, 0}, {1, 0, 0}, {0, 0, 2}}),
               s = Tensor::of<double>(machine, {{1, 2}, {2, 4}});
  EXPECT_EQ(det(a).item<double>(), -2);
  EXPECT_EQ(slogdet(a).sign.item<double>(), -1);
  EXPECT_EQ(det(s).item<double>(), 0);
  EXPECT_EQ(slogdet(s).sign.item<double>(), 0);
  EXPECT_EQ(slogdet(s).logabsdet.item<double>(), -kInf);
  EXPECT_EQ(det(zeros(machine, {2, 0, 0})).values<float>(), (std::vector<float>{1, 1}));
  EXPECT_EQ(slogdet(zeros(machine, {0, 0})).logabsdet.item<float>(), 0);
  EXPECT_EQ(det(Tensor::of<int32_t>(machine, {{1, 2}, {3, 4}})).dtype(), kDefaultFloat);
}

TEST(linalg, cholesky) {
  const Machine machine({.threads = 2});
  over_shapes(true, [&](const Shape& batch, int64_t n, int64_t, DType type, std::mt19937_64& random) {
    const Tensor g = wide(random_tensor(machine, with(batch, {n, n}), type, random()));
    const Tensor positive = add(divide(matmul(g, adjoint(g)), static_cast<double>(n + 1)), ones_diagonal(g));
    const Tensor a = other_strides(is_complex(type) ? to(positive, type) : to(real(positive), type), random);
    const Tensor l = cholesky(a), u = cholesky(a, true);
    EXPECT_EQ(l.dtype(), type);
    EXPECT_EQ(apart(wide(l), wide(tril(l))), 0);
    EXPECT_EQ(apart(wide(u), wide(triu(u))), 0);
    EXPECT_LE(apart(matmul(wide(l), adjoint(wide(l))), wide(a)), allowed(type, n));
    EXPECT_LE(apart(matmul(adjoint(wide(u)), wide(u)), wide(a)), allowed(type, n));
    // The other triangle is not read.
    EXPECT_EQ(apart(wide(cholesky(tril(a))), wide(l)), 0);
    EXPECT_EQ(apart(wide(cholesky(triu(a), true)), wide(u)), 0);
  });
}

TEST(linalg, qr) {
  const Machine machine({.threads = 2});
  over_shapes(false, [&](const Shape& batch, int64_t m, int64_t n, DType type, std::mt19937_64& random) {
    const Tensor a = other_strides(random_tensor(machine, with(batch, {m, n}), type, random()), random);
    for (const bool complete : {false, true}) {
      const QR f = qr(a, complete);
      const int64_t k = complete ? m : std::min(m, n);
      EXPECT_EQ(f.q.shape(), with(batch, {m, k}));
      EXPECT_EQ(f.r.shape(), with(batch, {k, n}));
      EXPECT_EQ(f.q.dtype(), type);
      const Tensor q = wide(f.q), r = wide(f.r);
      EXPECT_EQ(apart(r, triu(r)), 0);
      EXPECT_LE(apart(matmul(q, r), wide(a)), allowed(type, m + n));
      EXPECT_LE(apart(matmul(adjoint(q), q), ones_diagonal(zeros(machine, with(batch, {k, k})))),
                allowed(type, m + n));
    }
  });
}

TEST(linalg, svd_pinv_rank) {
  const Machine machine({.threads = 2});
  over_shapes(false, [&](const Shape& batch, int64_t m, int64_t n, DType type, std::mt19937_64& random) {
    const Tensor a = other_strides(random_tensor(machine, with(batch, {m, n}), type, random()), random);
    const int64_t k = std::min(m, n);
    Tensor s;
    for (const bool full : {true, false}) {
      const SVD f = svd(a, full);
      EXPECT_EQ(f.u.shape(), with(batch, {m, full ? m : k}));
      EXPECT_EQ(f.vh.shape(), with(batch, {full ? n : k, n}));
      EXPECT_EQ(f.s.shape(), with(batch, {k}));
      EXPECT_FALSE(is_complex(f.s.dtype()));
      const Tensor u = wide(f.u), vh = wide(f.vh);
      EXPECT_LE(
          apart(matmul(adjoint(u), u), ones_diagonal(zeros(machine, with(batch, {u.size(-1), u.size(-1)})))),
          allowed(type, m + n));
      EXPECT_LE(apart(matmul(vh, adjoint(vh)),
                      ones_diagonal(zeros(machine, with(batch, {vh.size(-2), vh.size(-2)})))),
                allowed(type, m + n));
      const Tensor back = matmul(multiply(u.narrow(-1, 0, k), wide(f.s).unsqueeze(-2)), vh.narrow(-2, 0, k));
      EXPECT_LE(apart(back, wide(a)), allowed(type, m + n) * 4);
      s = f.s;
      const auto values = f.s.values<double>();
      for (size_t i = 0; i < values.size(); ++i) {
        EXPECT_GE(values[i], 0);
        if (i % static_cast<size_t>(k) != 0) {
          EXPECT_LE(values[i], values[i - 1]);
        }
      }
    }
    EXPECT_LE(apart(wide(svdvals(a)), wide(s)), allowed(type, m + n) * 4);
    if (type == DType::kF16 || type == DType::kBF16) return;
    // Of a matrix of known rank: the four equations of Moore and Penrose.
    const int64_t r = std::min<int64_t>(k, 2);
    const Tensor low = matmul(random_tensor(machine, with(batch, {m, r}), type, random()),
                              random_tensor(machine, with(batch, {r, n}), type, random()));
    for (const int64_t found : matrix_rank(low, 1e-4).values<int64_t>()) EXPECT_EQ(found, r);
    const Tensor p = pinv(low, 1e-4), x = wide(low), y = wide(p);
    EXPECT_EQ(p.shape(), with(batch, {n, m}));
    const double size = 1 + apart(y, zeros(machine, y.shape(), DType::kC128)),
                 near = allowed(type, m + n) * size * size * 20;
    EXPECT_LE(apart(matmul(matmul(x, y), x), x), near);
    EXPECT_LE(apart(matmul(matmul(y, x), y), y), near);
    EXPECT_LE(apart(matmul(x, y), adjoint(matmul(x, y))), near);
    EXPECT_LE(apart(matmul(y, x), adjoint(matmul(y, x))), near);
  });
}

TEST(linalg, eigh) {
  const Machine machine({.threads = 2});
  over_shapes(true, [&](const Shape& batch, int64_t n, int64_t, DType type, std::mt19937_64& random) {
    const Tensor g = wide(random_tensor(machine, with(batch, {n, n}), type, random()));
    const Tensor symmetric = divide(add(g, adjoint(g)), 2.0);
    const Tensor a =
        other_strides(is_complex(type) ? to(symmetric, type) : to(real(symmetric), type), random);
    const Eigh f = eigh(a);
    EXPECT_EQ(f.eigenvectors.dtype(), type);
    EXPECT_FALSE(is_complex(f.eigenvalues.dtype()));
    const Tensor v = wide(f.eigenvectors), w = wide(f.eigenvalues);
    EXPECT_LE(apart(matmul(wide(a), v), multiply(v, w.unsqueeze(-2))), allowed(type, n) * 2);
    EXPECT_LE(apart(matmul(adjoint(v), v), ones_diagonal(v)), allowed(type, n));
    const auto values = f.eigenvalues.values<double>();
    for (size_t i = 1; i < values.size(); ++i) {
      if (i % static_cast<size_t>(n) != 0) {
        EXPECT_GE(values[i], values[i - 1]);
      }
    }
    EXPECT_LE(apart(wide(eigvalsh(tril(a))), w), allowed(type, n) * 2);
  });
}

TEST(linalg, eig) {
  const Machine machine({.threads = 2});
  over_shapes(true, [&](const Shape& batch, int64_t n, int64_t, DType type, std::mt19937_64& random) {
    const Tensor a = other_strides(random_tensor(machine, with(batch, {n, n}), type, random()), random);
    const Eigh f = eig(a);
    EXPECT_TRUE(is_complex(f.eigenvectors.dtype()) && f.eigenvalues.dtype() == f.eigenvectors.dtype());
    EXPECT_EQ(f.eigenvalues.shape(), with(batch, {n}));
    const DType computed = type == DType::kF16 || type == DType::kBF16 ? DType::kF32 : type;
    const Tensor v = wide(f.eigenvectors), w = wide(f.eigenvalues);
    EXPECT_LE(apart(matmul(wide(a), v), multiply(v, w.unsqueeze(-2))), allowed(computed, n) * 2);
    if (a.count() == 0) return;
    EXPECT_LE(apart(wide(vector_norm(v, 2, Axes{-2})), ones(machine, w.shape(), DType::kC128)), allowed(computed, n));
    // The trace tells the other verb's sum; real matrices have conjugate pairs exactly.
    EXPECT_LE(apart(wide(sum(eigvals(a), Axes{-1})), trace(wide(a))), allowed(computed, n) * static_cast<double>(n));
    if (!is_complex(type)) {
      EXPECT_EQ(apart(sort(imag(w)), sort(negative(imag(w)))), 0);
    }
  });
}

TEST(linalg, lstsq) {
  const Machine machine({.threads = 2});
  over_shapes(false, [&](const Shape& batch, int64_t m, int64_t n, DType type, std::mt19937_64& random) {
    if (type == DType::kF16 || type == DType::kBF16) return;
    const Tensor a = other_strides(random_tensor(machine, with(batch, {m, n}), type, random()), random);
    const int64_t columns = static_cast<int64_t>(random() % 3), k = std::min(m, n);
    const Tensor b = random_tensor(machine, with(batch, {m, columns}), type, random());
    const LeastSquares f = lstsq(a, b);
    EXPECT_EQ(f.solution.shape(), with(batch, {n, columns}));
    EXPECT_EQ(f.residuals.shape(), with(batch, {columns}));
    EXPECT_EQ(f.singular_values.shape(), with(batch, {k}));
    for (const int64_t r : f.rank.values<int64_t>()) EXPECT_EQ(r, k);
    EXPECT_LE(apart(wide(f.singular_values), wide(svdvals(a))), allowed(type, m + n) * 4);
    // What is left is orthogonal to the columns of a, and the solution that of pinv.
    const Tensor left = subtract(wide(b), matmul(wide(a), wide(f.solution)));
    const double size = 1 + apart(wide(f.solution), zeros(machine, f.solution.shape(), DType::kC128));
    const double worst = f.singular_values.count() == 0 ? 1 : min(f.singular_values).item<double>();
    EXPECT_LE(apart(matmul(adjoint(wide(a)), left), zeros(machine, with(batch, {n, columns}), DType::kC128)),
              allowed(type, m + n) * size * 20);
    EXPECT_LE(apart(wide(f.solution), matmul(wide(pinv(a)), wide(b))),
              allowed(type, m + n) * size * 40 / std::min(1.0, worst * worst));
    EXPECT_LE(apart(wide(f.residuals), wide(sum(square(abs(left)), -2))), allowed(type, m + n) * size * 20);
  });
  const LeastSquares f =
      lstsq(Tensor::of<double>(machine, {{1, 0}, {1, 1}, {1, 2}}), Tensor::of<double>(machine, {1, 3, 5}));
  EXPECT_EQ(f.solution.shape(), Shape({2}));
  EXPECT_NEAR(f.solution.at<double>({0}), 1, 1e-14);
  EXPECT_NEAR(f.solution.at<double>({1}), 2, 1e-14);
  EXPECT_EQ(lstsq(Tensor::of<double>(machine, {{1, 1}, {1, 1}}), Tensor::of<double>(machine, {1, 1}))
                .rank.item<int64_t>(),
            1);
}

TEST(linalg, norms) {
  const Machine machine;
  const Tensor a = Tensor::of<double>(machine, {{1, -2, 3}, {-4, 5, -6}});
  EXPECT_NEAR(matrix_norm(a).item<double>(), std::sqrt(91.0), 1e-12);
  EXPECT_EQ(matrix_norm(a, 1).item<double>(), 9);
  EXPECT_EQ(matrix_norm(a, -1).item<double>(), 5);
  EXPECT_EQ(matrix_norm(a, kInf).item<double>(), 15);
  EXPECT_EQ(matrix_norm(a, -kInf).item<double>(), 6);
  const auto s = svdvals(a).values<double>();
  EXPECT_NEAR(matrix_norm(a, 2).item<double>(), s[0], 1e-12);
  EXPECT_NEAR(matrix_norm(a, -2).item<double>(), s[1], 1e-12);
  EXPECT_NEAR(matrix_norm(a, "nuc").item<double>(), s[0] + s[1], 1e-12);
  EXPECT_EQ(matrix_norm(random_tensor(machine, {4, 2, 3}, DType::kC64, 1), 1, true).shape(),
            Shape({4, 1, 1}));
  EXPECT_EQ(matrix_norm(random_tensor(machine, {4, 2, 3}, DType::kC64, 1), "nuc").dtype(), DType::kF32);
  EXPECT_EQ(matrix_norm(zeros(machine, {0, 3}), 2).item<float>(), 0);
  EXPECT_EQ(vector_norm(a, 1).item<double>(), 21);
  expect_error(Code::kUsage, {"matrix_norm", "3"}, [&] { matrix_norm(a, 3); });
  expect_error(Code::kUsage, {"matrix_norm", "max"}, [&] { matrix_norm(a, "max"); });
}

TEST(linalg, same_bits_on_any_number_of_threads) {
  const Machine one({.threads = 1}), many({.threads = 5});
  const auto run = [](const Machine& m) {
    const Tensor a = random_tensor(m, {40, 9, 9}, DType::kF32, 1),
                 big = random_tensor(m, {150, 150}, DType::kF64, 2);
    return std::vector<Tensor>{inv(a), svd(a).u, qr(a).q, eigh(a).eigenvectors, inv(big), svdvals(big)};
  };
  const auto x = run(one), y = run(many);
  for (size_t i = 0; i < x.size(); ++i) EXPECT_EQ(x[i].values<double>(), y[i].values<double>()) << i;
}

TEST(linalg, errors_name_the_matrix) {
  const Machine machine;
  const auto bad = [&](double value) {
    const Tensor a = zeros(machine, {2, 3, 2, 2}, DType::kF64);
    assign(diagonal(a), 1);
    assign(a.select(0, 1).select(0, 2), value);
    return a;
  };
  const Tensor singular = bad(1), negative = bad(-1), nan = bad(std::nan("")), inf = bad(kInf),
               b = ones(machine, {2}, DType::kF64);
  expect_error(Code::kBadInput, {"solve", "(1, 2)", "(2, 3, 2, 2)", "singular", "lstsq"},
               [&] { solve(singular, b); });
  expect_error(Code::kBadInput, {"inv", "(1, 2)", "singular"}, [&] { inv(singular); });
  expect_error(Code::kBadInput, {"inv", "(2, 2)", "singular"}, [&] { inv(zeros(machine, {2, 2})); });
  expect_error(Code::kBadInput, {"cholesky", "(1, 2)", "positive definite"}, [&] { cholesky(negative); });
  for (const Tensor& x : {nan, inf}) {
    expect_error(Code::kBadInput, {"svd", "(1, 2)", "finite"}, [&] { svd(x); });
    expect_error(Code::kBadInput, {"svdvals", "(1, 2)"}, [&] { svdvals(x); });
    expect_error(Code::kBadInput, {"eigh", "(1, 2)"}, [&] { eigh(x); });
    expect_error(Code::kBadInput, {"eig", "(1, 2)", "finite"}, [&] { eig(x); });
    expect_error(Code::kBadInput, {"eigvalsh", "(1, 2)"}, [&] { eigvalsh(x); });
    expect_error(Code::kBadInput, {"cholesky", "(1, 2)"}, [&] { cholesky(x); });
    expect_error(Code::kBadInput, {"lstsq", "(1, 2)"}, [&] { lstsq(x, b); });
    expect_error(Code::kBadInput, {"pinv", "(1, 2)"}, [&] { pinv(x); });
    expect_error(Code::kBadInput, {"matrix_rank", "(1, 2)"}, [&] { matrix_rank(x); });
    qr(x);  // goes through, as solve() and det() do
    det(x);
    attempt([&] { return solve(x, b); });
  }
  EXPECT_TRUE(isnan(det(nan).select(0, 1).select(0, 2)).item<bool>());
  const Tensor wide_one = zeros(machine, {2, 3});
  for (const auto& f : std::vector<std::function<void()>>{
           [&] { solve(wide_one, b); }, [&] { inv(wide_one); }, [&] { det(wide_one); },
           [&] { slogdet(wide_one); }, [&] { cholesky(wide_one); }, [&] { eigh(wide_one); },
           [&] { eigvals(wide_one); },
           [&] { matrix_power(wide_one, 2); }}) {
    expect_error(Code::kUsage, {"(2, 3)", "square"}, f);
  }
  for (const auto& f : std::vector<std::function<void()>>{[&] { qr(b); }, [&] { svd(b); }, [&] { trace(b); },
                                                          [&] { matrix_norm(b); }, [&] { pinv(b); }}) {
    expect_error(Code::kUsage, {"(2,)"}, f);
  }
  expect_error(Code::kUsage, {"solve", "(2, 2)", "(3, 1)"}, [&] {
    solve(zeros(machine, {2, 2}), zeros(machine, {3, 1}));
  });
  expect_error(Code::kUsage, {"inv", "BOOL"}, [&] { inv(zeros(machine, {2, 2}, DType::kBool)); });
  expect_error(Code::kUsage, {"solve"}, [&] { solve(Tensor(), b); });
  // Too large for integers of 32 bits: an error before anything is taken.
  const Tensor line = zeros(machine, {1, 1});
  expect_error(Code::kUsage, {"qr", "32 bits"}, [&] { qr(line.expand({int64_t{1} << 33, 1})); });
  expect_error(Code::kUsage, {"svd", "32 bits"}, [&] { svd(line.expand({30000, 30000})); });
}

}  // namespace
}  // namespace viva
