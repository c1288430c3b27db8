#pragma once

#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "viva/io/checkpoint.h"

// What the layouts share when they look for their weights among the tensors of a model.
namespace viva::io {

// The stored tensors by name. A layout claims those that make up its weights; the rest stays for the next
// one.
class Recognizer {
 public:
  Recognizer(std::string_view layout, std::vector<StoredIn>& stored, const std::vector<InputFile>& files);

  const std::vector<StoredIn>& stored() const noexcept { return stored_; }
  bool taken(const StoredIn& s) const noexcept { return taken_[static_cast<size_t>(&s - stored_.data())]; }
  // Null where there is none of that name, or it was claimed before.
  const StoredIn* find(const std::string& name) const noexcept;
  // Bytes of a small tensor, at most `limit`.
  std::string content(const StoredIn& s, uint64_t limit) const;
  // File, tensor and offset, for messages.
  std::string where(const StoredIn& s) const;
  // Throws kBadInput that says where.
  [[noreturn]] void bad(const StoredIn& s, std::string_view message) const;

  // Takes every tensor of `w.placement`. Each must be there, with its dtype and shape; `cause` is named where
  // one is missing.
  void claim(Weight w, const StoredIn& cause);
  // A weight that is known by name but not decoded: `format` says what it is. Absent parts (null) are left
  // out.
  void claim_unread(std::string name, std::vector<uint64_t> shape, DType dtype, std::string format,
                    std::initializer_list<const StoredIn*> parts);
  // Takes tensors that say how a weight is stored, not what is in it.
  void drop(const StoredIn& s) noexcept { taken_[static_cast<size_t>(&s - stored_.data())] = true; }

  // Leaves what was not claimed in the list that was given, and returns the weights.
  std::vector<Weight> finish();

 private:
  std::string layout_;
  std::vector<StoredIn>& stored_;
  const std::vector<InputFile>& files_;
  std::unordered_map<std::string, size_t> at_;
  std::vector<bool> taken_;
  std::vector<Weight> weights_;
};

// The quantization settings of a config.json.
struct Quantization {
  std::string method;   // empty: none given
  nlohmann::json body;  // the settings; null where there are none
  DType dtype;          // of the model's plain weights; BF16 where nothing says so
};
Quantization quantization_of(const std::string& config);

// The part of `name` before a last ".suffix"; empty where it does not end so.
std::string_view module_of(std::string_view name, std::string_view suffix) noexcept;

// A tensor to be stored.
StoredTensor make_stored(std::string name, DType dtype, std::vector<uint64_t> shape);

}  // namespace viva::io
