#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <unordered_map>
#include <unordered_set>

#include "viva/io/gguf_to_hf_parts.h"
#include "viva/io/gguf_tokenizer.h"
#include "viva/io/quote.h"

// The tokenizer of a GGUF file as the files that the packages tokenizers and transformers read.
namespace viva::io::detail {
namespace {

using nlohmann::json;

enum Type : int32_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

constexpr std::string_view kSpace = "\xe2\x96\x81";  // U+2581, SentencePiece's space
// Longer pieces are never made by merging, and the merges together take no more bytes than this: what a file
// can ask for grows faster than the file. Published vocabularies have pieces of up to 100 bytes and some 10
// MB of merges.
constexpr size_t kLongestPiece = 512, kMostMergeBytes = 256 << 20;

// Each added token takes some hundred bytes of each file; published models have up to some thousand.
constexpr size_t kMostAdded = 1 << 17;

// Why a tokenizer cannot be rebuilt.
struct Refusal {
  std::string reason;
};

template <class T>
const std::vector<T>* list_of(const GgufMetadata& metadata, std::string_view key, size_t size, bool needed) {
  const GgufValue* v = find(metadata, key);
  if (v == nullptr && !needed) return nullptr;
  const auto* list = v == nullptr ? nullptr : std::get_if<std::vector<T>>(v);
  if (list == nullptr || (size != 0 && list->size() < size)) {
    throw Refusal{fmt::format("{} {}", key, missing_or(v))};
  }
  return list;
}

std::string in_json(const std::string& text) {
  try {
    return json(text).dump();
  } catch (const json::exception&) {
    throw Refusal{fmt::format("{} is not UTF-8", quote(text, 40))};
  }
}

struct Merge {
  uint32_t left, right, whole;
};

class HfTokenizer {
 public:
  HfTokenizer(const GgufFacts& facts, const SpecialTokens& special, uint64_t context, HfFiles& out)
      : metadata_(facts.all()), facts_(facts), special_(special), context_(context), out_(out) {}

  void write() {
    const GgufValue* kind = find(metadata_, "tokenizer.ggml.model");
    const auto name = as_string(kind);
    if (kind == nullptr || name == "none" || name == "no_vocab") return;
    if (name != "gpt2" && name != "llama") {
      throw Refusal{
          fmt::format("tokenizer.ggml.model is {}: viva knows \"gpt2\" (byte-level BPE) and \"llama\" "
                      "(SentencePiece)",
                      told(*kind))};
    }
    read_tokens();
    const std::string tokenizer = name == "gpt2" ? byte_level() : sentencepiece();
    const std::string settings = tokenizer_config().dump(2) + "\n";
    out_.texts.emplace_back("tokenizer.json", tokenizer);
    out_.texts.emplace_back("tokenizer_config.json", settings);
    for (std::string& w : warnings_) out_.warnings.push_back(std::move(w));
  }

 private:
  void warn(std::string text) { warnings_.push_back(std::move(text)); }

  bool flag(std::string_view key, bool otherwise) const {
    const GgufValue* v = find(metadata_, key);
    const bool* b = v == nullptr ? nullptr : std::get_if<bool>(v);
    if (v != nullptr && b == nullptr) throw Refusal{fmt::format("{} is {}", key, told(*v))};
    return b == nullptr ? otherwise : *b;
  }

  // Fills tokens_, types_ and ids_. What only fills the vocabulary up to the height of the embedding is no
  // token.
  void read_tokens() {
    tokens_ = list_of<std::string>(metadata_, "tokenizer.ggml.tokens", 1, true);
    const auto& tokens = *tokens_;
    if (tokens.size() > UINT32_MAX) throw Refusal{"tokenizer.ggml.tokens is too long"};
    const auto* types = list_of<int32_t>(metadata_, "tokenizer.ggml.token_type", tokens.size(), false);
    types_.assign(tokens.size(), kNormal);
    if (types != nullptr) std::copy_n(types->begin(), tokens.size(), types_.begin());
    for (const auto& [name, id] : special_.ids) {
      if (id < tokens.size()) types_[id] = name == "unk" ? kUnknown : kControl;
    }
    uint64_t doubled = 0;
    ids_.reserve(tokens.size());
    for (uint32_t i = 0; i < tokens.size(); ++i) {
      const bool filler =
          (types_[i] == kUnused || types_[i] == kUserDefined) && tokens[i] == fmt::format("[PAD{}]", i);
      if (filler || !ids_.emplace(tokens[i], i).second) {
        doubled += !filler;
        types_[i] = 0;
      }
    }
    uint64_t added = 0;
    for (uint32_t i = 0; i < tokens.size(); ++i) added += is_added(i);
    if (added > kMostAdded) throw Refusal{fmt::format("{} of its tokens are no parts of texts", added)};
    if (doubled > 0)
      warn(fmt::format("{} tokens have the text of another one, which a tokenizer.json cannot say: left out",
                       doubled));
  }

