#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "viva/base/float16.h"
#include "viva/io/safetensors.h"

// Golden files of the peer packages, in ../shared/golden; tests skip with a reason where they are absent.
namespace viva::test {

class Golden {
 public:
  explicit Golden(const std::string& name) : file_(path(name)), header_(io::read_safetensors_header(file_)) {
    for (const auto& t : header_.tensors) by_name_[t.name] = &t;
  }
  static std::filesystem::path path(const std::string& name) { return std::filesystem::path(VIVA_SHARED) / "golden" / name; }
  static bool available() { return std::filesystem::exists(path("inputs.safetensors")); }

  const std::vector<io::StoredTensor>& tensors() const { return header_.tensors; }
  const std::map<std::string, std::string>& metadata() const { return header_.metadata; }
  bool has(const std::string& name) const { return by_name_.count(name) != 0; }
  const io::StoredTensor& info(const std::string& name) const { return *by_name_.at(name); }
  std::vector<uint8_t> bytes(const std::string& name) const {
    std::vector<uint8_t> out(info(name).bytes);
    file_.read(info(name).offset, out);
    return out;
  }
  // Values of an F32, BF16 or F16 tensor.
  std::vector<float> floats(const std::string& name) const {
    const auto raw = bytes(name);
    const DType t = info(name).dtype;
    std::vector<float> out(raw.size() / viva::bytes(t));
    for (size_t i = 0; i < out.size(); ++i) {
      uint16_t h = 0;
      if (t == DType::kF32) {
        std::memcpy(&out[i], raw.data() + 4 * i, 4);
      } else {
        std::memcpy(&h, raw.data() + 2 * i, 2);
        out[i] = t == DType::kBF16 ? bf16_to_f32(h) : f16_to_f32(h);
      }
    }
    return out;
  }

 private:
  io::InputFile file_;
  io::SafetensorsHeader header_;
  std::map<std::string, const io::StoredTensor*> by_name_;
};

}  // namespace viva::test

#define SKIP_WITHOUT_GOLDEN() \
  if (!viva::test::Golden::available()) GTEST_SKIP() << "no golden files at " << viva::test::Golden::path("")
