#include "viva/io/gguf_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_map>
#include <unordered_set>

#include "viva/io/gguf_json.h"

namespace viva::io {
namespace {

using detail::bool_member;
using detail::member;
using detail::parse_object;
using detail::text_member;
using nlohmann::json;

enum Type : int32_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

constexpr std::string_view kSpace = "\xe2\x96\x81";  // U+2581, SentencePiece's space

[[noreturn]] void bad(std::string_view message, std::string_view hint = {}) {
  throw Error(Code::kBadInput, "gguf", message, hint);
}

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
  return text;
}

// "<0x0A>", the name of a single byte.
bool is_byte_piece(std::string_view t) {
  return t.size() == 6 && t.starts_with("<0x") && t[5] == '>' &&
         std::isxdigit(static_cast<unsigned char>(t[3])) && std::isxdigit(static_cast<unsigned char>(t[4]));
}

// Added tokens that are control tokens by their looks, whatever their flag says; llama.cpp's converter does
// the same.
bool looks_special(std::string_view t) {
  const auto between = [&](std::string_view a, std::string_view b) {
    return t.size() > a.size() + b.size() && t.starts_with(a) && t.ends_with(b);
  };
  return between("<|", "|>") || between("<｜", "｜>") || between("<unused", ">") || t == "<pad>" ||
         t == "<mask>";
}

// The vocabulary while it is put together; every id below `size` gets a token in the end.
struct Vocabulary {
  explicit Vocabulary(uint64_t size) : tokens(size), scores(size, -10000.0f), types(size, 0) {}

  std::vector<std::string> tokens;
  std::vector<float> scores;
  std::vector<int32_t> types;  // 0: no token yet
  uint64_t dropped = 0;        // tokens past the end

  void put(uint64_t id, std::string text, float score, int32_t type) {
    if (id >= tokens.size()) {
      ++dropped;
      return;
    }
    tokens[id] = std::move(text);
    scores[id] = score;
    types[id] = type;
  }
};

struct Tokenizer {
  const GgufSource& source;
  GgufModel& model;
  json tokenizer, settings, map, config, generation;
  Vocabulary vocabulary;
  std::unordered_map<std::string, uint64_t> ids;  // text as Hugging Face spells it

  Tokenizer(const GgufSource& s, GgufModel& m)
      : source(s),
        model(m),
        tokenizer(parse_object(s.tokenizer, "tokenizer.json")),
        settings(parse_object(s.tokenizer_config, "tokenizer_config.json")),
        map(parse_object(s.special_tokens_map, "special_tokens_map.json")),
        config(parse_object(s.config, "config.json")),
        generation(parse_object(s.generation_config, "generation_config.json")),
        vocabulary(m.vocabulary) {}

  void warn(std::string text) { model.warnings.push_back(std::move(text)); }
  void key(std::string_view k, GgufValue v) { set(model.metadata, k, std::move(v)); }

  // model.vocab of a tokenizer.json.
  void read_vocab() {
    const json& vocab = member(member(tokenizer, "model"), "vocab");
    if (!vocab.is_object()) bad("tokenizer.json: model.vocab is not an object");
    for (const auto& [text, id] : vocab.items()) {
      if (!id.is_number_unsigned()) bad(fmt::format("tokenizer.json: token '{}' has no number", text));
      ids[text] = id.get<uint64_t>();
      vocabulary.put(id.get<uint64_t>(), text, 0.0f, kNormal);
    }
  }

  void add(uint64_t id, const std::string& text, bool special, bool spm) {
    ids[text] = id;
    const bool unknown =
        id < vocabulary.types.size() && vocabulary.types[id] == kUnknown && vocabulary.tokens[id] == text;
    const int32_t type = unknown ? kUnknown : special || looks_special(text) ? kControl : kUserDefined;
    // A SentencePiece vocabulary holds user defined tokens with plain spaces.
    vocabulary.put(id, spm && type == kUserDefined ? replaced(text, kSpace, " ") : text,
                   spm ? -1000.0f : 0.0f, type);
  }

