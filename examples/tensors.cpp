#include <cstdio>

#include "viva/ops/ops.h"

int main() {
  const viva::Machine machine;  // all cores, the best vectors of this processor
  const viva::Tensor table = viva::reshape(viva::arange(machine, 0, 12), {3, 4});
  const viva::Tensor roots = viva::sqrt(table.transpose(0, 1)) * 2.0;  // the transpose copies nothing
  std::printf("%s, %g\n", viva::text(roots.shape()).c_str(), roots.at<float>({1, 2}));
}
