// Quantized checkpoints that are damaged or absurd: one viva::Error that names file and tensor, or a weight
// that is not decoded, and never another exception.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "model_files.h"
#include "viva/base/error.h"

namespace viva {
namespace {

using io::Checkpoint;
using io::Weight;
using nlohmann::json;
using test::Folder;
using test::TestTensor;

std::string words(std::initializer_list<int64_t> values) {
  std::string bytes;
  for (int64_t v : values) bytes.append(reinterpret_cast<const char*>(&v), 8);
  return bytes;
}

using Model = std::vector<TestTensor>;

Model int4_model() {
  return {{"m.weight_packed", DType::kI32, {16, 8}, std::string(512, '\x21')},
          {"m.weight_scale", DType::kBF16, {16, 2}, std::string(64, '\x3c')},
          {"m.weight_shape", DType::kI64, {2}, words({16, 64})}};
}
Model asymmetric_model() {
  Model m = int4_model();
  m.push_back({"m.weight_zero_point", DType::kI32, {2, 2}, std::string(16, '\x33')});
  return m;
}
Model nvfp4_model() {
  return {{"m.weight_packed", DType::kU8, {4, 16}, std::string(64, '\x21')},
          {"m.weight_scale", DType::kF8E4M3, {4, 2}, std::string(8, '\x38')},
          {"m.weight_global_scale", DType::kF32, {1}, std::string("\0\0\x80\x3f", 4)}};
}
Model nf4_model(const std::string& state =
                    R"({"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [4, 64]})") {
  return {{"m.weight", DType::kU8, {128, 1}, std::string(128, '\x77')},
          {"m.weight.absmax", DType::kF32, {4}, std::string(16, '\0')},
          {"m.weight.quant_map", DType::kF32, {16}, std::string(64, '\0')},
          {"m.weight.quant_state.bitsandbytes__nf4", DType::kU8, {state.size()}, state}};
}
Model int8_model() {
  return {{"m.weight", DType::kI8, {4, 8}, std::string(32, '\1')},
          {"m.SCB", DType::kF32, {4}, std::string(16, '\0')},
          {"m.weight_format", DType::kU8, {}, std::string(1, '\0')}};
}
Model gptq_model() {
  return {{"m.qweight", DType::kI32, {8, 16}, std::string(512, '\1')},
          {"m.qzeros", DType::kI32, {2, 2}, std::string(16, '\0')},
          {"m.scales", DType::kF16, {2, 16}, std::string(64, '\0')},
          {"m.g_idx", DType::kI32, {64}, std::string(256, '\0')}};
}

TestTensor& part(Model& m, const std::string& name) {
  for (TestTensor& t : m) {
    if (t.name == name) return t;
  }
  throw std::logic_error(name);
}
void drop(Model& m, const std::string& name) {
  std::erase_if(m, [&](const TestTensor& t) { return t.name == name; });
}
void reshape(Model& m, const std::string& name, DType dtype, std::vector<uint64_t> shape) {
  uint64_t n = bytes(dtype);
  for (uint64_t d : shape) n *= d;
  part(m, name) = {name, dtype, shape, std::string(n, '\1')};
}

void expect_error(const Model& m, const std::string& tensor, const std::string& config = {}) {
  const Folder folder;
  test::write_model(folder.path(), m, config);
  try {
    Checkpoint::open(folder.path());
    ADD_FAILURE() << "no error about " << tensor;
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::kBadInput) << e.what();
    EXPECT_NE(std::string(e.what()).find(tensor), std::string::npos) << e.what();
    EXPECT_NE(std::string(e.what()).find("model.safetensors"), std::string::npos) << e.what();
  }
}

