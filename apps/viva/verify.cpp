#include "viva/compress/verify.h"

#include <fmt/format.h>

#include "word.h"

namespace viva::app {
namespace {

void print_table(const VerifyReport& r) {
  if (r.manifest) {
    fmt::print("{}: {}, {} encoder, viva {}\n\n", r.path, r.format, r.encoder, r.version);
    fmt::print("  structure   {} tensors, headers and offsets are right\n", r.tensors);
    fmt::print("  checksums   {} of {} tensors are as the manifest says ({})\n", r.checked, r.tensors,
               human_bytes(static_cast<double>(r.bytes)));
    if (!r.source.empty())
      fmt::print("  source      {} of {} tensors are what this encoder gives for {}\n", r.recoded, r.tensors,
                 r.source);
  } else {
    fmt::print("{}: structure only, for it has no manifest of viva\n\n", r.path);
    fmt::print("  structure   {} tensors, headers and offsets are right\n", r.tensors);
  }
  for (const auto& d : r.differences) fmt::print("  differs     {}: {}\n", d.name, d.reason);
  fmt::print("\n  {}\n",
             r.differences.empty()
                 ? "nothing differs"
                 : fmt::format("{} found", r.differences.size() == 1
                                               ? "1 difference"
                                               : fmt::format("{} differences", r.differences.size())));
}

nlohmann::ordered_json to_json(const VerifyReport& r) {
  nlohmann::ordered_json differences = nlohmann::ordered_json::array();
  for (const auto& d : r.differences) differences.push_back({{"name", d.name}, {"reason", d.reason}});
  nlohmann::ordered_json j = {
      {"path", r.path}, {"passed", r.differences.empty()}, {"manifest", r.manifest}, {"tensors", r.tensors}};
  if (r.manifest) {
    j.update({{"format", r.format},
              {"encoder", r.encoder},
              {"version", r.version},
              {"checked", r.checked},
              {"bytes", r.bytes}});
  }
  if (!r.source.empty()) j.update({{"source", r.source}, {"recoded", r.recoded}});
  j["differences"] = differences;
  return j;
}

}  // namespace

Word word_verify() {
  return {"verify",
          "check the structure and every tensor's checksum of a result, and that its source gives it",
          {"viva verify build/demo-nf4", "viva verify build/demo-nf4 --source data/demo-model"},
          [](CLI::App& app, const Common& common) -> std::function<int()> {
            struct Arguments {
              std::string path, source;
            };
            auto a = std::make_shared<Arguments>();
            app.add_option("PATH", a->path,
                           "what 'viva compress' wrote; of other models the structure is checked")
                ->required();
            app.add_option("--source", a->source,
                           "the model that it was made from: codes it again and compares");
            return [a, &common]() -> int {
              const Machine machine(common.machine());
              const VerifyReport report = verify(machine, a->path, {a->source, common.watcher()});
              if (common.json) {
                print_json(to_json(report));
              } else {
                print_table(report);
              }
              return report.differences.empty() ? 0 : 1;
            };
          }};
}

}  // namespace viva::app