  // The three places that list added tokens; the first that names an id decides.
  void read_added(bool spm) {
    std::unordered_set<uint64_t> done;
    if (const json& list = member(tokenizer, "added_tokens"); list.is_array()) {
      for (const json& t : list) {
        const auto text = text_member(t, "content");
        if (!text || !member(t, "id").is_number_unsigned())
          bad("tokenizer.json: an added token without content or id");
        const auto id = member(t, "id").get<uint64_t>();
        if (done.insert(id).second) add(id, *text, bool_member(t, "special").value_or(false), spm);
      }
    }
    if (const json& list = member(settings, "added_tokens_decoder"); list.is_object()) {
      for (const auto& [number, t] : list.items()) {
        const auto text = text_member(t, "content");
        if (!text || number.empty() || number.size() > 9 ||
            !std::all_of(number.begin(), number.end(), ::isdigit)) {
          bad("tokenizer_config.json: an added token without content or with a bad id");
        }
        const uint64_t id = std::stoull(number);
        if (done.insert(id).second) add(id, *text, bool_member(t, "special").value_or(false), spm);
      }
    }
    const json added = parse_object(source.added_tokens, "added_tokens.json");
    if (added.is_object()) {
      for (const auto& [text, id] : added.items()) {
        if (!id.is_number_unsigned()) bad(fmt::format("added_tokens.json: '{}' has no number", text));
        if (done.insert(id.get<uint64_t>()).second) add(id.get<uint64_t>(), text, false, spm);
      }
    }
  }

  std::vector<std::pair<std::string, std::string>> merges() const {
    const json& list = member(member(tokenizer, "model"), "merges");
    if (!list.is_array()) bad("tokenizer.json: model.merges is not a list");
    std::vector<std::pair<std::string, std::string>> out;
    out.reserve(list.size());
    for (const json& m : list) {
      if (m.is_array() && m.size() == 2 && m[0].is_string() && m[1].is_string()) {
        out.emplace_back(m[0].get<std::string>(), m[1].get<std::string>());
        continue;
      }
      const std::string text = m.is_string() ? m.get<std::string>() : "";
      const size_t space = text.find(' ', 1);
      if (text.empty() || space == std::string::npos)
        bad(fmt::format("tokenizer.json: '{}' is no merge of two tokens", m.dump().substr(0, 60)));
      out.emplace_back(text.substr(0, space), text.substr(space + 1));
    }
    return out;
  }

  // Byte-level BPE, as GPT-2, Llama 3 and Qwen have it.
  void byte_level() {
    read_vocab();
    read_added(false);
    std::vector<std::string> lines;
    for (const auto& [a, b] : merges())
      lines.push_back(fmt::format("{} {}", replaced(a, " ", "Ġ"), replaced(b, " ", "Ġ")));
    const json& bpe = member(tokenizer, "model");
    const json& pre = member(tokenizer, "pre_tokenizer");
    const bool ignore_merges = bool_member(bpe, "ignore_merges").value_or(false);
    const auto name = find_pre_tokenizer(pre.is_null() ? "{}" : pre.dump(), ignore_merges);
    if (!name) {
      warn(
          "llama.cpp has no pre-tokenizer known to be this model's: \"default\" is written, and text may be "
          "cut into other tokens "
          "than in transformers; the weights are not affected");
    }
    if (has_prefix_space(pre)) warn("llama.cpp does not put this tokenizer's space before the text");
    if (const json& n = member(tokenizer, "normalizer"); !n.is_null() && text_member(n, "type") != "NFC") {
      warn(fmt::format("llama.cpp does not apply this tokenizer's normalizer ({})",
                       text_member(n, "type").value_or("unnamed")));
    }
    emit("gpt2", name.value_or("default"));
    key("tokenizer.ggml.merges", std::move(lines));
  }

