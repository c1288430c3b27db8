// expect: viva: the tensor has no axis of this name
#include "viva/ops/named.h"

struct Batch {};
struct Time {};
struct Channel {};
using X = viva::Named<viva::Tensor, Batch, Time>;

#ifdef OK
auto f(const X& x) { return viva::sum<Time>(x); }
#else
auto f(const X& x) { return viva::sum<Channel>(x); }
#endif
