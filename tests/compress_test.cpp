// The whole job through the library: what is written, what an interrupted run leaves, and what the next one takes over.
#include "viva/compress/compress.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <bit>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <random>

#include "model_files.h"
#include "viva/base/attempt.h"
#include "viva/base/float16.h"
#include "viva/compress/plan.h"
#include "viva/compress/staging.h"
#include "viva/kernels/values.h"

namespace viva {
namespace {

namespace fs = std::filesystem;
using test::Folder;
using test::TestTensor;

const fs::path kDemo = fs::path(VIVA_SOURCE) / "data/demo-model";
constexpr std::string_view kConfig =
    R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 128, "torch_dtype": "float16"})";

TestTensor random_tensor(const std::string& name, DType dtype, std::vector<uint64_t> shape, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, 0.02f);
  size_t n = 1;
  for (uint64_t d : shape) n *= d;
  TestTensor t{name, dtype, shape, {}};
  for (size_t i = 0; i < n; ++i) {
    const float x = normal(random);
    if (dtype == DType::kF32) {
      t.bytes.append(reinterpret_cast<const char*>(&x), 4);
    } else {
      const uint16_t half = dtype == DType::kF16 ? f32_to_f16(x) : f32_to_bf16(x);
      t.bytes.append(reinterpret_cast<const char*>(&half), 2);
    }
  }
  return t;
}

// Two layers: linear weights of several chunks, norms, an embedding.
std::vector<TestTensor> tensors(DType dtype = DType::kF16, size_t layers = 2) {
  std::vector<TestTensor> list = {random_tensor("model.embed_tokens.weight", dtype, {96, 512}, 1)};
  for (size_t l = 0; l < layers; ++l) {
    const std::string p = fmt::format("model.layers.{}.", l);
    const uint32_t s = static_cast<uint32_t>(10 * l + 2);
    list.push_back(random_tensor(p + "self_attn.q_proj.weight", dtype, {512, 512}, s));
    list.push_back(random_tensor(p + "self_attn.k_proj.weight", dtype, {128, 512}, s + 1));
    list.push_back(random_tensor(p + "self_attn.v_proj.weight", dtype, {128, 512}, s + 2));
    list.push_back(random_tensor(p + "self_attn.o_proj.weight", dtype, {512, 512}, s + 3));
    list.push_back(random_tensor(p + "mlp.down_proj.weight", dtype, {512, 1024}, s + 4));
    list.push_back(random_tensor(p + "input_layernorm.weight", dtype, {512}, s + 5));
  }
  list.push_back(random_tensor("lm_head.weight", dtype, {96, 512}, 99));
  return list;
}

using Files = std::map<std::string, std::string>;
Files files(const fs::path& path) {
  Files all;
  if (!fs::is_directory(path)) return {{"", io::read_text(path)}};
  for (const auto& e : fs::directory_iterator(path)) all[e.path().filename().string()] = io::read_text(e.path());
  return all;
}
uint64_t bytes_of(const Files& all) {
  uint64_t n = 0;
  for (const auto& [name, text] : all) n += text.size();
  return n;
}
std::string differing(const Files& a, const Files& b) {
  for (const auto& [name, text] : a) {
    if (!b.count(name)) return "no " + name;
    if (b.at(name) != text) return name;
  }
  return a.size() == b.size() ? "" : "more files";
}

// Names in `folder` that start like the traces of `name`.
std::vector<std::string> traces(const fs::path& folder, const std::string& name) {
  std::vector<std::string> list;
  for (const auto& e : fs::directory_iterator(folder)) {
    const std::string file = e.path().filename().string();
    if (file.starts_with("." + name)) list.push_back(file);
  }
  return list;
}

Code code_of(const std::function<void()>& f, std::string* text = nullptr) {
  try {
    f();
  } catch (const Error& e) {
    if (text != nullptr) *text = e.what();
    return e.code();
  }
  ADD_FAILURE() << "no error";
  return Code::kInternal;
}

class Compress : public testing::Test {
 protected:
  Compress() : source_(folder_.path() / "model"), out_(folder_.path() / "out") {
    fs::create_directory(source_);
    test::write_model(source_, tensors(), std::string(kConfig));
    test::write_file(source_ / "tokenizer.json", "{\"a\": 1}");
  }

