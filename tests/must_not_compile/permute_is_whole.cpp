// expect: viva: permute must name every axis of the tensor once
#include "viva/ops/named.h"

struct Batch {};
struct Time {};
struct Channel {};
using X = viva::Named<viva::Tensor, Batch, Time>;

using Y = viva::Named<viva::Tensor, Batch, Time, Channel>;
#ifdef OK
auto f(const Y& y) { return viva::permute<Channel, Batch, Time>(y); }
#else
auto f(const Y& y) { return viva::permute<Channel, Batch>(y); }
#endif
