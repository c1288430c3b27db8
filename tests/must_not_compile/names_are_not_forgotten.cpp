// expect: could not convert|no viable conversion|conversion from|cannot convert
#include "viva/ops/named.h"

struct Batch {};
struct Time {};
struct Channel {};
using X = viva::Named<viva::Tensor, Batch, Time>;

#ifdef OK
viva::Tensor f(const X& x) { return x.tensor(); }
#else
viva::Tensor f(const X& x) { return x; }
#endif