  CompressReport run(const fs::path& out, const CompressOptions& o) { return compress(machine_, source_, out, o); }
  static CompressOptions options(const std::string& format, std::vector<std::string> rules = {}) {
    CompressOptions o;
    o.format = format;
    o.rules = std::move(rules);
    return o;
  }
  Files whole(const std::string& name, const CompressOptions& o) {
    const fs::path path = folder_.path() / ("whole-" + name);
    run(path, o);
    return files(path);
  }
  // Cancels the run when `share` of the step `what` is done; false where it was too late.
  bool interrupt(const fs::path& out, CompressOptions o, double share, std::string_view what = "compressing") {
    std::atomic<bool> cancel = false;
    o.watcher.cancel = &cancel;
    o.watcher.progress = [&](const Progress& p) {
      EXPECT_FALSE(fs::exists(out)) << "appeared before the end";
      if (p.what == what && static_cast<double>(p.done) >= share * static_cast<double>(p.total)) cancel = true;
    };
    try {
      compress(one_, source_, out, o);
      return false;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), Code::kCancelled) << e.what();
      EXPECT_FALSE(fs::exists(out));
      return true;
    }
  }
  void touch_value(const std::string& tensor, uint16_t bits, size_t index = 0) {
    auto list = tensors();
    for (TestTensor& t : list) {
      if (t.name == tensor) std::memcpy(t.bytes.data() + 2 * index, &bits, 2);
    }
    test::write_model(source_, list, std::string(kConfig));
  }

  Folder folder_;
  fs::path source_, out_;
  Machine machine_{Machine::Options{.threads = 3}};
  Machine one_{Machine::Options{.threads = 1}};
};

// A run in another process that stops dead when the step has got so far: no destructor runs, as after a kill.
void run_and_die(const fs::path& source, const fs::path& out, CompressOptions o, std::string_view what, double share) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    o.watcher.progress = [&](const Progress& p) {
      if (p.what == what && static_cast<double>(p.done) >= share * static_cast<double>(p.total)) ::_exit(7);
    };
    // A machine of the child's own: threads do not survive a fork.
    const auto r = attempt([&] { return compress(Machine({.threads = 1}), source, out, o); });
    ::_exit(r ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
}

struct Kind {
  std::string format, suffix;
};
std::vector<Kind> kinds() {
  return {{"nf4", ""},     {"nf4-dq", ""},   {"fp4", ""},  {"int8", ""},    {"int4-g128", ""}, {"int4-g32-asym", ""}, {"w8a8", ""},
          {"fp8", ""},     {"nvfp4", ""},    {"mxfp4", ""}, {"f16", ""},    {"bf16", ""},      {"nf4", ".safetensors"}, {"nvfp4", ".safetensors"},
          {"q4_0", ".gguf"}, {"q8_0", ".gguf"}, {"nvfp4", ".gguf"}};
}

// GGUF takes a whole model with its tokenizer.
fs::path source_for(const Kind& kind, const fs::path& plain) { return kind.suffix == ".gguf" ? kDemo : plain; }

TEST_F(Compress, PlansSizesToTheByteAndLeavesNothingBeside) {
  for (const Kind& k : kinds()) {
    SCOPED_TRACE(k.format + k.suffix);
    const std::string name = "r-" + k.format + k.suffix;
    const fs::path out = folder_.path() / name;
    CompressOptions o = options(k.format);
    o.dry_run = true;
    const CompressReport plan = compress(machine_, source_for(k, source_), out, o);
    EXPECT_FALSE(fs::exists(out));
    EXPECT_TRUE(traces(folder_.path(), name).empty());
    EXPECT_GT(plan.seconds, 0);
    o.dry_run = false;
    const CompressReport done = compress(machine_, source_for(k, source_), out, o);
    EXPECT_EQ(plan.bytes_out, bytes_of(files(out)));
    EXPECT_EQ(done.bytes_out, plan.bytes_out);
    EXPECT_EQ(done.reused_bytes, 0u);
    EXPECT_GT(done.peak_ram, 1u << 20);
    EXPECT_TRUE(traces(folder_.path(), name).empty());
    if (k.suffix.empty()) {
      EXPECT_EQ(io::read_text(out / "tokenizer.json"), "{\"a\": 1}");
    }
  }
}

