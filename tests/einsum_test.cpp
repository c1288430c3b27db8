// einsum against a slow twin that visits every index; the other products against it or written out.
#include <map>

#include "linear.h"

namespace viva {
namespace {

using namespace test;

// The twin: formulas without dots and spaces, with "->".
std::vector<Wide> twin(const std::string& formula, const std::vector<Tensor>& operands, Shape& shape) {
  const std::string in = formula.substr(0, formula.find("->")), out = formula.substr(formula.find("->") + 2);
  std::vector<std::string> terms{""};
  for (const char c : in) {
    if (c == ',') {
      terms.emplace_back();
    } else {
      terms.back().push_back(c);
    }
  }
  std::map<char, int64_t> size;
  for (size_t i = 0; i < terms.size(); ++i) {
    for (size_t k = 0; k < terms[i].size(); ++k) {
      int64_t& s = size.try_emplace(terms[i][k], 1).first->second;
      if (operands[i].shape()[k] != 1) s = operands[i].shape()[k];
    }
  }
  std::string order = out;  // the letters of the result first
  for (const auto& [c, s] : size) {
    if (out.find(c) == std::string::npos) order.push_back(c);
  }
  int64_t results = 1, inner = 1;
  for (const char c : out) shape.push_back(size[c]), results *= size[c];
  for (size_t i = out.size(); i < order.size(); ++i) inner *= size[order[i]];
  std::vector<std::vector<Wide>> values;
  for (const Tensor& t : operands) values.push_back(t.values<Wide>());
  std::vector<Wide> sums;
  for (int64_t r = 0; r < results; ++r) {
    Wide sum = 0;
    for (int64_t q = 0; q < inner; ++q) {
      std::map<char, int64_t> at;
      int64_t rest = r * inner + q;
      for (size_t i = order.size(); i-- > 0;) at[order[i]] = rest % size[order[i]], rest /= size[order[i]];
      Wide product = 1;
      for (size_t i = 0; i < terms.size(); ++i) {
        int64_t place = 0;
        for (size_t k = 0; k < terms[i].size(); ++k) {
          const int64_t n = operands[i].shape()[k];
          place = place * n + (n == 1 ? 0 : at[terms[i][k]]);
        }
        product *= values[i][static_cast<size_t>(place)];
      }
      sum += product;
    }
    sums.push_back(sum);
  }
  return sums;
}

void expect_near(const Tensor& got, const std::vector<Wide>& want, const Shape& shape,
                 const std::string& what) {
  ASSERT_EQ(got.shape(), shape) << what;
  const auto v = got.values<Wide>();
  for (size_t i = 0; i < v.size(); ++i) {
    ASSERT_LE(std::abs(v[i] - want[i]), 1e3 * precision(got.dtype()) * (1 + std::abs(want[i])))
        << what << " at " << i << ": " << v[i] << " and " << want[i];
  }
}

constexpr const char* kFormulas[] = {"ij,jk->ik",
                                     "ij,jk->ki",
                                     "ij,kj->ik",
                                     "bij,bjk->bik",
                                     "bij,bjk->kib",
                                     "ij,jk,kl->il",
                                     "i,j->ij",
                                     "i,i->",
                                     "ij->ji",
                                     "ij->",
                                     "ij->j",
                                     "ii->i",
                                     "ii->",
                                     "iji->j",
                                     "iij,jk->ik",
                                     "abc,cd,bd->a",
                                     "ij,ij->ij",
                                     "ij,ij->",
                                     "ijk,jk->i",
                                     "ijk,jl,kl->il",
                                     "a,b,c->cab",
                                     "abcd,cdef->abef",
                                     "bhqd,bhkd->bhqk",
                                     "ij,j->i",
                                     "ij,kl->",
                                     "i->i",
                                     "ijj,k->ik",
                                     "ab,ab,ab->ba",
                                     "abi,bci->aci"};

TEST(einsum, twin) {
  const Machine machine({.threads = 2});
  std::mt19937_64 random(3);
  for (const char* formula : kFormulas) {
    for (int round = 0; round < 12; ++round) {
      constexpr DType kTypes[] = {DType::kF64, DType::kF32, DType::kC64, DType::kC128};
      const DType type = kTypes[random() % 4];
      std::map<char, int64_t> size;
      std::vector<Tensor> operands;
      Shape shape;
      const std::string f = formula;
      for (size_t i = 0; i <= f.size(); ++i) {
        if (i < f.size() && std::isalpha(f[i])) {
          const auto [at, fresh] = size.try_emplace(f[i], 0);
          if (fresh) at->second = static_cast<int64_t>(round == 0 ? random() % 2 : 1 + random() % 5);
          // A size of 1 is stretched, but not where the letter is twice in the term.
          const size_t start = f.rfind(',', i) == std::string::npos ? 0 : f.rfind(',', i) + 1,
                       end = f.find_first_of(",-", i);
          const bool twice = std::count(f.begin() + static_cast<std::ptrdiff_t>(start),
                                        f.begin() + static_cast<std::ptrdiff_t>(end), f[i]) > 1;
          shape.push_back(!twice && round > 2 && random() % 8 == 0 ? 1 : at->second);
        } else {
          operands.push_back(other_strides(random_tensor(machine, shape, type, random()), random));
          shape = {};
          if (f[i] == '-') break;
        }
      }
      Shape want_shape;
      const auto want = twin(f, operands, want_shape);
      std::string what = f;
      for (const Tensor& t : operands) what += " " + text(t.shape());
      const Tensor got = einsum(f, operands);
      EXPECT_EQ(got.dtype(), type);
      expect_near(got, want, want_shape, what);
      if (HasFatalFailure()) return;
    }
  }
}

TEST(einsum, dots_and_no_arrow) {
  const Machine machine;
  const Tensor a = random_tensor(machine, {2, 3, 4, 5}, DType::kF64, 1),
               b = random_tensor(machine, {3, 5, 6}, DType::kF64, 2),
               m = random_tensor(machine, {4, 4}, DType::kF64, 3);
  EXPECT_EQ(einsum("...ij,...jk->...ik", {a, b}).values<double>(), matmul(a, b).values<double>());
  EXPECT_EQ(einsum("...ij,...jk", {a, b}).shape(), Shape({2, 3, 4, 6}));
  EXPECT_EQ(einsum(" ... i j , ... j k -> k ... i ", {a, b}).shape(), Shape({6, 2, 3, 4}));
  EXPECT_EQ(einsum("i...->...i", {a}).shape(), Shape({3, 4, 5, 2}));
  EXPECT_EQ(einsum("...", {a}).values<double>(), a.values<double>());
  EXPECT_EQ(einsum("...,...", {a, a}).values<double>(), square(a).values<double>());
  EXPECT_EQ(einsum("ba", {m}).values<double>(),
            m.transpose(0, 1).values<double>());  // in the order of the alphabet
  EXPECT_NEAR(einsum("ii", {m}).item<double>(), trace(m).item<double>(), 1e-12);
  EXPECT_EQ(einsum("ij,jh", {m, m}).shape(), Shape({4, 4}));
  EXPECT_NEAR(einsum("ij,jh", {m, m}).at<double>({1, 2}), matmul(m, m).at<double>({2, 1}),
              1e-12);                                                                 // h before i
  EXPECT_EQ(einsum("bB", {m}).values<double>(), m.transpose(0, 1).values<double>());  // capitals first
  EXPECT_EQ(einsum(",i->i", {Tensor::of<double>(machine, {2}).select(0, 0), m.select(0, 0)}).values<double>(),
            multiply(m.select(0, 0), 2).values<double>());
  EXPECT_EQ(einsum("ij,jk->ik",
                   {Tensor::of<int8_t>(machine, {{100, 100}}), Tensor::of<int8_t>(machine, {{2}, {1}})})
                .at<int8_t>({0, 0}),
            44);
  EXPECT_EQ(einsum("i->", {Tensor::of<int8_t>(machine, {100, 100})}).dtype(), DType::kI8);
  EXPECT_EQ(einsum("ij,j->i", {equal(Tensor::of<int8_t>(machine, {{1, 0}, {0, 0}}), 1),
                               Tensor::of<bool>(machine, {true, true})})
                .values<bool>(),
            (std::vector<bool>{true, false}));
  // A result is its own.
  const Tensor turned = einsum("ij->ji", {m});
  EXPECT_FALSE(turned.buffer() == m.buffer());
}

TEST(einsum, errors) {
  const Machine machine;
  const Tensor a = zeros(machine, {2, 3}), v = zeros(machine, {3});
  for (const char* formula : {"ij", "ij,j,k", "ij,k->ijl", "ij,j->ii", "i,j", "ijk,j", "i?,j", "..ij,j",
                              "...i...,j", "ii,j", "ij,ij", "ij,i", "...j,j->j"}) {
    expect_error(Code::kUsage, {"einsum", formula}, [&] { einsum(formula, {a, v}); });
  }
  expect_error(Code::kUsage, {"einsum"}, [&] { einsum("", {}); });
  expect_error(Code::kUsage, {"einsum"}, [&] { einsum("i,i", {Tensor(), v}); });
}

TEST(products, dot_vecdot_outer) {
  const Machine machine;
  std::mt19937_64 random(5);
  const Tensor a = Tensor::of<double>(machine, {1, 2, 3}), b = Tensor::of<double>(machine, {4, 5, 6});
  EXPECT_EQ(dot(a, b).item<double>(), 32);
  EXPECT_EQ(outer(a, b).values<double>(), (std::vector<double>{4, 5, 6, 8, 10, 12, 12, 15, 18}));
  EXPECT_EQ(vecdot(a, b).item<double>(), 32);
  using C = std::complex<double>;
  const Tensor z = Tensor::of<C>(machine, {C(0, 1), C(2, 3)});
  EXPECT_EQ(vecdot(z, z).item<C>(), C(14, 0));
  EXPECT_EQ(dot(z, z).item<C>(), C(0, 1) * C(0, 1) + C(2, 3) * C(2, 3));
  const Tensor x = random_tensor(machine, {4, 5, 6}, DType::kF64, 1),
               y = random_tensor(machine, {5, 6}, DType::kF64, 2);
  const auto near = [](const Tensor& p, const Tensor& q) {
    return max(abs(subtract(p, q))).item<double>() < 1e-12 && p.shape() == q.shape();
  };
  EXPECT_TRUE(near(vecdot(x, y), sum(multiply(x, y), -1)));
  EXPECT_TRUE(near(vecdot(x, y, -2), sum(multiply(x, y), -2)));
  EXPECT_TRUE(near(vecdot(x, y, 2), sum(multiply(x, y), 2)));
  expect_error(Code::kUsage, {"dot", "(3,)", "(2,)"}, [&] { dot(a, zeros(machine, {2})); });
  expect_error(Code::kUsage, {"vecdot", "(3,)", "(2,)"}, [&] { vecdot(a, zeros(machine, {2})); });
  expect_error(Code::kUsage, {"outer", "(4, 5, 6)"}, [&] { outer(x, a); });
}

TEST(products, tensordot_kron_cross) {
  const Machine machine;
  const Tensor a = random_tensor(machine, {2, 3, 4}, DType::kF64, 1),
               b = random_tensor(machine, {3, 4, 5}, DType::kF64, 2),
               c = random_tensor(machine, {5, 4, 2}, DType::kF64, 3);
  Shape s;
  expect_near(tensordot(a, b), twin("ijk,jkl->il", {a, b}, s), {2, 5}, "2");
  expect_near(tensordot(a, c, {0, -1}, {2, 1}), twin("ijk,lki->jl", {a, c}, s = {}), {3, 5}, "axes");
  expect_near(tensordot(a, b, 0), twin("ijk,lmn->ijklmn", {a, b}, s = {}), {2, 3, 4, 3, 4, 5}, "0");
  EXPECT_EQ(tensordot(a, a, 3).shape(), Shape());
  expect_error(Code::kUsage, {"tensordot", "(2, 3, 4)", "(3, 4, 5)"}, [&] { tensordot(a, b, 1); });
  expect_error(Code::kUsage, {"tensordot", "(2, 3, 4)"}, [&] { tensordot(a, b, 4); });
  expect_error(Code::kUsage, {"tensordot"}, [&] { tensordot(a, b, {0, 1}, {0}); });
  expect_error(Code::kUsage, {"tensordot", "twice"}, [&] { tensordot(a, b, {0, 0}, {0, 1}); });

  const Tensor k =
      kron(Tensor::of<double>(machine, {{1, 2}, {3, 4}}), Tensor::of<double>(machine, {{0, 5}, {6, 7}}));
  EXPECT_EQ(k.values<double>(),
            (std::vector<double>{0, 5, 0, 10, 6, 7, 12, 14, 0, 15, 0, 20, 18, 21, 24, 28}));
  EXPECT_EQ(kron(Tensor::of<double>(machine, {1, 2}), b).shape(), Shape({3, 4, 10}));

  const Tensor x = Tensor::of<double>(machine, {1, 0, 0}), y = Tensor::of<double>(machine, {0, 1, 0});
  EXPECT_EQ(cross(x, y).values<double>(), (std::vector<double>{0, 0, 1}));
  const Tensor many = random_tensor(machine, {4, 3, 5}, DType::kF64, 4),
               n = cross(many, random_tensor(machine, {4, 3, 5}, DType::kF64, 5), 1);
  EXPECT_EQ(n.shape(), Shape({4, 3, 5}));
  EXPECT_LT(max(abs(vecdot(many, n, 1))).item<double>(), 1e-12);
  EXPECT_EQ(cross(many, x.unsqueeze(1), 1 - 3).shape(), Shape({4, 3, 5}));
  expect_error(Code::kUsage, {"cross", "(4, 3, 5)"}, [&] { cross(many, many, -1); });
}

TEST(products, trace_power_views) {
  const Machine machine;
  const Tensor a = Tensor::of<int64_t>(machine, {{1, 2, 3}, {4, 5, 6}});
  EXPECT_EQ(trace(a).item<int64_t>(), 6);
  EXPECT_EQ(trace(a, 1).item<int64_t>(), 8);
  EXPECT_EQ(trace(to(a, DType::kI8)).dtype(), DType::kI64);
  EXPECT_EQ(trace(a, 0, DType::kF32).dtype(), DType::kF32);
  EXPECT_EQ(diagonal(a, -1).values<int64_t>(), (std::vector<int64_t>{4}));
  EXPECT_TRUE(matrix_transpose(a).buffer() == a.buffer());
  const Tensor f = Tensor::of<int64_t>(machine, {{1, 1}, {1, 0}});
  EXPECT_EQ(matrix_power(f, 50).at<int64_t>({0, 1}), 12586269025);
  EXPECT_EQ(matrix_power(f, 0).values<int64_t>(), (std::vector<int64_t>{1, 0, 0, 1}));
  EXPECT_EQ(matrix_power(f, 1).values<int64_t>(), f.values<int64_t>());
  EXPECT_EQ(matrix_power(Tensor::of<double>(machine, {{2, 0}, {0, 4}}), -2).values<double>(),
            (std::vector<double>{0.25, 0, 0, 0.0625}));
  EXPECT_EQ(matrix_power(zeros(machine, {3, 0, 0}), 5).shape(), Shape({3, 0, 0}));
}

}  // namespace
}  // namespace viva
