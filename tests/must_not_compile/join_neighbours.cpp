// expect: viva: join_axes joins an axis with the one behind it
#include "viva/ops/named.h"

struct Batch {};
struct Time {};
struct Channel {};
struct Head {};
using X = viva::Named<viva::Tensor, Batch, Time, Channel>;

#ifdef OK
auto f(const X& x) { return viva::join_axes<Batch, Time, Head>(x); }
#else
auto f(const X& x) { return viva::join_axes<Batch, Channel, Head>(x); }
#endif