// Opens every result again and compares the values with what the report says of them.
TEST_F(Compress, ResultsOpenAndDecodeToWhatTheReportSays) {
  for (const Kind& k : kinds()) {
    if (k.suffix == ".gguf") continue;  // names differ there
    SCOPED_TRACE(k.format + k.suffix);
    const fs::path out = folder_.path() / ("v-" + k.format + k.suffix);
    const CompressReport report = run(out, options(k.format));
    ASSERT_FALSE(report.tensors.empty());
    const io::Checkpoint before = io::Checkpoint::open(source_), after = io::Checkpoint::open(out);
    for (const CompressedTensor& t : report.tensors) {
      const io::Weight *w = after.find(t.name), *s = before.find(t.name);
      ASSERT_NE(w, nullptr) << t.name;
      ASSERT_NE(s, nullptr) << t.name;
      EXPECT_EQ(w->shape, s->shape);
      EXPECT_EQ(w->bytes(), t.bytes) << t.name;
      std::vector<uint8_t> raw(s->bytes());
      before.read_stored(*s, 0, 0, raw);
      std::vector<float> x(s->count()), y(s->count());
      kernels::widen(s->dtype, raw.data(), x.size(), x.data(), Target::kScalar);
      if (w->placement.format != nullptr) {
        y = test::decoded(after, *w);
      } else {
        std::vector<uint8_t> stored(w->bytes());
        after.read_stored(*w, 0, 0, stored);
        kernels::widen(w->dtype, stored.data(), y.size(), y.data(), Target::kScalar);
      }
      ASSERT_EQ(y.size(), x.size());
      double signal = 0, noise = 0;
      for (size_t i = 0; i < x.size(); ++i) {
        signal += double{x[i]} * x[i];
        noise += (double{x[i]} - y[i]) * (double{x[i]} - y[i]);
      }
      if (noise == 0) {
        EXPECT_TRUE(std::isinf(t.sqnr_db)) << t.name;
      } else {
        EXPECT_NEAR(t.sqnr_db, 10 * std::log10(signal / noise), 0.01) << t.name;
        EXPECT_GT(t.sqnr_db, 17) << t.name;
      }
    }
    for (const KeptTensor& t : report.kept) {
      const io::Weight *w = after.find(t.name), *s = before.find(t.name);
      ASSERT_NE(w, nullptr) << t.name;
      EXPECT_FALSE(t.reason.empty());
      std::vector<uint8_t> a(s->bytes()), b(w->bytes());
      before.read_stored(*s, 0, 0, a);
      after.read_stored(*w, 0, 0, b);
      EXPECT_EQ(a, b) << t.name;
    }
  }
}

TEST_F(Compress, SameBytesForAnyThreadsAndTarget) {
  for (const Kind& k : kinds()) {
    SCOPED_TRACE(k.format + k.suffix);
    if (k.suffix == ".gguf" && k.format != "q4_0") continue;
    const fs::path from = source_for(k, source_);
    const fs::path first = folder_.path() / ("a" + k.suffix);
    const CompressReport one = compress(one_, from, first, options(k.format));
    const Files want = files(first);
    const auto same = [&](const Machine& machine, const std::string& what) {
      const fs::path out = folder_.path() / ("b" + k.suffix);
      const CompressReport r = compress(machine, from, out, options(k.format));
      EXPECT_EQ(differing(want, files(out)), "") << what;
      for (size_t i = 0; i < r.tensors.size(); ++i) EXPECT_EQ(r.tensors[i].sqnr_db, one.tensors[i].sqnr_db) << what;
      fs::remove_all(out);
    };
    for (size_t n = 2; n <= 4; ++n) same(Machine({.threads = n}), fmt::format("{} threads", n));
    for (size_t i = 0; i < kTargets; ++i) {
      const Target t = static_cast<Target>(i);
      if (k.suffix != ".gguf" && runs(t) && t != machine_.target()) same(Machine({.threads = 2, .target = t}), std::string(name(t)));
    }
    fs::remove_all(first);
  }
}

