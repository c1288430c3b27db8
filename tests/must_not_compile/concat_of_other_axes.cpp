// expect: viva: concat joins tensors that have the same axes
#include "viva/ops/named.h"

struct Batch {};
struct Time {};
struct Channel {};
using X = viva::Named<viva::Tensor, Batch, Time>;

using Y = viva::Named<viva::Tensor, Time, Channel>;
#ifdef OK
auto f(const X& x, const Y& y) { return viva::concat<Time>(x, viva::rename<Channel, Batch>(y)); }
#else
auto f(const X& x, const Y& y) { return viva::concat<Time>(x, y); }
#endif
