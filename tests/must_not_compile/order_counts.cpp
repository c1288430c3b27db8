// expect: could not convert|no viable conversion|conversion from
#include "viva/ops/named.h"

struct Batch {};
struct Time {};
struct Channel {};
using X = viva::Named<viva::Tensor, Batch, Time>;

#ifdef OK
X f(const viva::Named<viva::Tensor, Time, Batch>& y) { return viva::permute<Batch, Time>(y); }
#else
X f(const viva::Named<viva::Tensor, Time, Batch>& y) { return y; }
#endif