  bool is_added(uint32_t id) const { return types_[id] >= kUnknown && types_[id] <= kUserDefined; }

  // Added tokens are cut out of a text before anything else is done to it.
  static json added_token(const std::string& text, bool special) {
    return {{"content", text}, {"lstrip", false},      {"normalized", false},
            {"rstrip", false}, {"single_word", false}, {"special", special}};
  }

  // All of tokenizer.json but the vocabulary and the merges, which are written as they come: they are large.
  std::string assemble(json parts, const json& model, std::string_view merges) const {
    std::string out =
        "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n  \"added_tokens\": [";
    std::string_view comma = "\n    ";
    for (uint32_t i = 0; i < tokens_->size(); ++i) {
      if (!is_added(i) || (*tokens_)[i].empty()) continue;
      in_json((*tokens_)[i]);
      json t = added_token((*tokens_)[i], types_[i] != kUserDefined);
      t["id"] = i;
      out.append(comma).append(t.dump());
      comma = ",\n    ";
    }
    out += "\n  ]";
    for (const char* part : {"normalizer", "pre_tokenizer", "post_processor", "decoder"})
      out.append(fmt::format(",\n  \"{}\": ", part)).append(parts[part].dump());
    out += ",\n  \"model\": {\n    \"type\": \"BPE\"";
    for (const auto& [key, value] : model.items())
      out.append(fmt::format(",\n    \"{}\": ", key)).append(value.dump());
    out += ",\n    \"vocab\": {";
    comma = "\n      ";
    // Added tokens are in the vocabulary too: then their numbers stand, whatever gaps there are.
    for (uint32_t i = 0; i < tokens_->size(); ++i) {
      if (types_[i] == 0) continue;
      out.append(comma).append(in_json((*tokens_)[i])).append(fmt::format(": {}", i));
      comma = ",\n      ";
    }
    out.append("\n    },\n    \"merges\": [").append(merges).append("\n    ]\n  }\n}\n");
    return out;
  }

  static json bpe_model() {
    return {{"dropout", nullptr},    {"unk_token", nullptr},   {"continuing_subword_prefix", nullptr},
            {"fuse_unk", false},     {"byte_fallback", false}, {"end_of_word_suffix", nullptr},
            {"ignore_merges", false}};
  }

  // What is put around one text and around two.
  json post_processor(bool byte_level) const {
    const auto bos = text_of("bos"), eos = text_of("eos");
    json single = json::array(), pair = json::array(), special = json::object();
    const auto put = [&](const std::optional<std::string>& text, std::string_view name, int type) {
      const json entry = {{"SpecialToken", {{"id", *text}, {"type_id", type}}}};
      if (type == 0) single.push_back(entry);
      pair.push_back(entry);
      special[*text] = {
          {"id", *text}, {"ids", json::array({*special_.find(name)})}, {"tokens", json::array({*text})}};
    };
    for (const int type : {0, 1}) {
      if (add_bos_) put(bos, "bos", type);
      const json sequence = {{"Sequence", {{"id", type == 0 ? "A" : "B"}, {"type_id", type}}}};
      if (type == 0) single.push_back(sequence);
      pair.push_back(sequence);
      if (add_eos_) put(eos, "eos", type);
    }
    const json shape = {
        {"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", special}};
    if (!byte_level) return shape;
    const json bytes = {
        {"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", false}, {"use_regex", true}};
    if (!add_bos_ && !add_eos_) return bytes;
    return {{"type", "Sequence"}, {"processors", json::array({bytes, shape})}};
  }

  std::optional<std::string> text_of(std::string_view name) const {
    const auto id = special_.find(name);
    if (!id || *id >= tokens_->size() || types_[*id] == 0) return std::nullopt;
    return (*tokens_)[*id];
  }

  void read_ends(bool bos) {
    add_bos_ = flag("tokenizer.ggml.add_bos_token", bos) && text_of("bos").has_value();
    add_eos_ = flag("tokenizer.ggml.add_eos_token", false) && text_of("eos").has_value();
  }

