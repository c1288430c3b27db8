#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "viva/base/checked.h"
#include "viva/io/compressed_tensors.h"
#include "viva/io/json.h"
#include "viva/io/quote.h"
#include "viva/io/recognize.h"

namespace viva::io {
namespace {

using nlohmann::json;

// What the tensors of a module, or a group of the configuration, say about its weight.
struct Scheme {
  uint64_t bits = 8;
  bool floating = false, symmetric = true;
  std::string strategy;  // channel, group, block, tensor, tensor_group
  uint64_t group = 0;    // of group and tensor_group
  uint64_t block[2] = {0, 0};
};

struct ConfigGroup {
  std::vector<std::string> targets;
  std::optional<Scheme> scheme;  // empty: a preset's name, which says nothing that the tensors do not
};

std::string lower(std::string s) {
  for (char& c : s) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  return s;
}

Scheme scheme_of(const json& weights) {
  Scheme s;
  s.bits = size_at(weights, "num_bits").value_or(8);
  s.floating = lower(text_at(weights, "type").value_or("int")) == "float";
  s.symmetric = flag_at(weights, "symmetric").value_or(true);
  s.group = size_at(weights, "group_size").value_or(0);
  const json* group = member(weights, "group_size");
  s.strategy = lower(text_at(weights, "strategy")
                         .value_or(s.group != 0                             ? "group"
                                   : group != nullptr && group->is_number() ? "channel"
                                                                            : "tensor"));
  if (const json* b = member(weights, "block_structure"); b != nullptr && b->is_array() && b->size() == 2) {
    for (size_t i = 0; i < 2; ++i) s.block[i] = (*b)[i].is_number_unsigned() ? (*b)[i].get<uint64_t>() : 0;
  } else if (text_at(weights, "block_structure") == "128x128") {  // as older versions write it
    s.block[0] = s.block[1] = 128;
  }
  return s;
}

class Reader {
 public:
  Reader(std::vector<StoredIn>& stored, const std::vector<InputFile>& files, const std::string& config)
      : r_("compressed-tensors", stored, files), settings_(quantization_of(config)) {
    const json* groups = member(settings_.body, "config_groups");
    if (groups == nullptr || !groups->is_object()) return;
    for (const json& group : *groups) {
      ConfigGroup g;
      const json* targets = group.is_array() ? &group : member(group, "targets");
      if (targets != nullptr && targets->is_array()) {
        for (const json& t : *targets) {
          if (t.is_string()) g.targets.push_back(t.get<std::string>());
        }
      }
      if (const json* weights = member(group, "weights"); weights != nullptr && weights->is_object()) {
        g.scheme = scheme_of(*weights);
      } else if (group.is_object()) {
        continue;  // a group of activations only
      }
      groups_.push_back(std::move(g));
    }
    for (size_t i = 0; i < groups_.size(); ++i) {
      for (const std::string& t : groups_[i].targets) named_.emplace(t, i);
    }
  }

  std::vector<Weight> read() {
    if (!settings_.method.empty() && settings_.method != "compressed-tensors") return {};
    for (const StoredIn& s : r_.stored()) {
      if (r_.taken(s)) continue;
      const std::string& name = s.tensor.name;
      if (const auto m = module_of(name, "weight_packed"); !m.empty()) packed(std::string(m), s);
      if (const auto m = module_of(name, "weight_scale"); !m.empty()) bytes(std::string(m), s);
      if (const auto m = module_of(name, "bitmask"); !m.empty()) sparse(std::string(m), s);
    }
    return r_.finish();
  }

 private:
  struct Parts {
    const StoredIn *codes, *scale, *zero, *shape, *global, *order;
  };
  Parts parts_of(const std::string& module, const StoredIn* codes) const {
    const auto part = [&](const char* suffix) { return r_.find(module + ".weight" + suffix); };
    return {codes,          part("_scale"),        part("_zero_point"),
            part("_shape"), part("_global_scale"), part("_g_idx")};
  }

  // Groups of the configuration that may be meant for a module: those that name it, else those that match by
  // class or regular expression. The expressions are not run: the tensors say which group fits.
  std::vector<const ConfigGroup*> candidates(const std::string& module) const {
    if (const auto named = named_.find(module); named != named_.end()) return {&groups_[named->second]};
    std::vector<const ConfigGroup*> list;
    for (const ConfigGroup& g : groups_) {
      const bool broad = std::any_of(g.targets.begin(), g.targets.end(), [](const std::string& t) {
        return t.starts_with("re:") || t.find('.') == std::string::npos;
      });
      if (broad) list.push_back(&g);
    }
    return list;
  }

