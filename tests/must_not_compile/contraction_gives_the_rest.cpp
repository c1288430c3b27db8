// expect: could not convert|no viable conversion|conversion from
#include "viva/ops/named.h"

struct Batch {};
struct Time {};
struct Channel {};
using X = viva::Named<viva::Tensor, Batch, Time>;

using W = viva::Named<viva::Tensor, Time, Channel>;
#ifdef OK
viva::Named<viva::Tensor, Batch, Channel> f(const X& x, const W& w) { return viva::contract<Time>(x, w); }
#else
viva::Named<viva::Tensor, Channel, Batch> f(const X& x, const W& w) { return viva::contract<Time>(x, w); }
#endif
