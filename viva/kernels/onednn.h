#pragma once

// Of the OpenMP that oneDNN is built with: the calling thread's own number.
extern "C" {
int omp_get_max_threads(void);
void omp_set_num_threads(int threads);
}

namespace viva::kernels {

// Held by a thread while it calls oneDNN, which then computes on this thread alone: the pool of the Machine is the
// parallelism, and bits do not depend on it.
class DnnlCall {
 public:
  DnnlCall() noexcept : before_(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~DnnlCall() { omp_set_num_threads(before_); }
  DnnlCall(const DnnlCall&) = delete;
  DnnlCall& operator=(const DnnlCall&) = delete;

 private:
  int before_;
};

}  // namespace viva::kernels