  // Does `g` mean what the tensors say? `in`: row length.
  static bool agrees(const ConfigGroup& g, const Scheme& found, uint64_t in) {
    if (!g.scheme) return true;
    const Scheme& s = *g.scheme;
    if (s.bits != found.bits || s.floating != found.floating || s.symmetric != found.symmetric) return false;
    const auto grouped = [](const Scheme& x) {
      return x.strategy == "group" || x.strategy == "tensor_group";
    };
    // One scale a row, said in one of two ways.
    const auto row = [&](const Scheme& x) {
      return x.strategy == "channel" || (x.strategy == "group" && x.group >= in);
    };
    if (row(s) && row(found)) return true;
    if (s.strategy != found.strategy) return false;
    if (grouped(s)) return s.group == found.group;
    if (s.strategy == "block") return s.block[0] == found.block[0] && s.block[1] == found.block[1];
    return true;
  }

  // Whether the configuration allows this reading of the tensors; without one the tensors alone decide.
  bool allowed(const std::string& module, const Scheme& found, uint64_t in) const {
    if (settings_.body.is_null()) return true;
    const auto list = candidates(module);
    return std::any_of(list.begin(), list.end(), [&](const ConfigGroup* g) { return agrees(*g, found, in); });
  }

  // What the values become: scales have the model's dtype, except F32 ones, which suit every model.
  DType value_dtype(const StoredIn* scale) const {
    if (scale != nullptr && (scale->tensor.dtype == DType::kF16 || scale->tensor.dtype == DType::kBF16))
      return scale->tensor.dtype;
    const bool f32 = scale != nullptr && scale->tensor.dtype == DType::kF32;
    return f32 && settings_.body.is_null() ? DType::kF32 : settings_.dtype;
  }

  void decoded(const std::string& module, std::vector<uint64_t> shape, const Format& format, Coding coding,
               const Parts& p) {
    Weight w;
    w.name = module + ".weight";
    w.dtype = value_dtype(p.scale);
    w.format = format_text(format, coding);
    w.shared = coding.shared;
    w.placement = compressed_tensors_placement(w.name, shape, format, coding);
    w.shape = std::move(shape);
    r_.claim(std::move(w), *p.codes);
  }

  void unread(const std::string& module, std::vector<uint64_t> shape, const std::string& what,
              const Parts& p) {
    r_.claim_unread(module + ".weight", std::move(shape), value_dtype(p.scale), what + ", compressed-tensors",
                    {p.codes, p.scale, p.zero, p.shape, p.global, p.order});
  }

  // The two integers of weight_shape, which must fit the packed words: `per_word` values at most in each.
  std::vector<uint64_t> shape_of(const StoredIn& s, const StoredIn& codes) const {
    if (s.tensor.dtype != DType::kI64 || s.tensor.bytes != 16) r_.bad(s, "a weight's shape is two I64");
    const std::string raw = r_.content(s, 16);
    uint64_t shape[2];
    std::memcpy(shape, raw.data(), 16);
    const auto& words = codes.tensor.shape;
    if (words.size() != 2 || shape[0] != words[0] || shape[1] == 0 || shape[1] / 16 > words[1]) {
      r_.bad(s, fmt::format("shape [{}, {}] does not fit codes of [{}]", static_cast<int64_t>(shape[0]),
                            static_cast<int64_t>(shape[1]), fmt::join(words, ", ")));
    }
    return {shape[0], shape[1]};
  }

  static bool is_scale(DType t) { return t == DType::kF32 || t == DType::kF16 || t == DType::kBF16; }

  void packed(const std::string& module, const StoredIn& codes) {
    const Parts p = parts_of(module, &codes);
    if (codes.tensor.shape.size() != 2) r_.bad(codes, "packed codes are a matrix");
    if (const StoredIn* scale = r_.find(module + ".scale_packed"); scale != nullptr)
      return marlin(module, codes, *scale);
    if (p.scale == nullptr)
      r_.bad(codes, fmt::format("{}, which belongs to it, is missing", quote(module + ".weight_scale")));
    if (p.scale->tensor.shape.size() != 2 || p.scale->tensor.shape[0] != codes.tensor.shape[0]) {
      r_.bad(*p.scale, fmt::format("scales [{}] for codes [{}]", fmt::join(p.scale->tensor.shape, ", "),
                                   fmt::join(codes.tensor.shape, ", ")));
    }
    if (codes.tensor.dtype == DType::kI32) return packed_integers(module, p);
    if (codes.tensor.dtype == DType::kU8) return packed_floats(module, p);
    r_.bad(codes, fmt::format("packed codes are I32 or U8, not {}", viva::name(codes.tensor.dtype)));
  }