TEST(Malformed, TheModelsThemselvesAreFine) {
  for (const auto& [model, format] :
       std::vector<std::pair<Model, const char*>>{{int4_model(), "int4-g32"},
                                                  {asymmetric_model(), "int4-g32-asym"},
                                                  {nvfp4_model(), "nvfp4"},
                                                  {nf4_model(), "nf4"},
                                                  {int8_model(), "int8"}}) {
    const Folder folder;
    test::write_model(folder.path(), model, {});
    const Checkpoint c = Checkpoint::open(folder.path());
    ASSERT_EQ(c.weights().size(), 1u) << format;
    EXPECT_EQ(c.weights()[0].format, format);
    EXPECT_TRUE(c.weights()[0].decodable);
    EXPECT_EQ(test::decoded(c, c.weights()[0]).size(), c.parameters());
  }
}

TEST(Malformed, CompressedTensors) {
  const auto with = [](Model m, const std::function<void(Model&)>& change) {
    change(m);
    return m;
  };
  expect_error(with(int4_model(), [](Model& m) { drop(m, "m.weight_scale"); }), "m.weight_scale");
  expect_error(with(int4_model(), [](Model& m) { drop(m, "m.weight_shape"); }), "m.weight_shape");
  expect_error(with(int4_model(), [](Model& m) { reshape(m, "m.weight_shape", DType::kI32, {4}); }),
               "m.weight_shape");
  expect_error(with(int4_model(), [](Model& m) { reshape(m, "m.weight_shape", DType::kI64, {0}); }),
               "m.weight_shape");
  expect_error(with(int4_model(), [](Model& m) { reshape(m, "m.weight_packed", DType::kI32, {128}); }),
               "m.weight_packed");
  expect_error(with(int4_model(),
                    [](Model& m) {
                      reshape(m, "m.weight_packed", DType::kI16, {16, 16});
                    }),
               "m.weight_packed");
  expect_error(with(int4_model(),
                    [](Model& m) {
                      reshape(m, "m.weight_scale", DType::kBF16, {8, 2});
                    }),
               "m.weight_scale");
  expect_error(with(int4_model(), [](Model& m) { reshape(m, "m.weight_scale", DType::kBF16, {}); }),
               "m.weight_scale");
  for (const std::string& shape :
       {words({16, 0}), words({0, 64}), words({17, 64}), words({16, -1}), words({16, int64_t{1} << 62}),
        words({-16, 64}), words({16, 1000}), words({int64_t{1} << 62, int64_t{1} << 62})}) {
    expect_error(with(int4_model(), [&](Model& m) { part(m, "m.weight_shape").bytes = shape; }), "m.weight_");
  }
  expect_error(with(asymmetric_model(),
                    [](Model& m) {
                      reshape(m, "m.weight_zero_point", DType::kI8, {16, 2});
                    }),
               "m.weight_zero_point");
  expect_error(with(asymmetric_model(),
                    [](Model& m) {
                      reshape(m, "m.weight_zero_point", DType::kI32, {2, 1});
                    }),
               "m.weight_zero_point");
  expect_error(with(nvfp4_model(), [](Model& m) { reshape(m, "m.weight_global_scale", DType::kF32, {2}); }),
               "m.weight_global_scale");
  expect_error(with(nvfp4_model(), [](Model& m) { reshape(m, "m.weight_global_scale", DType::kBF16, {1}); }),
               "m.weight_global_scale");
}

