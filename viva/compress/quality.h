#pragma once

#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "viva/base/progress.h"
#include "viva/io/checkpoint.h"
#include "viva/machine/machine.h"

// How far the values of one checkpoint are from those of another, and what the values of one are like.
namespace viva {

struct CompareOptions {
  std::optional<double> min_sqnr;   // dB that every tensor must reach
  std::optional<double> max_error;  // mean|e| / max|x| that no tensor may pass
  Watcher watcher;
};

// One tensor of `a` (x) and its counterpart in `b` (y), e = x - y.
struct ComparedTensor {
  std::string name, name_b;  // logical names
  std::string format_a, format_b;
  uint64_t values = 0;
  double sqnr_db = 0;     // 10 log10(sum x^2 / sum e^2); infinity where all values are the same
  double mean_error = 0;  // mean|e| / max|x|
  double rmse = 0;
  double cosine = 0;
  double max_abs = 0;     // max|e|
  bool violates = false;  // a limit of the options
};

struct CompareReport {
  std::string a, b;
  std::vector<ComparedTensor> tensors;  // worst first
  std::vector<std::string> missing;     // in a, not in b
  std::vector<std::string> extra;       // in b, not in a
  struct Mismatch {
    std::string name, reason;  // shapes that differ, or what cannot be decoded
  };
  std::vector<Mismatch> mismatches;
  uint64_t values = 0;
  double sqnr_db = 0, mean_error = 0, rmse = 0, cosine = 0, max_abs = 0;  // over all values together
  bool identical = false;  // every value of every tensor, and nothing missing or extra
  size_t violations = 0;   // tensors over a limit, missing, extra or mismatched; 0 without limits
};

// Compares all values, tensor by tensor, in bounded memory on all threads. Names match where they are the
// same after a leading "model." is taken off; a tied output head that one side leaves out is the embedding. A
// NaN or infinity equals itself only. Throws kBadInput, kResource, kCancelled.
CompareReport compare(const Machine& machine, const io::Checkpoint& a, const io::Checkpoint& b,
                      const CompareOptions& options);

struct TensorStats {
  double min = 0, max = 0, rms = 0;  // of the finite values
  double outlier_share = 0;          // of values with |x| > 6 rms
  uint64_t nan = 0, infinite = 0, values = 0;
};

// For every weight of `model`, in order; empty for weights that viva does not decode. Reads everything twice.
std::vector<std::optional<TensorStats>> tensor_stats(const Machine& machine, const io::Checkpoint& model,
                                                     const Watcher& watcher);

}  // namespace viva
