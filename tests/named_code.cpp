// The same calls without names and with them; named_code_test.py compares what the compiler makes of each pair.
#include "viva/ops/named.h"

using viva::Tensor;

struct Batch {};
struct Time {};
struct Channel {};
struct Other {};
struct Way {};

namespace plain {

using X = Tensor;
using Row = Tensor;

Tensor sum_time(const X& x) { return viva::sum(x, {1}); }
Tensor mean_of_two(const X& x) { return viva::mean(x, {0, 1}); }
Tensor max_of_all(const X& x) { return viva::max(x, viva::Axes()); }
Tensor exponential(const X& x) { return viva::exp(x); }
Tensor add_same(const X& x, const X& y) { return x + y; }
Tensor add_row(const X& x, const Row& r) { return x + r; }
Tensor halve(const X& x) { return x / 2.0f; }
Tensor permuted(const X& x) { return x.permute({2, 0, 1}); }
Tensor transposed(const X& x) { return x.transpose(0, 2); }
Tensor softmax_channel(const X& x) { return viva::softmax(x, 2); }
Tensor first(const X& x) { return x.select(1, 0); }
Tensor part(const X& x, int64_t at) { return x.narrow(1, at, 4); }
Tensor projected(const X& x, const X& y) { return viva::tensordot(x, y, {1}, {1}); }
int64_t how_long(const X& x) { return x.shape()[1]; }

}  // namespace plain

namespace named {

using X = viva::Named<Tensor, Batch, Time, Channel>;
using Y = viva::Named<Tensor, Other, Time, Way>;
using Row = viva::Named<Tensor, Channel>;

viva::Named<Tensor, Batch, Channel> sum_time(const X& x) { return viva::sum<Time>(x); }
viva::Named<Tensor, Channel> mean_of_two(const X& x) { return viva::mean<Batch, Time>(x); }
viva::Named<Tensor> max_of_all(const X& x) { return viva::max(x); }
X exponential(const X& x) { return viva::exp(x); }
X add_same(const X& x, const X& y) { return x + y; }
X add_row(const X& x, const Row& r) { return x + r; }
X halve(const X& x) { return x / 2.0f; }
viva::Named<Tensor, Channel, Batch, Time> permuted(const X& x) { return viva::permute<Channel, Batch, Time>(x); }
viva::Named<Tensor, Channel, Time, Batch> transposed(const X& x) { return viva::transpose<Batch, Channel>(x); }
X softmax_channel(const X& x) { return viva::softmax<Channel>(x); }
viva::Named<Tensor, Batch, Channel> first(const X& x) { return viva::select<Time>(x, 0); }
X part(const X& x, int64_t at) { return viva::narrow<Time>(x, at, 4); }
viva::Named<Tensor, Batch, Channel, Other, Way> projected(const X& x, const Y& y) { return viva::contract<Time>(x, y); }
int64_t how_long(const X& x) { return x.size<Time>(); }

}  // namespace named