TEST(Malformed, Bitsandbytes) {
  const auto with = [](Model m, const std::function<void(Model&)>& change) {
    change(m);
    return m;
  };
  expect_error(with(nf4_model(), [](Model& m) { drop(m, "m.weight.absmax"); }), "m.weight.absmax");
  expect_error(with(nf4_model(), [](Model& m) { drop(m, "m.weight"); }), "\"m.weight\"");
  expect_error(with(nf4_model(), [](Model& m) { reshape(m, "m.weight", DType::kU8, {127, 1}); }), "m.weight");
  expect_error(with(nf4_model(), [](Model& m) { reshape(m, "m.weight.absmax", DType::kF32, {5}); }),
               "m.weight.absmax");
  expect_error(with(nf4_model(), [](Model& m) { reshape(m, "m.weight.absmax", DType::kU8, {4}); }),
               "m.weight.absmax");
  const std::string state = "m.weight.quant_state";
  const json good = json::parse(
      part(*std::make_unique<Model>(nf4_model()), "m.weight.quant_state.bitsandbytes__nf4").bytes);
  const auto bad_state = [&](const std::string& key, const json& value) {
    json s = good;
    s[key] = value;
    expect_error(nf4_model(s.dump()), state);
  };
  for (const char* text : {"", "{", "[]", "7", "null", "\"nf4\"", "{\"quant_type\": \"nf4\"}", "\xff\xfe"})
    expect_error(nf4_model(text), state);
  expect_error(nf4_model(std::string(3000, '[') + std::string(1000, ']')), state);
  for (const json& v : {json("64"), json(0), json(-64), json(63), json(8192), json(64.0),
                        json((uint64_t{1} << 32) + 64), json(nullptr)}) {
    bad_state("blocksize", v);
  }
  for (const json& v :
       {json("x"), json(7), json::array(), json({4}), json({4, 64, 1}), json({-4, 64}), json({0, 64}),
        json({"4", 64}), json({4.5, 64}), json({uint64_t{1} << 40, uint64_t{1} << 40})}) {
    bad_state("shape", v);
  }
  for (const json& v : {json(7), json("int8"), json("float"), json::object(), json(nullptr)})
    bad_state("dtype", v);
  for (const json& v :
       {json(4), json("nf5"), json("int8"), json("nf4-dq"), json("q4_0"), json(std::string(2000, 'x'))})
    bad_state("quant_type", v);
  for (const json& v : {json("x"), json(nullptr), json(json::array())}) bad_state("nested_offset", v);
  json nested = good;
  nested["nested_blocksize"] = 256;
  for (const json& v : {json("x"), json(true), json(1e300)}) {
    nested["nested_offset"] = v;
    expect_error(nf4_model(nested.dump()), state);
  }
  nested["nested_offset"] = 0.5;
  nested["nested_blocksize"] = "256";
  expect_error(nf4_model(nested.dump()), state);

  expect_error(with(int8_model(), [](Model& m) { drop(m, "m.weight"); }), "m.SCB");
  expect_error(with(int8_model(), [](Model& m) { reshape(m, "m.SCB", DType::kF32, {5}); }), "m.SCB");
  expect_error(with(int8_model(), [](Model& m) { reshape(m, "m.SCB", DType::kF16, {4}); }), "m.SCB");
  expect_error(with(int8_model(), [](Model& m) { part(m, "m.weight_format").bytes = "\3"; }),
               "m.weight_format");
}

TEST(Malformed, Gptq) {
  Model m = gptq_model();
  reshape(m, "m.scales", DType::kF16, {2, 15});
  expect_error(m, "m.qweight");
  m = gptq_model();
  drop(m, "m.scales");
  const Folder folder;
  test::write_model(folder.path(), m, {});
  const Checkpoint c = Checkpoint::open(folder.path());
  ASSERT_EQ(c.weights().size(), 1u);
  EXPECT_FALSE(c.weights()[0].decodable);
}