  std::string byte_level() {
    const GgufValue* v = find(metadata_, "tokenizer.ggml.pre");
    const auto pre = make_pre_tokenizer(as_string(v).value_or(""));
    if (!pre) {
      throw Refusal{
          fmt::format("tokenizer.ggml.pre {}, and viva does not know what it cuts texts by", missing_or(v))};
    }
    if (facts_.architecture() == "qwen2" && *make_pre_tokenizer("qwen2") != *pre) {
      warn(fmt::format(
          "tokenizer.ggml.pre is {}: some versions of transformers give every model of type qwen2 the "
          "pre-tokenizer of Qwen",
          quote(as_string(v).value_or(""), 40)));
    }
    const auto* lines = list_of<std::string>(metadata_, "tokenizer.ggml.merges", 0, true);
    std::string merges;
    std::string_view comma = "\n      ";
    uint64_t dropped = 0;
    for (const std::string& line : *lines) {
      const size_t space = line.find(' ', 1);
      // A merge of tokens that are not there would make the whole file unreadable.
      if (line.empty() || space == std::string::npos || !has(line.substr(0, space)) ||
          !has(line.substr(space + 1)) || !has(line.substr(0, space) + line.substr(space + 1)) ||
          line.find(' ', space + 1) != std::string::npos) {
        ++dropped;
        continue;
      }
      merges.append(comma).append(in_json(line));
      comma = ",\n      ";
    }
    if (dropped > 0)
      warn(fmt::format("{} of {} merges name tokens that are not there: left out", dropped, lines->size()));
    read_ends(pre->add_bos);
    json model = bpe_model();
    model["ignore_merges"] = pre->ignore_merges;
    json parts;
    parts["normalizer"] = pre->nfc ? json{{"type", "NFC"}} : json(nullptr);
    parts["pre_tokenizer"] = json::parse(pre->json);
    parts["post_processor"] = post_processor(true);
    parts["decoder"] = {
        {"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}};
    return assemble(parts, model, merges);
  }

  bool has(const std::string& text) const { return ids_.find(text) != ids_.end(); }

  // SentencePiece merges the neighbours whose union has the best score. A BPE model does the same where every
  // way to cut a piece in two pieces is a merge, in the order of the scores.
  std::string sentencepiece() {
    const GgufValue* v = find(metadata_, "tokenizer.ggml.scores");
    const auto* floats = v == nullptr ? nullptr : std::get_if<std::vector<float>>(v);
    if (floats == nullptr || floats->size() < tokens_->size() ||
        std::any_of(floats->begin(), floats->end(), [](float f) { return std::isnan(f); })) {
      throw Refusal{fmt::format("tokenizer.ggml.scores {}", missing_or(v))};
    }
    bool bytes = true;
    for (int b = 0; b < 256; ++b) bytes = bytes && has(fmt::format("<0x{:02X}>", b));
    read_ends(true);
    const bool prefix = flag("tokenizer.ggml.add_space_prefix", true);

    json model = bpe_model();
    if (const auto unknown = text_of("unk")) model["unk_token"] = *unknown;
    model["fuse_unk"] = true;
    model["byte_fallback"] = bytes;
    json parts;
    const json spaces = {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", kSpace}};
    json decoder = json::array({{{"type", "Replace"}, {"pattern", {{"String", kSpace}}}, {"content", " "}},
                                {{"type", "ByteFallback"}},
                                {{"type", "Fuse"}}});
    json normalizers = json::array();
    if (prefix) {
      normalizers.push_back({{"type", "Prepend"}, {"prepend", kSpace}});
      decoder.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
    }
    normalizers.push_back(spaces);
    parts["normalizer"] = {{"type", "Sequence"}, {"normalizers", normalizers}};
    parts["pre_tokenizer"] = nullptr;
    parts["post_processor"] = post_processor(false);
    parts["decoder"] = {{"type", "Sequence"}, {"decoders", decoder}};
    return assemble(parts, model, merges_by_score(*floats));
  }

  std::string merges_by_score(const std::vector<float>& scores) {
    const auto& tokens = *tokens_;
    std::unordered_map<std::string_view, uint32_t> pieces;  // those that may be part of a merge
    for (uint32_t i = 0; i < tokens.size(); ++i) {
      const bool byte = tokens[i].size() == 6 && tokens[i].starts_with("<0x") && tokens[i][5] == '>';
      if (types_[i] != 0 && !is_added(i) && types_[i] != kByte && !byte) pieces.emplace(tokens[i], i);
    }
    std::vector<uint32_t> order;
    uint64_t longer = 0;
    for (const auto& [text, id] : pieces) {
      if (text.size() <= kLongestPiece) order.push_back(id);
      longer += text.size() > kLongestPiece;
    }
    if (longer > 0)
      warn(fmt::format("{} tokens of more than {} bytes: this tokenizer.json never makes them", longer,
                       kLongestPiece));
    std::sort(order.begin(), order.end(),
              [&](uint32_t a, uint32_t b) { return scores[a] != scores[b] ? scores[a] > scores[b] : a < b; });

    std::string out;
    std::vector<std::pair<uint32_t, uint32_t>> cuts;
    for (const uint32_t id : order) {
      const std::string_view t = tokens[id];
      // Longer left parts first: runs of one character are merged from the left.
      for (size_t cut = t.size() - (t.empty() ? 0 : 1); cut > 0; --cut) {
        if ((t[cut] & 0xc0) == 0x80) continue;
        const auto a = pieces.find(t.substr(0, cut));
        if (a == pieces.end()) continue;
        const auto b = pieces.find(t.substr(cut));
        if (b != pieces.end()) cuts.emplace_back(a->second, b->second);
      }
      for (const auto& [a, b] : cuts) {
        // As a list of two: a piece may hold a plain space.
        out.append(out.empty() ? "\n      [" : ",\n      [").append(in_json(tokens[a])).append(", ");
        out.append(in_json(tokens[b])).append("]");
      }
      cuts.clear();
      if (out.size() > kMostMergeBytes) throw Refusal{"its merges would take more than 256 MiB"};
    }
    return out;
  }

  json tokenizer_config() {
    json c = {{"tokenizer_class", "PreTrainedTokenizerFast"},
              {"add_bos_token", add_bos_},
              {"add_eos_token", add_eos_},
              {"clean_up_tokenization_spaces", false},
              {"model_input_names", {"input_ids", "attention_mask"}},
              {"model_max_length", context_}};
    // Said to be absent where they are: some classes have tokens of their own otherwise.
    for (const char* name : {"bos", "eos", "unk", "pad"}) {
      const auto text = text_of(name);
      c[fmt::format("{}_token", name)] = text ? json(*text) : json(nullptr);
    }
    for (const char* name : {"sep", "cls", "mask"}) {
      if (const auto text = text_of(name)) c[fmt::format("{}_token", name)] = *text;
    }
    json added = json::object();
    for (uint32_t i = 0; i < tokens_->size(); ++i) {
      if (is_added(i) && !(*tokens_)[i].empty())
        added[std::to_string(i)] = added_token((*tokens_)[i], types_[i] != kUserDefined);
    }
    c["added_tokens_decoder"] = std::move(added);
    chat_template(c);
    return c;
  }

  void chat_template(json& c) {
    const auto take = [&](const std::string& key) -> std::optional<std::string> {
      const GgufValue* v = find(metadata_, key);
      if (v == nullptr) return std::nullopt;
      const auto text = as_string(v);
      try {
        if (text) return in_json(std::string(*text)), std::string(*text);
      } catch (const Refusal&) {
      }
      warn(fmt::format("{} is no text: left out", quote(key, 80)));
      return std::nullopt;
    };
    const auto main = take("tokenizer.chat_template");
    json named = json::array();
    if (const GgufValue* v = find(metadata_, "tokenizer.chat_templates"); v != nullptr) {
      const auto* names = std::get_if<std::vector<std::string>>(v);
      if (names == nullptr || names->size() > 64) {
        warn("tokenizer.chat_templates is no list of up to 64 names: left out");
      } else {
        for (const std::string& name : *names) {
          if (const auto text = take(fmt::format("tokenizer.chat_template.{}", name)))
            named.push_back({{"name", name}, {"template", *text}});
        }
      }
    }
    if (named.empty()) {
      if (main) c["chat_template"] = *main;
      return;
    }
    if (main) named.insert(named.begin(), json{{"name", "default"}, {"template", *main}});
    c["chat_template"] = std::move(named);
  }

  const GgufMetadata& metadata_;
  const GgufFacts& facts_;
  const SpecialTokens& special_;
  uint64_t context_;
  HfFiles& out_;
  const std::vector<std::string>* tokens_ = nullptr;
  std::vector<int32_t> types_;  // 0: left out
  std::unordered_map<std::string_view, uint32_t> ids_;
  bool add_bos_ = false, add_eos_ = false;
  std::vector<std::string> warnings_;
};

}  // namespace

void add_hf_tokenizer(const GgufFacts& facts, const SpecialTokens& special, uint64_t context, HfFiles& out) {
  try {
    HfTokenizer(facts, special, context, out).write();
  } catch (const Refusal& r) {
    out.warnings.push_back(fmt::format("the directory has no tokenizer: {}", r.reason));
  }
}

}  // namespace viva::io::detail
