// expect: viva: the tensor has an axis of this name already
#include "viva/ops/named.h"

struct Batch {};
struct Time {};
struct Channel {};
using X = viva::Named<viva::Tensor, Batch, Time>;

#ifdef OK
auto f(const X& x) { return viva::stack<Channel>(x, x); }
#else
auto f(const X& x) { return viva::stack<Time>(x, x); }
#endif