TEST_F(Compress, AnInterruptedRunContinuesToTheSameBytes) {
  std::mt19937 random(3);
  for (const Kind& k : {Kind{"nf4", ""}, Kind{"nvfp4", ""}, Kind{"nf4-dq", ".safetensors"}}) {
    SCOPED_TRACE(k.format + k.suffix);
    const CompressOptions o = options(k.format);
    const Files want = whole(k.format + k.suffix, o);
    size_t stopped = 0, reused = 0;
    for (int round = 0; round < 6; ++round) {
      const std::string name = fmt::format("i{}-{}{}", round, k.format, k.suffix);
      const fs::path out = folder_.path() / name;
      const double share = std::uniform_real_distribution<double>(0, 1)(random);
      run_and_die(source_, out, o, "compressing", share);
      if (!fs::exists(out)) {
        ++stopped;
        EXPECT_FALSE(traces(folder_.path(), name).empty());
        reused += run(out, o).reused_bytes > 0;
      }
      EXPECT_EQ(differing(want, files(out)), "");
      EXPECT_TRUE(traces(folder_.path(), name).empty());
    }
    EXPECT_GT(stopped + reused, 0u);
  }
}

TEST_F(Compress, CancellationIsAnErrorAndResumable) {
  const CompressOptions o = options("nf4");
  const Files want = whole("nf4", o);
  ASSERT_TRUE(interrupt(out_, o, 1.0));  // all is coded, nothing is published
  const CompressReport r = run(out_, o);
  EXPECT_GT(r.reused_bytes, 0u);
  EXPECT_EQ(differing(want, files(out_)), "");
}

TEST_F(Compress, BytesThatTheDiskLostAreMadeAgain) {
  const CompressOptions o = options("nf4-dq");
  const Files want = whole("nf4-dq", o);
  ASSERT_TRUE(interrupt(out_, o, 1.0));
  // Everything behind the header is gone, constants included, though the journal knows of all of it.
  const fs::path part = folder_.path() / ".out.part" / "model.safetensors";
  const uint64_t size = fs::file_size(part);
  fs::resize_file(part, size / 3);
  fs::resize_file(part, size);
  const CompressReport r = run(out_, o);
  EXPECT_GT(r.reused_bytes, 0u);
  EXPECT_LT(r.reused_bytes, r.bytes_out);
  EXPECT_EQ(differing(want, files(out_)), "");
}

TEST_F(Compress, AJournalCutAnywhereIsNoHarm) {
  const CompressOptions o = options("nf4");
  const Files want = whole("nf4", o);
  for (int round = 0; round < 8; ++round) {
    const fs::path out = folder_.path() / fmt::format("j{}", round);
    ASSERT_TRUE(interrupt(out, o, 1.0));
    const fs::path journal = folder_.path() / fmt::format(".j{}.journal", round);
    const uint64_t size = fs::file_size(journal);
    fs::resize_file(journal, size * static_cast<uint64_t>(round) / 8);
    if (round % 2 == 1) test::write_file(journal, io::read_text(journal) + "{\"key\": 7}\nnull\n\xff\xfe\n[]\n");
    run(out, o);
    EXPECT_EQ(differing(want, files(out)), "") << round;
    EXPECT_TRUE(traces(folder_.path(), fmt::format("j{}", round)).empty());
  }
}

TEST_F(Compress, ChangedRuleKeepsTheRestOfAnInterruptedRun) {
  const std::vector<std::string> rules = {"model.layers.1.mlp.down_proj.weight=keep"};
  for (const std::string suffix : {"", ".safetensors"}) {
    const fs::path out = folder_.path() / ("out" + suffix);
    const Files want = whole("ruled" + suffix, options("nf4", rules));
    ASSERT_TRUE(interrupt(out, options("nf4"), 1.0));
    const CompressReport r = run(out, options("nf4", rules));
    uint64_t coded = 0;
    for (const CompressedTensor& t : r.tensors) coded += t.bytes;
    EXPECT_EQ(r.reused_bytes, coded) << "all that the rule does not touch";
    EXPECT_EQ(differing(want, files(out)), "");
    EXPECT_TRUE(traces(folder_.path(), "out").empty());
  }
}

// Back and forth: files of the first plan must not be taken for those of the second.
TEST_F(Compress, PlansMayChangeSeveralTimes) {
  const CompressOptions a = options("nf4"), b = options("nf4", {"*.q_proj.weight=keep"}), c = options("nf4-dq");
  const Files want = whole("a", a);
  ASSERT_TRUE(interrupt(out_, a, 1.0));
  run_and_die(source_, out_, b, "taking over finished tensors", 0.0);
  ASSERT_FALSE(fs::exists(out_));
  run_and_die(source_, out_, c, "compressing", 0.0);
  ASSERT_FALSE(fs::exists(out_));
  run(out_, a);
  EXPECT_EQ(differing(want, files(out_)), "");
  EXPECT_TRUE(traces(folder_.path(), "out").empty());
}

