#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "viva/compress/plan.h"
#include "viva/kernels/values.h"

// The place where a result grows until it is whole: `.NAME.part` beside the destination, and `.NAME.journal`, which lists
// the finished items and is the lock. Nothing appears under the destination's own name before publish().
namespace viva {

// What the journal keeps of a finished item.
struct Finished {
  std::string key;       // Item::key(), hashed
  std::string identity;  // of the source file when its bytes were read
  ItemHashes hashes;
  Shared shared;
  kernels::ErrorSums sums;
};

class Staging {
 public:
  // Takes the lock; throws kResource with the owner's pid when another run holds it. Without `fresh`, keeps what an earlier
  // run with the same fingerprint left; what one with another fingerprint left moves to previous().
  Staging(const std::filesystem::path& destination, const std::string& fingerprint, bool fresh);
  ~Staging();
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  const std::filesystem::path& path() const noexcept { return part_; }          // grows into the destination
  const std::filesystem::path& previous() const noexcept { return previous_; }  // may not exist
  const std::map<std::string, Finished>& finished() const noexcept { return finished_; }

  void record(const Finished& finished);  // one line, appended at once
  // Renames path() to the destination, replacing what is there when `replace`; removes all traces beside it.
  void publish(bool replace);

 private:
  void lock();
  void load(const std::string& fingerprint);
  void append(const std::string& line);

  std::filesystem::path destination_, part_, journal_, previous_;
  int fd_ = -1;
  bool resumable_ = false;
  std::map<std::string, Finished> finished_;
};

}  // namespace viva
