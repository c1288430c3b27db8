// expect: viva: an axis is named twice
#include "viva/ops/named.h"

struct Batch {};
struct Time {};
struct Channel {};
using X = viva::Named<viva::Tensor, Batch, Time>;

#ifdef OK
auto f(const X& x) { return viva::sum<Time, Batch>(x); }
#else
auto f(const X& x) { return viva::sum<Time, Time>(x); }
#endif
