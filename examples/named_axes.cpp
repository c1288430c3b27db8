#include <cstdio>

#include "viva/ops/named.h"

struct Batch {};
struct Time {};
struct Channel {};
struct Hidden {};

int main() {
  const viva::Machine machine;
  viva::Generator random{42};
  const auto x = viva::named<Batch, Time, Channel>(viva::normal(machine, random, {2, 5, 8}));
  const auto weights = viva::named<Hidden, Channel>(viva::xavier_uniform(machine, random, {4, 8}));
  const auto bias = viva::named<Hidden>(viva::zeros(machine, {4}));

  // Axes meet by name, in whatever order they lie; what does not fit together does not compile.
  const viva::Named<viva::Tensor, Batch, Time, Hidden> h = viva::relu(viva::contract<Channel>(x, weights) + bias);
  const viva::Named<viva::Tensor, Batch, Hidden> pooled = viva::mean<Time>(h);
  const auto shares = viva::softmax<Hidden>(pooled);
  std::printf("%s, %g\n", viva::text(shares.tensor().shape()).c_str(), viva::sum(shares).tensor().item<double>());
}
