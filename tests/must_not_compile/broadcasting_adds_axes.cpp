// expect: could not convert|no viable conversion|conversion from
#include "viva/ops/named.h"

struct Batch {};
struct Time {};
struct Channel {};
using X = viva::Named<viva::Tensor, Batch, Time>;

using Row = viva::Named<viva::Tensor, Channel>;
#ifdef OK
viva::Named<viva::Tensor, Batch, Time, Channel> f(const X& x, const Row& r) { return x + r; }
#else
X f(const X& x, const Row& r) { return x + r; }
#endif