  static bool has_prefix_space(const json& step) {
    if (text_member(step, "type") == "ByteLevel" && bool_member(step, "add_prefix_space").value_or(true))
      return true;
    const json& steps = member(step, "pretokenizers");
    return steps.is_array() && std::any_of(steps.begin(), steps.end(), has_prefix_space);
  }

  // BPE over characters with a byte for the rest: a SentencePiece model in the clothes of a tokenizer.json.
  // llama.cpp merges the pair whose union has the best score, so a token's score is the rank of the merge
  // that makes it.
  void character_level() {
    read_vocab();
    const auto list = merges();
    std::unordered_map<std::string, float> rank;
    std::unordered_set<std::string> pairs;
    for (size_t i = 0; i < list.size(); ++i) {
      rank.emplace(list[i].first + list[i].second, -static_cast<float>(i));
      pairs.insert(fmt::format("{} {}", list[i].first, list[i].second));
    }
    uint64_t unlisted = 0;
    const std::string unknown = text_member(member(tokenizer, "model"), "unk_token").value_or("");
    for (size_t i = 0; i < vocabulary.tokens.size(); ++i) {
      if (vocabulary.types[i] == 0) continue;
      const std::string& t = vocabulary.tokens[i];
      const auto r = rank.find(t);
      // What no merge makes is never the union of two pieces; its score only has to be below the others.
      vocabulary.scores[i] = r != rank.end() ? r->second : -static_cast<float>(list.size() + i);
      if (t == unknown) vocabulary.types[i] = kUnknown;
      if (is_byte_piece(t)) vocabulary.types[i] = kByte;
      if (r == rank.end()) continue;
      for (size_t cut = 1; cut < t.size(); ++cut) {
        if ((t[cut] & 0xc0) == 0x80) continue;
        const std::string a = t.substr(0, cut), b = t.substr(cut);
        unlisted += ids.count(a) && ids.count(b) && !pairs.count(fmt::format("{} {}", a, b));
      }
    }
    if (unlisted > 0) {
      warn(
          fmt::format("llama.cpp merges any two neighbours that make a token; this tokenizer forbids {} such "
                      "pairs, so some "
                      "texts may be cut into other tokens than in transformers",
                      unlisted));
    }
    read_added(true);
    emit("llama", "default");
    key("tokenizer.ggml.scores", vocabulary.scores);
    key("tokenizer.ggml.add_space_prefix", space_prefix().value_or(false));
  }

  // Whether a tokenizer.json puts a space before the text; empty where it does not deal with spaces at all.
  std::optional<bool> space_prefix() const {
    std::optional<bool> found;
    const auto look = [&](const auto& self, const json& step) -> void {
      const auto type = text_member(step, "type").value_or("");
      if (type == "Prepend" && text_member(step, "prepend") == kSpace) found = true;
      if (type == "Metaspace") {
        const auto scheme = text_member(step, "prepend_scheme");
        found = scheme ? *scheme != "never" : bool_member(step, "add_prefix_space").value_or(true);
      }
      for (const char* list : {"normalizers", "pretokenizers"}) {
        if (member(step, list).is_array()) {
          for (const json& s : member(step, list)) self(self, s);
        }
      }
    };
    look(look, member(tokenizer, "normalizer"));
    look(look, member(tokenizer, "pre_tokenizer"));
    return found;
  }

