#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "viva/compress/plan.h"
#include "viva/kernels/values.h"

// The place where a result grows until it is whole: `.NAME.part` beside the destination, and `.NAME.journal`, which lists
// the finished items and is the lock; `.NAME.previous` is what a run with other rules left. Nothing appears under the
// destination's own name before publish().
namespace viva {

// What the journal keeps of a finished item.
struct Finished {
  std::string key;       // names the bytes that come out for given source bytes
  std::string identity;  // of the source files before their bytes were read; empty: the bytes lie in previous()
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
  // Forgets all work, when there will be no result.
  void discard() noexcept;
  // Renames path() to the destination, replacing what is there when `replace`; removes all traces beside it.
  void publish(bool replace);

 private:
  void lock();
  // Holds on to what grows there, if anything does: until it has its name, no other run may touch it.
  int lock_part() const;
  [[noreturn]] void refuse() const;
  void load(const std::string& fingerprint);
  void append(const std::string& line);

  std::filesystem::path destination_, part_, journal_, previous_;
  int fd_ = -1;
  std::map<std::string, Finished> finished_;
};

}  // namespace viva
