// expect: viva: the tensor has no axis of this name
#include "viva/ops/named.h"

struct Batch {};
struct Time {};
struct Channel {};
using X = viva::Named<viva::Tensor, Batch, Time>;

#ifdef OK
auto f(const X& x) { return viva::softmax<Batch>(viva::max<Time>(x)); }
#else
auto f(const X& x) { return viva::softmax<Time>(viva::max<Time>(x)); }
#endif
