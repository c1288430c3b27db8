// expect: viva: the tensor has an axis of this name already
#include "viva/ops/named.h"

struct Batch {};
struct Time {};
struct Channel {};
struct Head {};
using X = viva::Named<viva::Tensor, Batch, Time, Channel>;

#ifdef OK
auto f(const X& x) { return viva::split_axis<Channel, Head, Channel>(x, 2); }
#else
auto f(const X& x) { return viva::split_axis<Channel, Time, Channel>(x, 2); }
#endif
