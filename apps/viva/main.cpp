#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <new>

#include "word.h"

namespace viva::app {
namespace {

// The exit codes that scripts rely on.
int exit_code(Code code) {
  switch (code) {
    case Code::kUsage: return 2;
    case Code::kBadInput: return 3;
    case Code::kResource: return 4;
    case Code::kCancelled: return 130;
    case Code::kInternal: return 70;
  }
  return 70;
}

int complain(int code, std::string_view text) {
  if (colour(2)) {
    fmt::print(stderr, "\x1b[31mviva: {}\x1b[0m\n", text);
  } else {
    fmt::print(stderr, "viva: {}\n", text);
  }
  return code;
}

size_t distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t up = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1])});
      diagonal = up;
    }
  }
  return row[b.size()];
}

std::string nearest(std::string_view text, const std::vector<std::string>& known) {
  const auto best = std::min_element(known.begin(), known.end(), [&](auto& a, auto& b) { return distance(text, a) < distance(text, b); });
  return best == known.end() ? "" : *best;
}

void add_common(CLI::App& app, Common& c) {
  const char* group = "Common options";
  app.add_flag("--json", c.json, "one JSON object on stdout, nothing else")->group(group);
  app.add_option("--threads", c.threads, "threads (default: the cores this process may use)")->check(CLI::Range(1, 4096))->group(group);
  app.add_flag("--quiet,-q", c.quiet, "less on stderr")->group(group);
  app.add_flag("-v,--verbose", c.verbose, "more detail")->group(group);
  app.add_option("--ram", c.ram, "cap of the program's own memory, as 800M, 2G, 1.5GiB or 80%")->group(group);
  app.add_option("--vram", c.vram, "cap of GPU memory (this build uses none)")->group(group);
  app.add_option("--disk", c.disk, "cap of what may be written to disk")->group(group);
  app.add_option("--progress", c.progress, "auto, bar, json or none")->check(CLI::IsMember({"auto", "bar", "json", "none"}))->group(group);
  app.add_option("--simd", c.simd, "a lower SIMD target than the processor's best: avx3, avx2, sse4, scalar")->group(group);
}

void on_signal(int) { interrupted = true; }

int run(int argc, char** argv) {
  std::vector<Word> words = {word_formats(), word_inspect(), word_compress(), word_compare(), word_verify(), word_bench()};
  CLI::App app("viva makes models fit: compress, verify and compare large models.", "viva");
  app.set_version_flag("--version", "viva 0.1.0");
  app.require_subcommand(1);
  app.footer("'viva WORD --help' shows the options of a word and two examples.");
  Common common;
  std::vector<std::string> names;
  std::vector<std::pair<CLI::App*, std::function<int()>>> runs;
  for (const Word& w : words) {
    CLI::App* sub = app.add_subcommand(w.name, w.summary);
    std::string examples = "Examples:\n";
    for (const std::string& e : w.examples) examples += "  " + e + "\n";
    sub->footer(examples);
    runs.emplace_back(sub, w.declare(*sub, common));
    add_common(*sub, common);
    names.push_back(w.name);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& e) {
    return app.exit(e);
  } catch (const CLI::CallForVersion& e) {
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    std::string hint;
    CLI::App* word = nullptr;
    for (auto& [sub, f] : runs) {
      if (sub->parsed()) word = sub;
    }
    if (word == nullptr && argc > 1) {
      hint = fmt::format("; did you mean '{}'? 'viva --help' lists the words", nearest(argv[1], names));
      return complain(2, fmt::format("'{}' is not a word of viva{}", argv[1], hint));
    }
    if (word != nullptr) {
      std::vector<std::string> known;
      for (const CLI::Option* o : word->get_options()) {
        for (const std::string& l : o->get_lnames()) known.push_back("--" + l);
      }
      for (int i = 1; i < argc; ++i) {
        const std::string text = std::string(argv[i]).substr(0, std::string(argv[i]).find('='));
        if (text.starts_with("--") && std::find(known.begin(), known.end(), text) == known.end()) {
          return complain(2, fmt::format("{} has no option {}; did you mean {}?", word->get_name(), text, nearest(text, known)));
        }
      }
      hint = fmt::format("; see 'viva {} --help'", word->get_name());
    }
    return complain(2, e.what() + hint);
  }
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  for (auto& [sub, f] : runs) {
    if (sub->parsed()) return f();
  }
  return 2;
}

}  // namespace
}  // namespace viva::app

int main(int argc, char** argv) {
  using namespace viva;
  try {
    const int code = app::run(argc, argv);
    if (std::fflush(stdout) != 0) return app::complain(4, "cannot write to standard output");
    return code;
  } catch (const Error& e) {
    return app::complain(app::exit_code(e.code()), e.what());
  } catch (const std::bad_alloc&) {
    return app::complain(4, "out of memory");
  } catch (const std::exception& e) {
    return app::complain(70, fmt::format("internal error: {}", e.what()));
  }
}
