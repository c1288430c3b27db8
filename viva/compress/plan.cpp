#include "viva/compress/plan.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "viva/base/checked.h"
#include "viva/io/bitsandbytes.h"
#include "viva/io/compressed_tensors.h"
#include "viva/io/gguf_to_hf.h"
#include "viva/io/quote.h"
#include "viva/io/safetensors.h"

namespace viva {

namespace fs = std::filesystem;
using nlohmann::json;
using nlohmann::ordered_json;

namespace {

std::string json_text(const std::string& text) { return json(text).dump(-1, ' ', false, json::error_handler_t::replace); }

DType plain_dtype(std::string_view format) {
  return format == "f16" ? DType::kF16 : format == "bf16" ? DType::kBF16 : DType::kF32;
}

std::string torch_dtype(DType t) { return t == DType::kBF16 ? "bfloat16" : t == DType::kF16 ? "float16" : "float32"; }

io::Placement plain_placement(const std::string& name, const std::vector<uint64_t>& shape, const Format& format, const Coding& coding) {
  io::Placement p;
  p.format = &format;
  p.coding = coding;
  p.view = {1, shape.empty() ? 1 : shape.back(), 0};
  for (size_t d = 0; d + 1 < shape.size(); ++d) p.view.rows *= shape[d];
  p.tensors = {{name, plain_dtype(format.name), shape, 0, p.view.rows * p.view.cols * bytes(plain_dtype(format.name))}};
  p.pieces = {{0}};
  return p;
}

// A plain weight of a GGUF file gets its own name, one of NumPy's Fortran order its own shape.
io::Placement kept_placement(const io::Weight& w) {
  io::Placement p;
  for (const io::StoredIn& s : w.stored) p.tensors.push_back(s.tensor);
  if (w.stored.size() == 1 && w.stored[0].ggml_type >= 0) p.tensors[0].name = w.name;
  if (w.transposed) p.tensors[0].shape = w.shape;
  return p;
}

// What the source's kind of file cannot become in the Hugging Face layouts.
void check_source(const io::Checkpoint& model, bool convert) {
  for (const io::Weight& w : model.weights()) {
    if (!convert && model.kind() == io::Kind::kGguf && (!w.decodable || w.placement.format != nullptr)) {
      throw Error(Code::kBadInput, "compress", fmt::format("{} is {} already, which only GGUF files hold", io::quote(w.name), w.format),
                  "start from a file of f32, f16 or bf16; viva convert changes the container of quantized models");
    }
    if (model.kind() == io::Kind::kNpz || model.kind() == io::Kind::kNpy) {
      if (!w.decodable && w.shape.size() > 2 && w.dtype != DType::kC64) {
        throw Error(Code::kBadInput, "compress", fmt::format("{} is {}", io::quote(w.name), w.format), "save it in C order (numpy.ascontiguousarray)");
      }
    }
  }
}

// The name that readers of the layout will know the weight by: arrays have no ".weight" of their own.
std::string name_in(Layout layout, const io::Weight& w, const Format& format) {
  const bool module = layout == Layout::kCompressedTensors || (layout == Layout::kBitsandbytes && format.name == "int8");
  return module && !w.name.ends_with(".weight") ? w.name + ".weight" : w.name;
}

// The coding of a weight: what the user chose, with scales and rounding in the weight's own dtype.
Coding coding_for(const Choice& choice, const io::Weight& w, Encoder encoder) {
  Coding c = choice.coding;
  c.encoder = encoder;
  c.arithmetic = w.dtype == DType::kBF16 || w.dtype == DType::kF16 ? w.dtype : DType::kF32;
  // The scales of ggml's Q4_0 are f16; compressed-tensors computes in bf16 where scales are no floats of the model's kind.
  if (w.placement.format != nullptr && w.placement.format->gguf_type >= 0) {
    c.arithmetic = choice.format->name == "int4" ? DType::kF16 : DType::kBF16;
  }
  c.scale = c.arithmetic;
  return c;
}

}  // namespace

bool says_all(const Format& format, const io::Weight& w) {
  if (w.placement.format != nullptr) return false;
  const bool narrower = w.dtype == DType::kF16 || w.dtype == DType::kBF16;
  return plain_dtype(format.name) == w.dtype || (format.name == "f32" && narrower);
}

uint64_t Item::bytes() const {
  uint64_t n = 0;
  for (const io::StoredTensor& t : placement.tensors) n += t.bytes;
  return n;
}

std::string Item::key() const {
  std::string text = fmt::format("{}|{}", name, choice.text);
  if (placement.format != nullptr) {
    const Coding& c = placement.coding;
    text += fmt::format("|{}|{}|{}|{}|{}|{}|{}|{}", kVersion, c.group, viva::name(c.scale), viva::name(c.arithmetic),
                        static_cast<int>(c.encoder), c.signed_scale, permuted_head_dim, transposed ? "t" : stored_order ? "s" : "");
  }
  for (const io::StoredTensor& t : placement.tensors) text += fmt::format("|{}:{}:{}", t.name, viva::name(t.dtype), fmt::join(t.shape, ","));
  return text;
}

Plan::Plan(const io::Checkpoint& source, const fs::path& destination, const PlanOptions& options, const std::vector<bool>& nonfinite)
    : model(source), convert(options.convert), exact(options.exact), encoder_(options.encoder), to_(options.format), config_(source.config()) {
  const bool gguf = destination.extension() == ".gguf";
  std::vector<Decision> decisions;
  if (convert) {
    Conversion c = decide_conversion(model, gguf, options.format);
    main = std::move(c.main);
    layout = c.layout;
    decisions = std::move(c.decisions);
  } else {
    main = parse_choice(options.format, gguf);
    if (main.format == nullptr) throw Error(Code::kUsage, "compress", "'keep' is not a format to compress to", "use it in --rule");
    layout = layout_for(main, gguf);
    std::vector<Rule> rules;
    for (const std::string& r : options.rules) rules.push_back(parse_rule(r));
    decisions = decide(model, main, layout, rules);
  }
  directory = !gguf && destination.extension() != ".safetensors";
  for (size_t i = 0; i < nonfinite.size(); ++i) {
    if (nonfinite[i]) decisions[i] = {Choice{}, std::string(kNonfinite)};
  }
  warnings = model.warnings();
  if (gguf && model.kind() == io::Kind::kGguf) {
    place_gguf_in_gguf(decisions);
    plan_gguf();
  } else if (gguf) {
    place_in_gguf(decisions);
    plan_gguf();
  } else {
    place_in_directory(decisions);
    plan_huggingface(options);
  }
  if (!convert && std::none_of(items.begin(), items.end(), [](const Item& i) { return !i.kept; })) {
    std::string first;
    for (const Item& i : items) {
      const io::Weight& w = model.weights()[i.weight];
      if (w.shape.size() < 2) continue;
      const bool packed = w.placement.format != nullptr;
      if (first.empty() || packed) first = fmt::format("{} is kept: {}", io::quote(i.name), i.reason);
      if (!packed) continue;
      first += "; viva convert --to FORMAT --requantize codes quantized models anew";
      break;
    }
    throw Error(Code::kBadInput, "compress", fmt::format("{}: no tensor would become {}", model.path().string(), main.text), first);
  }
  for (Item& item : items) {
    if (item.placement.format != nullptr) item.chunks = io::chunks_of(item.placement);
  }
}

void Plan::place_in_directory(std::vector<Decision>& decisions) {
  check_source(model, convert);
  if (model.kind() == io::Kind::kGguf && directory) make_config_of_gguf();
  for (size_t i = 0; i < decisions.size(); ++i) {
    const io::Weight& w = model.weights()[i];
    if (left_out_.count(i) != 0) continue;
    Item item;
    item.weight = i;
    item.name = w.name;
    item.choice = std::move(decisions[i].choice);
    item.reason = std::move(decisions[i].reason);
    item.kept = item.choice.format == nullptr;
    if (item.kept) {
      item.placement = kept_placement(w);
    } else {
      const Coding coding = coding_for(item.choice, w, encoder_);
      const Layout layout = layout_for(item.choice, false);
      item.kept = convert && layout == Layout::kPlain && says_all(*item.choice.format, w);
      item.name = name_in(layout, w, *item.choice.format);
      item.transposed = decisions[i].transposed;
      const std::vector<uint64_t> shape = item.transposed ? std::vector<uint64_t>{w.cols(), w.rows()} : w.shape;
      switch (layout) {
        case Layout::kBitsandbytes:
          item.placement = io::bitsandbytes_placement(item.name, shape, w.dtype, *item.choice.format, coding);
          break;
        case Layout::kCompressedTensors:
          item.placement = io::compressed_tensors_placement(item.name, w.shape, *item.choice.format, coding);
          if (convert && w.placement.format != nullptr && w.placement.format->name == "nvfp4-gguf" && item.choice.format->name == "nvfp4") {
            item.shared = Shared{.scale = 1.0f / w.shared.scale};
          } else {
            item.fused_set = io::fused_set(item.name);
          }
          break;
        default:
          item.placement = plain_placement(item.name, shape, *item.choice.format, coding);
          break;
      }
    }
    items.push_back(std::move(item));
  }
  // Seen with transformers 5.23: experts a thousandfold too large.
  if (std::any_of(items.begin(), items.end(), [](const Item& i) {
        return i.placement.format != nullptr && i.placement.format->name == "nvfp4" && i.name.find(".experts.") != std::string::npos;
      })) {
    warnings.push_back("transformers forgets the tensor scale of NVFP4 experts when it fuses them, and computes nonsense; for it, add "
                       "--rule '*.experts.*=int4-g128' or use mxfp4");
  }
}

void Plan::plan_huggingface(const PlanOptions& options) {
  // Shards are filled in the order of the source; all tensors of a weight stay together.
  const uint64_t limit = directory ? options.shard : UINT64_MAX;
  std::vector<std::vector<size_t>> shards(1);
  uint64_t filled = 0;
  for (size_t i = 0; i < items.size(); ++i) {
    const uint64_t n = items[i].bytes();
    if (!shards.back().empty() && filled + n > limit) {
      shards.emplace_back();
      filled = 0;
    }
    shards.back().push_back(i);
    filled += n;
  }
  uint64_t total_size = 0, total_parameters = 0;
  std::vector<std::pair<std::string, std::string>> weight_map;
  for (size_t s = 0; s < shards.size(); ++s) {
    PlannedFile file;
    if (directory) file.name = shards.size() == 1 ? "model.safetensors" : fmt::format("model-{:05}-of-{:05}.safetensors", s + 1, shards.size());
    for (size_t i : shards[s]) {
      for (size_t t = 0; t < items[i].placement.tensors.size(); ++t) file.tensors.emplace_back(i, t);
    }
    // Wide elements first: every tensor lies on a multiple of its element size.
    std::stable_sort(file.tensors.begin(), file.tensors.end(), [&](const auto& a, const auto& b) {
      const auto size = [&](const auto& x) { return bytes(items[x.first].placement.tensors[x.second].dtype); };
      return size(a) > size(b);
    });
    files.push_back(std::move(file));
  }
  const std::vector<ItemHashes> none(items.size());
  for (size_t f = 0; f < files.size(); ++f) {
    files[f].header = header(f, none);
    uint64_t at = files[f].header.size();
    for (const auto& [i, t] : files[f].tensors) {
      Item& item = items[i];
      item.spots.resize(item.placement.tensors.size());
      item.spots[t] = {f, at};
      at += item.placement.tensors[t].bytes;
      total_size += item.placement.tensors[t].bytes;
      weight_map.emplace_back(item.placement.tensors[t].name, files[f].name);
    }
    files[f].bytes = at;
  }
  if (!directory) return;
  for (const Item& item : items) total_parameters += model.weights()[item.weight].count();
  if (files.size() > 1) {
    std::sort(weight_map.begin(), weight_map.end());
    std::string text = fmt::format("{{\n  \"metadata\": {{\n    \"total_parameters\": {},\n    \"total_size\": {}\n  }},\n  \"weight_map\": {{", total_parameters, total_size);
    for (size_t i = 0; i < weight_map.size(); ++i) {
      text += fmt::format("{}\n    {}: \"{}\"", i == 0 ? "" : ",", json_text(weight_map[i].first), weight_map[i].second);
    }
    texts.emplace_back("model.safetensors.index.json", text + "\n  }\n}\n");
  }
  make_texts();
  side_files = model.side_files();
  for (const std::string& name : side_files) side_bytes_ += fs::file_size(model.path() / name);
}

// The texts of a model directory, from a file that has everything in its metadata.
void Plan::make_config_of_gguf() {
  std::map<DType, uint64_t> values;
  for (const io::Weight& w : model.weights()) {
    if (w.placement.format == nullptr) values[w.dtype] += w.count();
  }
  DType dtype = DType::kF16;
  if (main.format == nullptr) {
    const auto most = std::max_element(values.begin(), values.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
    if (most != values.end()) dtype = most->first;
  } else if (layout == Layout::kPlain) {
    dtype = plain_dtype(main.format->name);
  }
  io::HfFiles files = io::make_hf_files(model, dtype);
  left_out_.insert(files.left_out.begin(), files.left_out.end());
  for (auto& [name, text] : files.texts) {
    if (name == "config.json") {
      config_ = std::move(text);
    } else {
      texts.emplace_back(name, std::move(text));
    }
  }
  warnings.insert(warnings.end(), files.warnings.begin(), files.warnings.end());
}

void Plan::make_texts() {
  if (config_.empty()) return;
  if (main.format == nullptr) {
    texts.emplace_back("config.json", config_);
    return;
  }
  ordered_json config = ordered_json::parse(config_);
  for (const char* key : {"quantization_config", "compression_config"}) config.erase(key);
  DType dtype = DType::kF32;
  std::set<std::string> kept;
  bool head = false, bf16 = false;
  for (const Item& item : items) {
    const io::Weight& w = model.weights()[item.weight];
    const bool quantized = item.choice.format != nullptr && layout_for(item.choice, false) != Layout::kPlain;
    const std::string module = item.name.substr(0, item.name.size() - std::min<size_t>(item.name.size(), 7));
    if (quantized) {
      dtype = item.placement.coding.arithmetic;
      head |= module == "lm_head";
      bf16 |= layout == Layout::kCompressedTensors && io::decodes_to_bf16(*item.choice.format);
    } else if (w.shape.size() == 2 && item.name.ends_with(".weight") && item.reason != "embedding" && module != "lm_head") {
      kept.insert(module);  // heads of other names too: loaders leave out lm_head alone by themselves
    }
  }
  if (layout == Layout::kPlain) dtype = plain_dtype(main.format->name);
  if (bf16 && dtype != DType::kBF16) {
    warnings.push_back(fmt::format("config.json says bfloat16, not {}: compressed-tensors decodes {} to bfloat16, and a model of two types "
                                   "does not run; kept weights are in the file as they were",
                                   torch_dtype(dtype), main.text));
    dtype = DType::kBF16;
  }
  for (const char* key : {"torch_dtype", "dtype"}) {
    if (config.contains(key)) config[key] = torch_dtype(dtype);
  }
  if (!config.contains("torch_dtype") && !config.contains("dtype")) config["torch_dtype"] = torch_dtype(dtype);
  const std::vector<std::string> kept_modules(kept.begin(), kept.end());
  if (layout == Layout::kBitsandbytes) config["quantization_config"] = io::bitsandbytes_config(*main.format, dtype, kept_modules, head);
  if (layout == Layout::kCompressedTensors) {
    std::vector<io::CompressedGroup> groups;
    for (const Item& item : items) {
      if (item.choice.format == nullptr || layout_for(item.choice, false) == Layout::kPlain) continue;
      const auto same = [&](const io::CompressedGroup& g) {
        return g.format == item.choice.format && g.coding.group == item.choice.coding.group;
      };
      auto found = std::find_if(groups.begin(), groups.end(), same);
      if (found == groups.end()) found = groups.insert(groups.end(), {item.choice.format, item.choice.coding, {}});
      found->modules.push_back(item.name.substr(0, item.name.size() - 7));
    }
    config["quantization_config"] = io::compressed_tensors_config(groups, kept_modules, head);
  }
  texts.emplace_back("config.json", config.dump(2) + "\n");
}

std::string Plan::safetensors_header(size_t f, const std::vector<ItemHashes>& hashes) const {
  std::vector<io::StoredTensor> list;
  for (const auto& [i, t] : files[f].tensors) list.push_back(items[i].placement.tensors[t]);
  std::map<std::string, std::string> metadata = {{"format", "pt"}};
  if (!directory) metadata["viva"] = manifest(hashes);
  return io::make_safetensors_header(list, metadata);
}

std::string Plan::header(size_t file, const std::vector<ItemHashes>& hashes) const {
  return layout == Layout::kGguf ? gguf_header(hashes, nullptr) : safetensors_header(file, hashes);
}

std::string Plan::manifest(const std::vector<ItemHashes>& hashes) const {
  const std::string how = convert ? fmt::format("\"convert\":{},", json_text(to_)) : "";
  std::string text = fmt::format("{{\"viva\":\"{}\",{}\"format\":{},\"encoder\":\"{}\",\"tensors\":[", kVersion, how, json_text(main.text), name(encoder_));
  for (size_t i = 0; i < items.size(); ++i) {
    text += fmt::format("{}\n{{\"name\":{},\"format\":{},\"source\":\"{}\",\"checksum\":\"{}\"}}", i == 0 ? "" : ",", json_text(items[i].name),
                        json_text(items[i].choice.format == nullptr ? "keep" : items[i].choice.text), hashes[i].source, hashes[i].checksum);
  }
  return text + "\n]}\n";
}

uint64_t Plan::total_bytes() const {
  uint64_t n = side_bytes_;
  for (const PlannedFile& f : files) n += f.bytes;
  for (const auto& [name, text] : texts) n += text.size();
  if (directory) n += manifest(std::vector<ItemHashes>(items.size())).size();
  return n;
}

std::string Plan::fingerprint() const {
  XXH3_state_t* state = XXH3_createState();
  XXH3_128bits_reset(state);
  const auto add = [&](const std::string& text) { XXH3_128bits_update(state, text.data(), text.size() + 1); };
  for (const PlannedFile& f : files) add(f.name + f.header);
  for (const Item& i : items) add(i.key());
  for (const auto& [name, text] : texts) add(name + text);
  const XXH128_hash_t h = XXH3_128bits_digest(state);
  XXH3_freeState(state);
  return fmt::format("{:016x}{:016x}", h.high64, h.low64);
}

}  // namespace viva
