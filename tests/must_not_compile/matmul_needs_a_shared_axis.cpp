// expect: viva: matmul sums over the left tensor
#include "viva/ops/named.h"

struct Batch {};
struct Time {};
struct Channel {};
using X = viva::Named<viva::Tensor, Batch, Time>;

using W = viva::Named<viva::Tensor, Time, Channel>;
#ifdef OK
auto f(const X& x, const W& w) { return viva::matmul(x, w); }
#else
auto f(const X& x, const W& w) { return viva::matmul(w, x); }
#endif