  void sentencepiece() {
    const SentencePieceModel spm = parse_sentencepiece(source.sentencepiece);
    if (spm.kind != 2) {
      bad("tokenizer.model is not a BPE model of SentencePiece; GGUF has no counterpart of it for this "
          "architecture",
          "take tokenizer.model away to write a file without a tokenizer");
    }
    for (size_t i = 0; i < spm.pieces.size(); ++i) {
      const Piece& p = spm.pieces[i];
      ids[p.text] = i;
      vocabulary.put(i, p.text, p.score, p.type);
    }
    read_added(true);
    if (!spm.normalizer.empty() && spm.normalizer != "identity") {
      warn(fmt::format("llama.cpp does not apply this tokenizer's normalizer ({})", spm.normalizer));
    }
    if (spm.remove_extra_whitespaces)
      warn("llama.cpp does not remove repeated spaces as this tokenizer does");
    emit("llama", "default");
    key("tokenizer.ggml.scores", vocabulary.scores);
    key("tokenizer.ggml.add_space_prefix",
        space_prefix().value_or(bool_member(settings, "add_prefix_space").value_or(spm.add_dummy_prefix)));
  }

  // Fills the gaps, makes every text unique and not empty (llama.cpp stops otherwise), writes tokens and
  // types.
  void emit(std::string_view kind, std::string_view pre) {
    if (vocabulary.dropped > 0) {
      warn(fmt::format("{} tokens have numbers past the vocabulary of {} and are left out",
                       vocabulary.dropped, model.vocabulary));
    }
    std::unordered_set<std::string_view> seen;
    for (size_t i = 0; i < vocabulary.tokens.size(); ++i) {
      std::string& t = vocabulary.tokens[i];
      if (vocabulary.types[i] == 0) {
        t = fmt::format("[PAD{}]", i);
        vocabulary.types[i] = kUnused;
      }
      if (t.empty()) t = fmt::format("[EMPTY_{}]", i);
      while (!seen.insert(t).second) t += fmt::format("[{}]", i);
    }
    key("tokenizer.ggml.model", std::string(kind));
    key("tokenizer.ggml.pre", std::string(pre));
    key("tokenizer.ggml.tokens", vocabulary.tokens);
    key("tokenizer.ggml.token_type", vocabulary.types);
  }

  // "bos" -> the text of bos_token, which is a string or an object with "content".
  std::optional<std::string> special_text(const std::string& name) const {
    for (const json* file : {&settings, &map}) {
      const json& v = member(*file, (name + "_token").c_str());
      if (v.is_string()) return v.get<std::string>();
      if (const auto content = text_member(v, "content")) return content;
    }
    return std::nullopt;
  }

  std::optional<uint64_t> special_id(const std::string& name) const {
    if (const auto text = special_text(name)) {
      const auto it = ids.find(*text);
      if (it != ids.end() && it->second < model.vocabulary) return it->second;
    }
    for (const json* file : {&config, &generation}) {
      const json* v = &member(*file, (name + "_token_id").c_str());
      if (v->is_array() && !v->empty()) v = &v->front();
      if (v->is_number_unsigned() && v->get<uint64_t>() < model.vocabulary) return v->get<uint64_t>();
    }
    return std::nullopt;
  }

  // The special tokens that the post-processor puts before and after one text; empty where it has no
  // template.
  struct Template {
    bool found = false;
    std::optional<std::string> first, last;
  };
  Template read_template() const {
    Template out;
    const auto look = [&](const auto& self, const json& step) -> void {
      if (text_member(step, "type") == "Sequence" && member(step, "processors").is_array()) {
        for (const json& s : member(step, "processors")) self(self, s);
      }
      const json& single = member(step, "single");
      if (text_member(step, "type") != "TemplateProcessing" || !single.is_array() || single.empty()) return;
      out.found = true;
      out.first = text_member(member(single.front(), "SpecialToken"), "id");
      if (single.size() > 1) out.last = text_member(member(single.back(), "SpecialToken"), "id");
    };
    look(look, member(tokenizer, "post_processor"));
    return out;
  }