  void packed_integers(const std::string& module, const Parts& p) {
    if (p.shape == nullptr)
      r_.bad(*p.codes, fmt::format("{}, which belongs to it, is missing", quote(module + ".weight_shape")));
    const std::vector<uint64_t> shape = shape_of(*p.shape, *p.codes);
    const uint64_t in = shape[1], words = p.codes->tensor.shape[1], groups = p.scale->tensor.shape[1];
    // Bits per value; more than one number fits a very short row.
    const auto fits = [&](uint64_t bits) { return ceil_div(in * bits, 32) == words; };
    const auto list = candidates(module);
    uint64_t bits = 0;
    for (const ConfigGroup* g : list) {
      if (bits == 0 && g->scheme && g->scheme->bits <= 8 && fits(g->scheme->bits)) bits = g->scheme->bits;
    }
    for (uint64_t b : {4, 8, 3, 2, 5, 6, 7}) {
      if (bits == 0 && fits(b)) bits = b;
    }
    if (bits == 0)
      r_.bad(*p.codes, fmt::format("[{}] words for a weight [{}]", fmt::join(p.codes->tensor.shape, ", "),
                                   fmt::join(shape, ", ")));
    const bool asymmetric = p.zero != nullptr;
    const Format* format = bits == 4 ? find_format(asymmetric ? "int4-asym" : "int4") : nullptr;
    // The group that gives this number of scales: the configuration's, or the shortest that the format has.
    Scheme found{bits, false, !asymmetric, "group", 0};
    if (format != nullptr && p.order == nullptr && groups != 0 && is_scale(p.scale->tensor.dtype)) {
      for (const ConfigGroup* g : list) {
        if (found.group == 0 && g->scheme && has_group(*format, g->scheme->group) &&
            agrees(*g, with_group(found, g->scheme->group), in) && ceil_div(in, g->scheme->group) == groups) {
          found.group = g->scheme->group;
        }
      }
      for (uint32_t g : format->groups) {
        if (found.group == 0 && ceil_div(in, g) == groups && allowed(module, with_group(found, g), in))
          found.group = g;
      }
    }
    const bool whole = in % std::max<uint64_t>(1, found.group) == 0 || in < found.group;
    if (found.group != 0 && whole && allowed(module, found, in)) {
      Coding coding;
      coding.group = static_cast<uint32_t>(found.group);
      coding.scale = p.scale->tensor.dtype;
      return decoded(module, shape, *format, coding, p);
    }
    std::string what = fmt::format("int{} packed", bits);
    if (groups > 1) what += fmt::format(" in groups of {}", ceil_div(in, groups));
    if (groups == 1) what += ", a scale per row";
    if (asymmetric) what += ", asymmetric";
    if (p.order != nullptr) what += ", columns reordered";
    unread(module, shape, what, p);
  }

  static bool has_group(const Format& f, uint64_t group) {
    return group != 0 &&
           (std::find(f.groups.begin(), f.groups.end(), group) != f.groups.end() || f.group == group);
  }
  static Scheme with_group(Scheme s, uint64_t group) {
    s.group = group;
    return s;
  }

  void packed_floats(const std::string& module, const Parts& p) {
    const uint64_t half = p.codes->tensor.shape[1], groups = p.scale->tensor.shape[1];
    const auto in = checked_mul(half, 2);
    if (!in) r_.bad(*p.codes, "rows too long");
    const std::vector<uint64_t> shape = {p.codes->tensor.shape[0], *in};
    const bool nv = p.global != nullptr;
    const uint64_t group = nv ? 16 : 32;
    const Scheme found{4, true, p.zero == nullptr, nv ? "tensor_group" : "group", group};
    const bool scales = p.scale->tensor.dtype == (nv ? DType::kF8E4M3 : DType::kU8) &&
                        groups * group == *in && shape[0] != 0 && *in != 0;
    const Format* format = find_format(nv ? "nvfp4" : "mxfp4");
    if (format != nullptr && scales && p.zero == nullptr && p.order == nullptr &&
        allowed(module, found, *in)) {
      Coding coding;
      if (nv) {
        if (p.global->tensor.dtype != DType::kF32 || p.global->tensor.bytes != 4)
          r_.bad(*p.global, "a global scale is one F32");
        std::memcpy(&coding.shared.scale, r_.content(*p.global, 4).data(), 4);
      }
      return decoded(module, shape, *format, coding, p);
    }
    unread(module, shape,
           fmt::format("fp4 packed in groups of {} with {} scales", groups == 0 ? 0 : *in / groups,
                       viva::name(p.scale->tensor.dtype)),
           p);
  }

