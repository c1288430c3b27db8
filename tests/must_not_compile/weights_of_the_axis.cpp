// expect: no matching function for call to
#include "viva/ops/named.h"

struct Time {};
struct Channel {};
using X = viva::Named<viva::Tensor, Time, Channel>;
using Weight = viva::Named<viva::Tensor, Channel>;

#ifdef OK
auto f(const X& x, const Weight& w) { return viva::layer_norm<Channel>(x, w, w); }
#else
auto f(const X& x, const Weight& w) { return viva::layer_norm<Time>(x, w, w); }
#endif