  void special_tokens() {
    const Template shape = read_template();
    std::optional<uint64_t> bos = special_id("bos"), eos = special_id("eos");
    const auto id_of = [&](const std::optional<std::string>& text) -> std::optional<uint64_t> {
      const auto it = text ? ids.find(*text) : ids.end();
      return it != ids.end() && it->second < model.vocabulary ? std::optional(it->second) : std::nullopt;
    };
    if (shape.first && !special_text("bos")) bos = id_of(shape.first).value_or(bos.value_or(0));

    const std::string cls = text_member(settings, "tokenizer_class").value_or("");
    const bool llama_class = cls == "LlamaTokenizer" || cls == "LlamaTokenizerFast" || tokenizer.is_null();
    bool add_bos = bool_member(settings, "add_bos_token").value_or(llama_class);
    bool add_eos = bool_member(settings, "add_eos_token").value_or(false);
    if (shape.found) {
      add_bos = shape.first && id_of(shape.first) == bos;
      add_eos = shape.last && id_of(shape.last) == eos;
      if (shape.first && !add_bos)
        warn(fmt::format("llama.cpp does not put '{}' before a text as this tokenizer does", *shape.first));
      if (shape.last && !add_eos)
        warn(fmt::format("llama.cpp does not put '{}' after a text as this tokenizer does", *shape.last));
    }
    const auto put = [&](std::string_view name, std::optional<uint64_t> id) {
      if (id) key(fmt::format("tokenizer.ggml.{}_token_id", name), static_cast<uint32_t>(*id));
    };
    put("bos", bos);
    put("eos", eos);
    put("unknown", special_id("unk"));
    put("padding", special_id("pad"));
    put("seperator", special_id("sep"));
    put("mask", special_id("mask"));
    key("tokenizer.ggml.add_bos_token", add_bos && bos.has_value());
    key("tokenizer.ggml.add_eos_token", add_eos && eos.has_value());
  }

  void chat_template() {
    const json& stored = member(settings, "chat_template");
    if (!source.chat_template.empty()) {
      key("tokenizer.chat_template", source.chat_template);
    } else if (stored.is_string()) {
      key("tokenizer.chat_template", stored.get<std::string>());
    } else if (stored.is_array()) {
      std::vector<std::string> names;
      for (const json& t : stored) {
        const auto name = text_member(t, "name"), text = text_member(t, "template");
        if (!name || !text) continue;
        key(*name == "default" ? "tokenizer.chat_template" : "tokenizer.chat_template." + *name, *text);
        if (*name != "default") names.push_back(*name);
      }
      if (!names.empty()) key("tokenizer.chat_templates", std::move(names));
    }
  }

  static bool contains_byte_level(const json& step) {
    if (text_member(step, "type") == "ByteLevel") return true;
    const json& steps = member(step, "pretokenizers");
    return steps.is_array() && std::any_of(steps.begin(), steps.end(), contains_byte_level);
  }

  void write() {
    if (source.tokenizer.empty() && source.sentencepiece.empty()) {
      key("tokenizer.ggml.model", std::string("none"));
      warn(
          "the source has no tokenizer.json or tokenizer.model: llama.cpp runs this file on token numbers, "
          "not on text");
      return;
    }
    const json& bpe = member(tokenizer, "model");
    const std::string kind =
        text_member(bpe, "type").value_or(member(bpe, "merges").is_array() ? "BPE" : "unnamed");
    if (!source.sentencepiece.empty()) {
      sentencepiece();
    } else if (kind == "BPE" && contains_byte_level(member(tokenizer, "pre_tokenizer"))) {
      byte_level();
    } else if (kind == "BPE" && bool_member(bpe, "byte_fallback").value_or(false)) {
      character_level();
    } else {
      bad(fmt::format(
              "tokenizer.json: a tokenizer of type {} {} has no counterpart in GGUF for the architecture {}",
              kind, kind == "BPE" ? "without bytes" : "", model.architecture),
          "take tokenizer.json away to write a file without a tokenizer");
    }
    special_tokens();
    chat_template();
  }
};

}  // namespace

void add_tokenizer(const GgufSource& source, GgufModel& model) { Tokenizer(source, model).write(); }

}  // namespace viva::io
