#include <fmt/format.h>

#include "viva/compress/quality.h"
#include "word.h"

namespace viva::app {
namespace {

using nlohmann::ordered_json;

ordered_json figures(double sqnr_db, double mean_error, double rmse, double cosine, double max_abs) {
  return {{"sqnr_db", number(sqnr_db)},
          {"mean_error", number(mean_error)},
          {"rmse", number(rmse)},
          {"cosine", number(cosine)},
          {"max_abs", number(max_abs)}};
}

ordered_json to_json(const CompareReport& r, bool test) {
  ordered_json tensors = ordered_json::array(), mismatches = ordered_json::array();
  for (const ComparedTensor& t : r.tensors) {
    ordered_json entry = {
        {"name", t.name}, {"format_a", t.format_a}, {"format_b", t.format_b}, {"values", t.values}};
    entry.update(figures(t.sqnr_db, t.mean_error, t.rmse, t.cosine, t.max_abs));
    if (t.name_b != t.name) entry["name_b"] = t.name_b;
    if (test) entry["violates"] = t.violates;
    tensors.push_back(entry);
  }
  for (const auto& m : r.mismatches) mismatches.push_back({{"name", m.name}, {"reason", m.reason}});
  ordered_json j = {{"a", r.a}, {"b", r.b}, {"values", r.values}, {"identical", r.identical}};
  j.update(figures(r.sqnr_db, r.mean_error, r.rmse, r.cosine, r.max_abs));
  j["missing"] = r.missing;
  j["extra"] = r.extra;
  j["mismatches"] = mismatches;
  if (test) {
    j["violations"] = r.violations;
    j["passed"] = r.violations == 0;
  }
  j["tensors"] = tensors;
  return j;
}

std::string formats(const ComparedTensor& t) {
  return t.format_a == t.format_b ? t.format_a : t.format_a + " / " + t.format_b;
}

void print_table(const CompareReport& r, bool test, bool all) {
  fmt::print("{} against {}\n\n", r.b, r.a);
  constexpr size_t kShown = 20;
  const auto line = [](std::string_view name, std::string_view format, double sqnr, double mean, double rmse,
                       double cosine, double max_abs, bool bad) {
    fmt::print("  {:<46} {:<16} {:>8.2f} {:>10.3g} {:>10.3g} {:>10.7f} {:>10.3g}{}\n", name, format, sqnr,
               mean, rmse, cosine, max_abs, bad ? "  over the limit" : "");
  };
  if (!r.tensors.empty()) {
    fmt::print("  {:<46} {:<16} {:>8} {:>10} {:>10} {:>10} {:>10}\n", "tensor, worst first", "format",
               "SQNR dB", "mean error", "rmse", "cosine", "max |e|");
    for (size_t i = 0; i < r.tensors.size() && (all || i < kShown); ++i) {
      const ComparedTensor& t = r.tensors[i];
      line(t.name, formats(t), t.sqnr_db, t.mean_error, t.rmse, t.cosine, t.max_abs, t.violates);
    }
    if (!all && r.tensors.size() > kShown)
      fmt::print("  ... {} more, none worse; -v shows all\n", r.tensors.size() - kShown);
    line("all together", "", r.sqnr_db, r.mean_error, r.rmse, r.cosine, r.max_abs, false);
  }
  for (const std::string& n : r.missing) fmt::print("  missing: {}\n", n);
  for (const std::string& n : r.extra) fmt::print("  extra: {}\n", n);
  for (const auto& m : r.mismatches) fmt::print("  differs: {}: {}\n", m.name, m.reason);
  fmt::print("\n  {} tensors, {} values compared; {} missing, {} extra, {} that differ in shape or kind{}\n",
             r.tensors.size(), r.values, r.missing.size(), r.extra.size(), r.mismatches.size(),
             r.identical ? "; all values are identical" : "");
  if (test)
    fmt::print("  {}\n",
               r.violations == 0
                   ? "passed: all within the limits"
                   : fmt::format("failed: {} over the limits, missing, extra or different", r.violations));
}

}  // namespace

Word word_compare() {
  return {"compare",
          "tell tensor by tensor how far the values of one model are from another's",
          {"viva compare data/demo-model build/demo-nf4",
           "viva compare data/demo-model build/demo-nf4 --min-sqnr 15 --json"},
          [](CLI::App& app, const Common& common) -> std::function<int()> {
            struct Arguments {
              std::string a, b;
              CompareOptions options;
            };
            auto a = std::make_shared<Arguments>();
            app.add_option("A", a->a,
                           "the model that is right: a directory, .safetensors, .gguf, .npy or .npz")
                ->required();
            app.add_option("B", a->b, "the model that is measured")->required();
            app.add_option("--min-sqnr", a->options.min_sqnr,
                           "exit 1 when a tensor has fewer dB, is missing, extra or of another shape");
            app.add_option("--max-error", a->options.max_error,
                           "exit 1 when a tensor's mean |e| / max |x| is larger, or it is missing, extra or "
                           "of another shape");
            return [a, &common]() -> int {
              a->options.watcher = common.watcher();
              const bool test = a->options.min_sqnr || a->options.max_error;
              const Machine machine(common.machine());
              const CompareReport report =
                  compare(machine, io::Checkpoint::open(a->a), io::Checkpoint::open(a->b), a->options);
              if (common.json) {
                print_json(to_json(report, test));
              } else {
                print_table(report, test, common.verbose);
              }
              return report.violations == 0 ? 0 : 1;
            };
          }};
}

}  // namespace viva::app