  // One byte a value: weight and weight_scale.
  void bytes(const std::string& module, const StoredIn& scale) {
    const StoredIn* codes = r_.find(module + ".weight");
    if (codes == nullptr) return;
    const DType t = codes->tensor.dtype;
    if (viva::bytes(t) != 1) return;
    const Parts p = parts_of(module, codes);
    const auto& shape = codes->tensor.shape;
    const auto& scales = scale.tensor.shape;
    const bool floating = t == DType::kF8E4M3;
    const bool plain = (t == DType::kI8 || floating) && is_scale(scale.tensor.dtype) && p.zero == nullptr &&
                       p.order == nullptr;
    Scheme found{8, floating, p.zero == nullptr, "tensor", 0};
    const bool matrix = shape.size() == 2 && shape[0] != 0 && shape[1] != 0 && scales.size() == 2;
    const Format* format = nullptr;
    if (matrix && scales[0] == shape[0] && scales[1] == 1) {
      found.strategy = "channel";
      format = find_format(floating ? "fp8" : "w8a8");
    } else if (matrix && scales[0] == shape[0] && scales[1] > 1 && shape[1] % scales[1] == 0) {
      found.strategy = "group";
      found.group = shape[1] / scales[1];
    }
    if (plain && matrix && format == nullptr && floating && scales[0] == ceil_div(shape[0], 128) &&
        scales[1] == ceil_div(shape[1], 128)) {
      Scheme block = found;
      block.strategy = "block", block.group = 0, block.block[0] = block.block[1] = 128;
      if (allowed(module, block, shape[1])) found = block, format = find_format("fp8-block");
    }
    if (plain && format != nullptr && allowed(module, found, shape[1])) {
      Coding coding;
      coding.scale = scale.tensor.dtype;
      return decoded(module, shape, *format, coding, p);
    }
    const std::string_view kind = floating && scale.tensor.dtype == DType::kU8 ? "mxfp8"
                                  : floating                                   ? "fp8"
                                  : t == DType::kI8                            ? "int8"
                                                                               : viva::name(t);
    std::string what(kind);
    if (found.strategy == "group") what += fmt::format(" in groups of {}", found.group);
    if (found.strategy == "tensor" && (scales.empty() || (scales.size() == 1 && scales[0] == 1)))
      what += ", a scale per tensor";
    if (found.strategy == "channel") what += ", a scale per row";
    if (found.strategy == "block") what += " in blocks of 128x128";
    if (found.strategy == "tensor" && scales.size() == 2)
      what += fmt::format(" in blocks, scales [{}]", fmt::join(scales, ", "));
    if (p.zero != nullptr) what += ", asymmetric";
    unread(module, shape, what, p);
  }

  // 2:4 sparse, kept values and a mask; removed from newer versions of the package.
  void sparse(const std::string& module, const StoredIn& mask) {
    const StoredIn* values = r_.find(module + ".compressed");
    if (values == nullptr) return;
    const StoredIn* stored_shape = r_.find(module + ".shape");
    std::vector<uint64_t> shape = values->tensor.shape;
    if (!shape.empty()) shape.back() = checked_mul(shape.back(), 2).value_or(0);
    const std::string_view name = module_of(module, "weight");
    r_.claim_unread(
        std::string(name.empty() ? module : name) + ".weight", shape, values->tensor.dtype,
        fmt::format("{}, 2:4 sparse with a bitmask, compressed-tensors", viva::name(values->tensor.dtype)),
        {values, &mask, stored_shape});
  }

  void marlin(const std::string& module, const StoredIn& codes, const StoredIn& scale) {
    r_.claim_unread(module + ".weight", codes.tensor.shape, scale.tensor.dtype,
                    "2:4 sparse in Marlin tiles, compressed-tensors",
                    {&codes, &scale, r_.find(module + ".meta")});
  }

  Recognizer r_;
  Quantization settings_;
  std::vector<ConfigGroup> groups_;
  std::unordered_map<std::string, size_t> named_;
};

}  // namespace

std::vector<Weight> recognize_compressed_tensors(std::vector<StoredIn>& stored,
                                                 const std::vector<InputFile>& files,
                                                 const std::string& config) {
  return Reader(stored, files, config).read();
}

}  // namespace viva::io
