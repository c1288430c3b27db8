#include <mutex>

#include "viva/kernels/lapack.h"

namespace viva::kernels {

namespace {

// Debian's libopenblas0-serial gives two threads the same scratch memory: where the system chose it, calls
// take turns.
std::mutex& turns() noexcept {
  static std::mutex mutex;
  return mutex;
}

}  // namespace

BlasCall::BlasCall() noexcept : turn_(openblas_get_parallel() == 0) {
  if (turn_) {
    turns().lock();
  } else {
    // Of the OpenMP variant it is the calling thread's own number, of the other the process's: it stays so, since other
    // threads may be in the midst of a call.
    openblas_set_num_threads(1);
  }
}

BlasCall::~BlasCall() {
  if (turn_) turns().unlock();
}

}  // namespace viva::kernels
