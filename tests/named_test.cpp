// Named axes: the types that verbs give (checked when this is compiled) and the values, against the verbs without names.
#include <gtest/gtest.h>

#include "views.h"
#include "viva/ops/named.h"

namespace viva {
namespace {

struct Batch {};
struct Time {};
struct Channel {
  static constexpr std::string_view name = "channel";
};
struct Hidden {};

using test::error_of;
using test::machine;

template <class... A>
using N = Named<Tensor, A...>;

N<Batch, Time, Channel> some(uint64_t seed = 1) {
  Generator g{seed};
  return named<Batch, Time, Channel>(normal(machine(), g, {2, 3, 5}));
}

// The type says the axes; the values are those of a tensor without names.
template <class... A>
void expect(const N<A...>& x, const Tensor& twin) {
  EXPECT_EQ(x.tensor().shape(), twin.shape());
  EXPECT_EQ(x.tensor().template values<double>(), twin.values<double>());
}

static_assert(sizeof(N<Batch, Time>) == sizeof(Tensor));
static_assert(!std::is_convertible_v<Tensor, N<Batch>> && !std::is_convertible_v<N<Batch>, Tensor>);
static_assert(!std::is_convertible_v<N<Time, Batch>, N<Batch, Time>> && !std::is_constructible_v<N<Batch, Time>, N<Time, Batch>>);
static_assert(N<Batch, Time>::axis<Time>() == 1 && N<Batch, Time>::rank() == 2);

TEST(Named, Made) {
  const Tensor t = zeros(machine(), {2, 3});
  const N<Batch, Time> x(t);
  EXPECT_EQ(x.size<Time>(), 3);
  EXPECT_EQ(x.tensor().buffer(), t.buffer());
  EXPECT_EQ((named<Batch, Time>(t, {-1, 3}).size<Batch>()), 2);
  EXPECT_EQ((N<>(zeros(machine(), {})).rank()), 0u);
  EXPECT_EQ(error_of([&] { named<Batch, Time, Channel>(t); }), "Named: shape (2, 3) for the axes (Batch, Time, channel) (one for each)");
  EXPECT_EQ(error_of([&] { N<Batch, Time>(t, {2, 4}); }), "Named: shape (2, 3) for the axes (Batch, Time) of sizes (2, 4) (-1 stands for any size)");
  EXPECT_NE(error_of([&] { N<Batch, Time>(t, {2}); }), "");
}

TEST(Named, ElementwiseMeetsByName) {
  const auto x = some(1), y = some(2);
  const Tensor &a = x.tensor(), &b = y.tensor();
  const N<Batch, Time, Channel> s = x + y;
  expect(s, a + b);
  // In another order, fewer, none, others.
  const N<Batch, Time, Channel> p = x * permute<Channel, Batch, Time>(y);
  expect(p, a * b);
  const auto bias = select<Batch>(select<Time>(y, 0), 1);
  static_assert(std::is_same_v<decltype(bias), const N<Channel>>);
  const N<Batch, Time, Channel> q = x - bias;
  expect(q, a - b.select(1, 0).select(0, 1));
  const N<Channel, Batch, Time> r = bias - x;
  expect(r, (b.select(1, 0).select(0, 1) - a).permute({2, 0, 1}));
  const auto batch = mean<Time, Channel>(x);
  static_assert(std::is_same_v<decltype(batch), const N<Batch>>);
  const N<Batch, Time, Channel> u = x / batch;
  expect(u, a / mean(a, {1, 2}).unsqueeze(-1).unsqueeze(-1));
  const N<Batch, Channel> outer = batch * bias;
  expect(outer, batch.tensor().unsqueeze(1) * bias.tensor());
  const N<Batch, Time, Channel> v = 2.0 * x - 1;
  expect(v, 2.0 * a - 1);
  expect(-x, -a);
  expect(exp(x), exp(a));
  expect(atan2(x, y), atan2(a, b));
  const N<Batch, Time, Channel> w = where(greater(batch, 0), x, 0.0);
  expect(w, where(greater(batch.tensor(), 0).unsqueeze(-1).unsqueeze(-1), a, 0.0));
  expect(clamp(x, bias, 2.0), clamp(a, bias.tensor(), 2.0));
  EXPECT_EQ(to(x, DType::kF64).tensor().dtype(), DType::kF64);
  // What the verb below says of sizes.
  EXPECT_NE(error_of([&] { x + narrow<Time>(y, 0, 2); }).find("(2, 3, 5)"), std::string::npos);
}

TEST(Named, Folding) {
  const auto x = some();
  const Tensor& a = x.tensor();
  const N<Batch, Channel> s = sum<Time>(x);
  expect(s, sum(a, {1}));
  const N<Time> m = mean<Channel, Batch>(x);
  expect(m, mean(a, {0, 2}));
  const N<> all_of_it = max(x);
  expect(all_of_it, max(a));
  expect(N<Batch, Time>(var<Channel>(x, 1)), var(a, {2}, 1));
  expect(N<Batch, Time>(viva::std<Channel>(x)), viva::std(a, {2}));
  expect(N<Channel>(norm<Time, Batch>(x, 1)), norm(a, 1, {0, 1}));
  expect(N<Batch, Time>(logsumexp<Channel>(x)), logsumexp(a, {2}));
  expect(N<Time, Channel>(prod<Batch>(x)), prod(a, {0}));
  expect(N<Time, Channel>(any<Batch>(x)), any(a, {0}));
  const N<Batch, Time> best = argmax<Channel>(x);
  expect(best, argmax(a, 2));
  expect(N<Time, Channel>(argmin<Batch>(x)), argmin(a, 0));
}

TEST(Named, AlongAnAxis) {
  const auto x = some();
  const Tensor& a = x.tensor();
  const N<Batch, Time, Channel> s = softmax<Time>(x);
  expect(s, softmax(a, 1));
  expect(log_softmax<Channel>(x), log_softmax(a, 2));
  const N<Channel> weight = named<Channel>(arange(a.machine(), 1, 1.0 + static_cast<double>(a.size(2)), 1, a.dtype()));
  const N<Time> scale = named<Time>(arange(a.machine(), 1, 1.0 + static_cast<double>(a.size(1)), 1, a.dtype()));
  const N<Batch, Time, Channel> l = layer_norm<Channel>(x, weight, weight);
  expect(l, layer_norm(a, weight.tensor(), weight.tensor()));
  const Tensor turned = a.transpose(1, 2);
  expect(layer_norm<Time>(x, scale, scale), layer_norm(turned, scale.tensor(), scale.tensor()).transpose(1, 2));
  expect(layer_norm<Time>(x), layer_norm(turned).transpose(1, 2));
  expect(rms_norm<Channel>(x, weight), rms_norm(a, weight.tensor()));
  expect(rms_norm<Time>(x, scale), rms_norm(turned, scale.tensor()).transpose(1, 2));
  expect(rms_norm<Time>(x), rms_norm(turned).transpose(1, 2));
  expect(cumulative_sum<Time>(x), cumulative_sum(a, 1));
  expect(cumulative_prod<Batch>(x), cumulative_prod(a, 0));
  expect(sort<Channel>(x, true), sort(a, 2, true));
  expect(argsort<Time>(x), argsort(a, 1));
}

TEST(Named, Views) {
  const auto x = some();
  const Tensor& a = x.tensor();
  const N<Channel, Batch, Time> p = permute<Channel, Batch, Time>(x);
  expect(p, a.permute({2, 0, 1}));
  const N<Channel, Time, Batch> t = transpose<Batch, Channel>(x);
  expect(t, a.transpose(0, 2));
  const N<Batch, Hidden, Channel> r = rename<Time, Hidden>(x);
  expect(r, a);
  const N<Time, Channel> s = select<Batch>(x, 1);
  expect(s, a.select(0, 1));
  expect(slice<Channel>(x, 1, {}, 2), a.slice(2, 1, {}, 2));
  expect(narrow<Time>(x, 1, 2), a.narrow(1, 1, 2));
  expect(flip<Time>(x), a.flip({1}));
  const N<Hidden, Batch, Time, Channel> u = unsqueeze<Hidden>(x);
  expect(u, a.unsqueeze(0));
  expect(N<Batch, Time, Channel>(squeeze<Hidden>(u)), a);
  for (const BufferPtr& b : {p.tensor().buffer(), t.tensor().buffer(), r.tensor().buffer(), s.tensor().buffer(), u.tensor().buffer()}) EXPECT_EQ(b, a.buffer());
  EXPECT_NE(error_of([&] { select<Time>(x, 3); }).find("index 3 along axis 1"), std::string::npos);
}

TEST(Named, Joining) {
  const auto x = some(1), y = some(2);
  const N<Batch, Time, Channel> c = concat<Time>(x, permute<Time, Channel, Batch>(y), x);
  expect(c, concat({x.tensor(), y.tensor(), x.tensor()}, 1));
  const N<Hidden, Batch, Time, Channel> s = stack<Hidden>(x, y);
  expect(s, stack({x.tensor(), y.tensor()}));
}

// In f64, value by value.
TEST(Named, Contraction) {
  Generator g{3};
  const auto x = named<Batch, Time, Channel>(normal(machine(), g, {2, 3, 5}, 0, 1, DType::kF64));
  const auto w = named<Hidden, Channel>(normal(machine(), g, {4, 5}, 0, 1, DType::kF64));
  const N<Batch, Time, Hidden> h = contract<Channel>(x, w), same = matmul(x, permute<Channel, Hidden>(w));
  for (int64_t b = 0; b < 2; ++b) {
    for (int64_t t = 0; t < 3; ++t) {
      for (int64_t k = 0; k < 4; ++k) {
        double twin = 0;
        for (int64_t c = 0; c < 5; ++c) twin += x.tensor().at<double>({b, t, c}) * w.tensor().at<double>({k, c});
        EXPECT_NEAR(h.tensor().at<double>({b, t, k}), twin, 1e-14);
        EXPECT_NEAR(same.tensor().at<double>({b, t, k}), twin, 1e-14);
      }
    }
  }
  // Time is a batch of both, Channel and Batch are summed.
  const auto v = named<Channel, Time, Hidden, Batch>(normal(machine(), g, {5, 3, 4, 2}, 0, 1, DType::kF64));
  const N<Time, Hidden> both = contract<Channel, Batch>(x, v);
  const N<> all_of_it = contract<Batch, Time, Channel>(x, x);
  for (int64_t t = 0; t < 3; ++t) {
    for (int64_t k = 0; k < 4; ++k) {
      double twin = 0;
      for (int64_t b = 0; b < 2; ++b) {
        for (int64_t c = 0; c < 5; ++c) twin += x.tensor().at<double>({b, t, c}) * v.tensor().at<double>({c, t, k, b});
      }
      EXPECT_NEAR(both.tensor().at<double>({t, k}), twin, 1e-13);
    }
  }
  EXPECT_NEAR(all_of_it.tensor().item<double>(), sum(square(x.tensor())).item<double>(), 1e-12);
  EXPECT_NE(error_of([&] { contract<Channel>(x, narrow<Channel>(w, 0, 1)); }).find("(2, 3, 5)"), std::string::npos);
  EXPECT_EQ(error_of([&] { contract<Channel>(x, select<Hidden>(select<Batch>(narrow<Channel>(v, 0, 1), 0), 0)); }),
            "contract: axis channel has different sizes in shapes (2, 3, 5) and (1, 3) (they must be equal)");
  EXPECT_NE(error_of([&] { contract<Channel>(x, narrow<Time>(v, 0, 1)); }).find("axis Time has different sizes"), std::string::npos);
}

TEST(Named, AxesSplitAndJoin) {
  const N<Batch, Time, Channel> x = named<Batch, Time, Channel>(reshape(arange(machine(), 0, 36), {2, 3, 6}));
  const N<Batch, Time, Hidden, Channel> parts = split_axis<Channel, Hidden, Channel>(x, 2);
  expect(parts, reshape(x.tensor(), {2, 3, 2, 3}));
  EXPECT_EQ(parts.tensor().buffer(), x.tensor().buffer());
  expect(N<Batch, Time, Channel>(join_axes<Hidden, Channel, Channel>(parts)), x.tensor());
  const N<Hidden, Channel> flat = join_axes<Batch, Time, Hidden>(x);
  expect(flat, reshape(x.tensor(), {6, 6}));
  const N<Batch, Hidden, Time, Channel> moved = permute<Batch, Hidden, Time, Channel>(parts);
  expect(N<Batch, Time, Channel>(join_axes<Hidden, Time, Time>(moved)), reshape(contiguous(moved.tensor()), {2, 6, 3}));
  EXPECT_NE(error_of([&] { split_axis<Channel, Hidden, Channel>(x, 4); }).find("4 parts of axis 2 of shape (2, 3, 6)"), std::string::npos);
  EXPECT_NE(error_of([&] { split_axis<Channel, Hidden, Channel>(x, 0); }).find("split_axis"), std::string::npos);
}

}  // namespace
}  // namespace viva
