// expect: viva: an axis is named twice
#include "viva/ops/named.h"

struct Batch {};
struct Time {};
struct Channel {};
using X = viva::Named<viva::Tensor, Batch, Time>;

#ifdef OK
using Y = viva::Named<viva::Tensor, Batch, Time>;
#else
using Y = viva::Named<viva::Tensor, Batch, Batch>;
#endif

int64_t f(const Y& y) { return y.size<Batch>(); }
