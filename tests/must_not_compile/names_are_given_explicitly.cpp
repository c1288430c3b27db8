// expect: could not convert|no viable conversion|conversion from
#include "viva/ops/named.h"

struct Batch {};
struct Time {};
struct Channel {};
using X = viva::Named<viva::Tensor, Batch, Time>;

#ifdef OK
X f(const viva::Tensor& t) { return viva::named<Batch, Time>(t); }
#else
X f(const viva::Tensor& t) { return t; }
#endif
