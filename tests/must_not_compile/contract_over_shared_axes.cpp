// expect: viva: contract sums over axes that both tensors have
#include "viva/ops/named.h"

struct Batch {};
struct Time {};
struct Channel {};
using X = viva::Named<viva::Tensor, Batch, Time>;

using W = viva::Named<viva::Tensor, Time, Channel>;
#ifdef OK
auto f(const X& x, const W& w) { return viva::contract<Time>(x, w); }
#else
auto f(const X& x, const W& w) { return viva::contract<Channel>(x, w); }
#endif
