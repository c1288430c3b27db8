// expect: viva: contract<Axis...> sums over the axes that it names
#include "viva/ops/named.h"

struct Batch {};
struct Time {};
struct Channel {};
using X = viva::Named<viva::Tensor, Batch, Time>;

#ifdef OK
auto f(const X& x) { return viva::contract<Time>(x, x); }
#else
auto f(const X& x) { return viva::contract<>(x, x); }
#endif