TEST_F(Compress, ForceReencodesOnlyWhatChanged) {
  for (const std::string format : {"nf4", "nf4-dq", "nvfp4", "int8", "int4-g32-asym"}) {
    for (const std::string suffix : {"", ".safetensors"}) {
      SCOPED_TRACE(format + suffix);
      const fs::path out = folder_.path() / ("f-" + format + suffix);
      const std::vector<std::string> rules = {"model.layers.0.mlp.down_proj.weight=keep"};
      const Files want = whole("f-" + format + suffix, options(format, rules));
      run(out, options(format));
      CompressOptions o = options(format, rules);
      EXPECT_EQ(code_of([&] { run(out, o); }), Code::kUsage);
      o.force = true;
      const CompressReport r = run(out, o);
      uint64_t coded = 0;
      for (const CompressedTensor& t : r.tensors) coded += t.bytes;
      EXPECT_EQ(r.reused_bytes, coded);
      EXPECT_EQ(differing(want, files(out)), "");
      o.fresh = true;
      EXPECT_EQ(run(out, o).reused_bytes, 0u);
      EXPECT_EQ(differing(want, files(out)), "");
      EXPECT_TRUE(traces(folder_.path(), "f-" + format).empty());
    }
  }
}

TEST_F(Compress, ForceDoesNotTrustADamagedResult) {
  const Files want = whole("nf4", options("nf4"));
  run(out_, options("nf4"));
  std::string damaged = io::read_text(out_ / "model.safetensors");
  damaged[damaged.size() - 100'000] ^= 1;
  test::write_file(out_ / "model.safetensors", damaged);
  CompressOptions o = options("nf4");
  o.force = true;
  const CompressReport r = run(out_, o);
  EXPECT_GT(r.reused_bytes, 0u);
  EXPECT_LT(r.reused_bytes, r.bytes_out / 2 + r.bytes_out / 4 + r.bytes_out / 5);
  EXPECT_EQ(differing(want, files(out_)), "");
  // Cut short, it cannot even be opened.
  fs::resize_file(out_ / "model.safetensors", 1000);
  run(out_, o);
  EXPECT_EQ(differing(want, files(out_)), "");
}

TEST_F(Compress, ChangedSourceBytesAreCodedAgain) {
  // k_proj shares its second-level scale with q and v of the same layer: all three change, and nothing else.
  for (const std::string format : {"nf4", "nvfp4"}) {
    SCOPED_TRACE(format);
    const fs::path out = folder_.path() / ("s-" + format);
    test::write_model(source_, tensors(), std::string(kConfig));
    ASSERT_TRUE(interrupt(out, options(format), 1.0));
    touch_value("model.layers.0.self_attn.k_proj.weight", f32_to_f16(3.0f), 77);
    const Files want = whole("s-" + format, options(format));
    const CompressReport r = run(out, options(format));
    EXPECT_GT(r.reused_bytes, 0u);
    EXPECT_EQ(differing(want, files(out)), "");
  }
}

TEST_F(Compress, ATouchedSourceIsReadButNotCodedAgain) {
  ASSERT_TRUE(interrupt(out_, options("nf4"), 1.0));
  fs::last_write_time(source_ / "model.safetensors", fs::file_time_type::clock::now() + std::chrono::seconds(5));
  const Files want = whole("nf4", options("nf4"));
  const CompressReport r = run(out_, options("nf4"));
  uint64_t coded = 0;
  for (const CompressedTensor& t : r.tensors) coded += t.bytes;
  EXPECT_GE(r.reused_bytes, coded);
  EXPECT_EQ(differing(want, files(out_)), "");
}

TEST_F(Compress, FreshIgnoresEarlierWork) {
  ASSERT_TRUE(interrupt(out_, options("nf4"), 1.0));
  CompressOptions o = options("nf4");
  o.fresh = true;
  EXPECT_EQ(run(out_, o).reused_bytes, 0u);
  EXPECT_TRUE(traces(folder_.path(), "out").empty());
}

TEST_F(Compress, TheSecondOfTwoRunsIsRefusedWithThePid) {
  CompressOptions o = options("nf4");
  size_t refused = 0;
  o.watcher.progress = [&](const Progress&) {
    std::string text;
    EXPECT_EQ(code_of([&] { compress(Machine({.threads = 1}), source_, out_, options("nf4")); }, &text), Code::kResource);
    EXPECT_NE(text.find(std::to_string(::getpid())), std::string::npos) << text;
    ++refused;
  };
  run(out_, o);
  EXPECT_GT(refused, 0u);
  EXPECT_TRUE(traces(folder_.path(), "out").empty());
}

TEST_F(Compress, ADestinationThatAppearsMeanwhileIsNotOverwritten) {
  CompressOptions o = options("nf4");
  o.watcher.progress = [&](const Progress&) {
    if (!fs::exists(out_)) test::write_file(out_, "somebody else's");
  };
  EXPECT_EQ(code_of([&] { run(out_, o); }), Code::kResource);
  EXPECT_EQ(io::read_text(out_), "somebody else's");
  fs::remove(out_);
  EXPECT_GT(run(out_, options("nf4")).reused_bytes, 0u);
  EXPECT_TRUE(traces(folder_.path(), "out").empty());
}

TEST_F(Compress, ASourceThatShrinksIsBadInput) {
  CompressOptions o = options("nf4");
  o.watcher.progress = [&](const Progress&) { fs::resize_file(source_ / "model.safetensors", 4000); };
  std::string text;
  EXPECT_EQ(code_of([&] { compress(one_, source_, out_, o); }, &text), Code::kBadInput);
  EXPECT_NE(text.find("model.safetensors"), std::string::npos) << text;
  EXPECT_FALSE(fs::exists(out_));
  // Whole again, the work goes on.
  test::write_model(source_, tensors(), std::string(kConfig));
  const Files want = whole("nf4", options("nf4"));
  run(out_, options("nf4"));
  EXPECT_EQ(differing(want, files(out_)), "");
}

TEST_F(Compress, ASourceThatVanishesIsBadInputOrDoesNotMatter) {
  CompressOptions o = options("nf4");
  o.watcher.progress = [&](const Progress&) { fs::remove(source_ / "tokenizer.json"); };
  std::string text;
  EXPECT_EQ(code_of([&] { run(out_, o); }, &text), Code::kBadInput);
  EXPECT_NE(text.find("tokenizer.json"), std::string::npos) << text;
  run(out_, options("nf4"));
  EXPECT_FALSE(fs::exists(out_ / "tokenizer.json"));
}

TEST_F(Compress, AFolderThatCannotBeWrittenIsAResourceError) {
  EXPECT_EQ(code_of([&] { run(folder_.path() / "no such folder" / "out", options("nf4")); }), Code::kResource);
  const fs::path closed = folder_.path() / "closed";
  fs::create_directory(closed);
  bool mounted = false;
  if (::geteuid() == 0) {
    mounted = ::mount("none", closed.c_str(), "tmpfs", MS_RDONLY, "size=1m") == 0;
    if (!mounted) GTEST_SKIP() << "root may write everywhere, and mounting does not work here";
  } else {
    fs::permissions(closed, fs::perms::owner_read | fs::perms::owner_exec);
  }
  std::string text;
  EXPECT_EQ(code_of([&] { run(closed / "out", options("nf4")); }, &text), Code::kResource);
  EXPECT_NE(text.find("closed"), std::string::npos) << text;
  if (mounted) ::umount(closed.c_str());
}

TEST_F(Compress, NonfiniteValuesAreNamedOrKept) {
  touch_value("model.layers.1.self_attn.o_proj.weight", 0x7e00, 512 * 300 + 7);
  std::string text;
  EXPECT_EQ(code_of([&] { run(out_, options("nf4")); }, &text), Code::kBadInput);
  EXPECT_NE(text.find("\"model.layers.1.self_attn.o_proj.weight\" has NaN at [300, 7]"), std::string::npos) << text;
  touch_value("model.layers.0.self_attn.v_proj.weight", 0xfc00, 511);
  EXPECT_EQ(code_of([&] { run(out_, options("nvfp4")); }, &text), Code::kBadInput);
  EXPECT_NE(text.find("\"model.layers.0.self_attn.v_proj.weight\" has infinity at [0, 511]"), std::string::npos) << text;
  for (const std::string format : {"nf4", "nvfp4"}) {
    CompressOptions o = options(format);
    o.keep_nonfinite = true;
    const fs::path out = folder_.path() / ("n-" + format);
    const CompressReport r = run(out, o);
    const auto kept = std::find_if(r.kept.begin(), r.kept.end(), [](const KeptTensor& t) { return t.name == "model.layers.0.self_attn.v_proj.weight"; });
    ASSERT_NE(kept, r.kept.end());
    EXPECT_EQ(kept->reason, "holds NaN or infinity");
    const io::Checkpoint a = io::Checkpoint::open(source_), b = io::Checkpoint::open(out);
    std::vector<uint8_t> x(a.find(kept->name)->bytes()), y(b.find(kept->name)->bytes());
    a.read_stored(*a.find(kept->name), 0, 0, x);
    b.read_stored(*b.find(kept->name), 0, 0, y);
    EXPECT_EQ(x, y);
  }
}

TEST_F(Compress, ShardsAndIndexSayTheSame) {
  CompressOptions o = options("nf4");
  o.shard = 200'000;
  const CompressReport r = run(out_, o);
  EXPECT_EQ(r.bytes_out, bytes_of(files(out_)));
  const auto index = nlohmann::json::parse(io::read_text(out_ / "model.safetensors.index.json"));
  uint64_t shards = 0;
  for (const auto& [name, text] : files(out_)) shards += name.ends_with(".safetensors");
  EXPECT_GE(shards, 4u);
  run(folder_.path() / "single", options("nf4"));
  const io::Checkpoint a = io::Checkpoint::open(out_), b = io::Checkpoint::open(folder_.path() / "single");
  ASSERT_EQ(a.weights().size(), b.weights().size());
  for (const io::Weight& w : a.weights()) {
    const io::Weight* other = b.find(w.name);
    ASSERT_NE(other, nullptr) << w.name;
    for (size_t k = 0; k < w.stored.size(); ++k) {
      EXPECT_EQ(index["weight_map"][w.stored[k].tensor.name], a.files()[w.stored[k].file].path().filename().string());
      std::vector<uint8_t> x(w.stored[k].tensor.bytes), y(other->stored[k].tensor.bytes);
      a.read_stored(w, k, 0, x);
      b.read_stored(*other, k, 0, y);
      EXPECT_EQ(x, y) << w.stored[k].tensor.name;
    }
  }
}

TEST_F(Compress, EmptyAndOddShapes) {
  std::vector<TestTensor> list = {random_tensor("a.weight", DType::kF32, {33, 160}, 1), random_tensor("b.weight", DType::kBF16, {7, 97}, 2),
                                  random_tensor("c.weight", DType::kF16, {1, 1}, 3),    random_tensor("d.weight", DType::kF16, {129, 300}, 4),
                                  random_tensor("empty.weight", DType::kF16, {0, 64}, 5), random_tensor("hollow.weight", DType::kF16, {64, 0}, 6),
                                  random_tensor("nothing", DType::kF32, {0}, 7),         random_tensor("scalar", DType::kF32, {}, 8),
                                  random_tensor("experts.weight", DType::kF16, {3, 65, 96}, 9), random_tensor("long.weight", DType::kF16, {2, 300'000}, 10)};
  fs::remove_all(source_);
  fs::create_directory(source_);
  test::write_model(source_, list, std::string(kConfig));
  for (const std::string format : {"nf4", "nf4-dq", "fp4", "int8", "fp8", "w8a8", "int4-g32", "int4-g32-asym", "nvfp4", "mxfp4", "f16"}) {
    SCOPED_TRACE(format);
    const fs::path out = folder_.path() / ("o-" + format);
    const CompressReport r = run(out, options(format));
    EXPECT_EQ(r.bytes_out, bytes_of(files(out)));
    EXPECT_EQ(r.tensors.size() + r.kept.size(), list.size());
    const io::Checkpoint again = io::Checkpoint::open(out);
    for (const TestTensor& t : list) {
      const io::Weight* w = again.find(t.name);
      ASSERT_NE(w, nullptr) << t.name;
      EXPECT_EQ(w->shape, t.shape) << t.name;
      if (w->placement.format != nullptr) {
        EXPECT_EQ(test::decoded(again, *w).size(), w->count()) << t.name;
      }
    }
    for (const CompressedTensor& t : r.tensors) {
      if (t.values > 64) {
        EXPECT_GT(t.sqnr_db, 14) << t.name;
      }
    }
  }
}

TEST_F(Compress, ProgressEndsAtTheTotalAndIsSilentAfterAnError) {
  for (size_t threads : {1, 4}) {
    std::map<std::string, std::pair<uint64_t, uint64_t>> last;
    std::atomic<int> inside = 0;
    CompressOptions o = options("nvfp4");
    o.watcher.progress = [&](const Progress& p) {
      EXPECT_EQ(++inside, 1);
      auto& mine = last[std::string(p.what)];
      EXPECT_GE(p.done, mine.first);
      EXPECT_LE(p.done, p.total);
      mine = {p.done, p.total};
      --inside;
    };
    compress(Machine({.threads = threads}), source_, folder_.path() / fmt::format("p{}", threads), o);
    EXPECT_EQ(last.size(), 2u);
    for (const auto& [what, at] : last) EXPECT_EQ(at.first, at.second) << what;
  }
  // The last tensor is bad: whatever was reported, it was not the end.
  touch_value("lm_head.weight", 0x7e00);
  touch_value("model.layers.1.mlp.down_proj.weight", 0x7e00);
  CompressOptions o = options("nf4");
  bool end = false;
  o.watcher.progress = [&](const Progress& p) { end |= p.done == p.total; };
  EXPECT_EQ(code_of([&] { run(out_, o); }), Code::kBadInput);
  EXPECT_FALSE(end);
}

// compressed-tensors decodes E2M1 to bfloat16: a model that is loaded as anything else does not run.
TEST_F(Compress, AModelOfE2M1SaysBfloat16) {
  for (const auto& [format, dtype] : {std::pair{"nvfp4", "bfloat16"}, {"mxfp4", "bfloat16"}, {"int4-g32", "float16"}}) {
    const fs::path out = folder_.path() / format;
    const CompressReport report = run(out, options(format));
    const auto config = nlohmann::json::parse(std::ifstream(out / "config.json"));
    EXPECT_EQ(config.at("torch_dtype"), dtype) << format;
    EXPECT_EQ(report.warnings.size(), std::string(dtype) == "bfloat16" ? 1u : 0u) << format;
  }
}

TEST_F(Compress, AnErrorInTheCallbackEndsTheRun) {
  CompressOptions o = options("nf4");
  o.watcher.progress = [](const Progress&) { throw std::runtime_error("enough"); };
  EXPECT_THROW(run(out_, o), std::runtime_error);
  EXPECT_FALSE(fs::exists(out_));
  EXPECT_GT(run(out_, options("nf4")).reused_bytes, 0u);
}

TEST_F(Compress, ACapThatCannotBeMetNamesTheSmallestThatCan) {
  if (VIVA_SANITIZED) GTEST_SKIP() << "what the refused job freed stays with the sanitizer and counts as own memory";
  std::string text;
  EXPECT_EQ(code_of([&] { compress(Machine({.threads = 2, .ram = 100'000}), source_, out_, options("nf4")); }, &text), Code::kResource);
  const size_t at = text.find("--ram ");
  ASSERT_NE(at, std::string::npos) << text;
  const uint64_t least = std::stoull(text.substr(at + 6)) * 1'000'000;
  const CompressReport r = compress(Machine({.threads = 2, .ram = least}), source_, out_, options("nf4"));
  EXPECT_LE(r.peak_ram, least);
}

TEST_F(Compress, TheSourceIsNeverTheDestination) {
  CompressOptions o = options("nf4");
  o.force = true;
  EXPECT_EQ(code_of([&] { run(source_, o); }), Code::kUsage);
  EXPECT_EQ(code_of([&] { compress(machine_, source_ / "model.safetensors", source_, o); }), Code::kUsage);
  EXPECT_EQ(code_of([&] { run("/", o); }), Code::kUsage);
  EXPECT_TRUE(fs::exists(source_ / "model.safetensors"));
}

TEST(Staging, TheDiskCapIsRefusedBeforeWork) {
  const Folder folder;
  CompressOptions o;
  o.format = "nf4";
  o.disk = 1000;
  std::string text;
  EXPECT_EQ(code_of([&] { compress(Machine(), kDemo, folder.path() / "out", o); }, &text), Code::kResource);
  EXPECT_NE(text.find("more are needed"), std::string::npos) << text;
  EXPECT_TRUE(traces(folder.path(), "out").empty());
}

}  // namespace
}  // namespace viva