// Settings that say nothing sensible: the weight is named, not decoded.
TEST(Malformed, Settings) {
  const auto opened = [](const Model& m, const json& settings) {
    const Folder folder;
    test::write_model(folder.path(), m, json{{"quantization_config", settings}}.dump());
    const Checkpoint c = Checkpoint::open(folder.path());
    EXPECT_EQ(c.weights().size(), 1u) << settings;
    return c.weights()[0].decodable;
  };
  const json good = {{"quant_method", "compressed-tensors"},
                     {"config_groups",
                      {{"group_0",
                        {{"targets", {"Linear"}},
                         {"weights",
                          {{"num_bits", 4},
                           {"type", "int"},
                           {"symmetric", true},
                           {"strategy", "group"},
                           {"group_size", 32}}}}}}}};
  EXPECT_TRUE(opened(int4_model(), good));
  for (const json& groups : {json(5), json::array({1, 2}), json::object(), json(nullptr), json("x"),
                             json{{"g", nullptr}}, json{{"g", 7}}}) {
    json settings = good;
    settings["config_groups"] = groups;
    EXPECT_FALSE(opened(int4_model(), settings)) << groups;
  }
  const auto changed = [&](const std::string& key, const json& value) {
    json settings = good;
    settings["config_groups"]["group_0"]["weights"][key] = value;
    return opened(int4_model(), settings);
  };
  EXPECT_FALSE(changed("num_bits", 8));
  EXPECT_FALSE(changed("num_bits", "4"));
  EXPECT_FALSE(changed("type", "float"));
  EXPECT_FALSE(changed("symmetric", false));
  EXPECT_FALSE(changed("strategy", "tensor"));
  EXPECT_FALSE(changed("group_size", 64));
  EXPECT_FALSE(changed("group_size", nullptr));
  EXPECT_TRUE(changed("type", "INT"));
  EXPECT_TRUE(changed("unknown", json::array({json::object()})));
  // Targets: the group that names the module decides, whatever comes before it.
  json two = good;
  two["config_groups"]["a"] = two["config_groups"]["group_0"];
  two["config_groups"]["a"]["weights"]["group_size"] = 64;
  EXPECT_TRUE(opened(int4_model(), two));
  two["config_groups"]["a"]["targets"] = {"m"};
  EXPECT_FALSE(opened(int4_model(), two));
  json preset = good;
  preset["config_groups"] = {{"W4A16", {"Linear"}}};
  EXPECT_TRUE(opened(int4_model(), preset));
  // Another tool's name: codes are not values.
  EXPECT_FALSE(
      opened({{"m.weight", DType::kI8, {4, 8}, std::string(32, '\1')}}, {{"quant_method", "somebody"}}));
  const Folder folder;
  test::write_model(folder.path(), int4_model(), "{\"quantization_config\":" + std::string(5000, '['));
  EXPECT_THROW(Checkpoint::open(folder.path()), Error);
}

// Bytes of every small text changed at random: an Error or a model, nothing else.
RC_GTEST_PROP(Malformed, RandomBytes, ()) {
  const json settings = {
      {"quantization_config",
       {{"quant_method", "compressed-tensors"},
        {"config_groups",
         {{"group_0",
           {{"targets", {"Linear", "re:.*"}}, {"weights", {{"num_bits", 4}, {"group_size", 32}}}}}}}}},
      {"torch_dtype", "bfloat16"}};
  std::string state =
      R"({"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [4, 64], "nested_offset": 0.1, "nested_blocksize": 256})";
  std::string config = settings.dump();
  for (std::string* text : {&state, &config}) {
    const size_t n = *rc::gen::inRange<size_t>(0, 4);
    for (size_t i = 0; i < n; ++i) {
      const size_t at = *rc::gen::inRange<size_t>(0, text->size());
      (*text)[at] = *rc::gen::element('0', '9', '-', '"', ',', ':', '[', ']', '{', '}', 'e', '.', '\\', 'n',
                                      '\x80', '\0');
    }
  }
  Model m = nf4_model(state);
  Model more = int4_model();
  for (TestTensor& t : more) t.name = "x." + t.name;
  m.insert(m.end(), more.begin(), more.end());
  const Folder folder;
  test::write_model(folder.path(), m, config);
  try {
    const Checkpoint c = Checkpoint::open(folder.path());
    for (const Weight& w : c.weights()) {
      if (w.decodable && w.placement.format != nullptr) RC_ASSERT(test::decoded(c, w).size() == w.count());
    }
  } catch (const Error& e) {
    RC_ASSERT(e.code() == Code::kBadInput);
  }
}

}  // namespace
}  // namespace viva
