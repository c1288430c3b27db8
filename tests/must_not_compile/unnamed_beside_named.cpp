// expect: viva: a tensor without names beside one with names
#include "viva/ops/named.h"

struct Batch {};
struct Time {};
struct Channel {};
using X = viva::Named<viva::Tensor, Batch, Time>;

#ifdef OK
auto f(const X& x, const viva::Tensor& t) { return x * viva::named<Time>(t); }
#else
auto f(const X& x, const viva::Tensor& t) { return x * t; }
#endif
