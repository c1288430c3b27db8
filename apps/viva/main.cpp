#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <new>
#include <system_error>

#include "pages.h"
#include "viva/base/nearest.h"
#include "viva/compress/plan.h"
#include "word.h"

namespace viva::app {
namespace {

// The exit codes that scripts rely on.
int exit_code(Code code) {
  switch (code) {
    case Code::kRefused: return 1;
    case Code::kUsage: return 2;
    case Code::kBadInput: return 3;
    case Code::kResource: return 4;
    case Code::kCancelled: return 130;
    case Code::kInternal: return 70;
  }
  return 70;
}

int complain(int code, std::string_view text) {
  say(colour(2) ? fmt::format("\x1b[31mviva: {}\x1b[0m\n", text) : fmt::format("viva: {}\n", text));
  return code;
}

// What a failed write to standard output means: a reader who has seen enough (`viva ... | head`) is no error worth a word.
int output_failed(int error) {
  if (error == EPIPE) return 141;
  return complain(4, fmt::format("cannot write to standard output: {}", std::generic_category().message(error)));
}

std::string nearest(std::string_view text, const std::vector<std::string>& known) {
  const auto best = std::min_element(known.begin(), known.end(), [&](auto& a, auto& b) { return edit_distance(text, a) < edit_distance(text, b); });
  return best == known.end() ? "" : *best;
}

void add_common(CLI::App& app, Common& c) {
  app.add_flag("--json", c.json, "one JSON object on stdout, nothing else")->group(kCommonGroup);
  app.add_option("--threads", c.threads, "threads (default: the cores this process may use)")->check(CLI::Range(1, 4096))->type_name("N")->group(kCommonGroup);
  app.add_flag("--quiet,-q", c.quiet, "less on stderr")->group(kCommonGroup);
  app.add_flag("-v,--verbose", c.verbose, "more detail")->group(kCommonGroup);
  app.add_option("--ram", c.ram, "cap of the program's own memory, as 800M, 2G, 1.5GiB or 80%")->type_name("SIZE")->group(kCommonGroup);
  app.add_option("--vram", c.vram, "cap of GPU memory (this build uses none)")->type_name("SIZE")->group(kCommonGroup);
  app.add_option("--disk", c.disk, "cap of what may be written to disk")->type_name("SIZE")->group(kCommonGroup);
  app.add_option("--progress", c.progress, "auto, bar, json or none")->check(CLI::IsMember({"auto", "bar", "json", "none"}))->group(kCommonGroup);
  app.add_option("--simd", c.simd, "a lower SIMD target than the processor's best: avx3, avx2, sse4, scalar")->type_name("NAME")->group(kCommonGroup);
}

void on_signal(int) { interrupted = true; }

std::vector<std::string> long_names(const CLI::App& app) {
  std::vector<std::string> list;
  for (const CLI::Option* o : app.get_options()) {
    for (const std::string& l : o->get_lnames()) list.push_back("--" + l);
  }
  return list;
}

// What is wrong with the command line, and what is nearest to it.
int explain(const CLI::App& app, const CLI::ParseError& e, const std::vector<std::string>& arguments) {
  const std::vector<const CLI::App*> words = app.get_subcommands([](const CLI::App*) { return true; });
  std::vector<std::string> names;
  for (const CLI::App* w : words) names.push_back(w->get_name());
  if (arguments.empty()) {
    say(app.help());
    return complain(2, "which word? 'viva WORD --help' shows its options");
  }
  const CLI::App* word = nullptr;
  for (const CLI::App* w : words) {
    if (w->parsed()) word = w;
  }
  const std::string first = arguments.front();
  if (word == nullptr && !first.starts_with('-')) {
    return complain(2, fmt::format("'{}' is not a word of viva; did you mean '{}'? 'viva --help' lists the words", first, nearest(first, names)));
  }
  std::vector<std::string> known = long_names(word == nullptr ? app : *word);
  if (word != nullptr && first != word->get_name() && std::find(known.begin(), known.end(), first.substr(0, first.find('='))) != known.end()) {
    return complain(2, fmt::format("{0} comes after the word, as in 'viva {1} {0}'", first, word->get_name()));
  }
  for (const std::string& argument : arguments) {
    if (argument == "--") break;
    const std::string text = argument.substr(0, argument.find('='));
    if (!text.starts_with("--") || std::find(known.begin(), known.end(), text) != known.end()) continue;
    if (word != nullptr) {
      return complain(2, fmt::format("{} has no option {}; did you mean {}? see 'viva {} --help'", word->get_name(), text, nearest(text, known), word->get_name()));
    }
    const std::vector<std::string> common = long_names(*words.front());
    if (std::find(common.begin(), common.end(), text) != common.end()) {
      return complain(2, fmt::format("{} comes after the word, as in 'viva {} {}'", text, names.front(), text));
    }
    return complain(2, fmt::format("there is no option {} before the word; did you mean {}? 'viva --help' lists the words", text, nearest(text, known)));
  }
  // "--encoder: bset not in {best,reference}"
  std::string what = e.what(), near;
  const size_t not_in = what.find(" not in {");
  if (not_in != std::string::npos && what.ends_with('}')) {
    std::vector<std::string> valid;
    for (size_t at = not_in + 9; at < what.size();) {
      const size_t end = std::min(what.find(',', at), what.size() - 1);
      valid.push_back(what.substr(at, end - at));
      at = end + 1;
    }
    const size_t value = what.find(": ");
    const std::string given = value < not_in ? what.substr(value + 2, not_in - value - 2) : "";
    near = fmt::format("; did you mean '{}'?", nearest(given, valid));
  }
  std::replace(what.begin(), what.end(), '\n', ' ');
  return complain(2, what + near + (word == nullptr ? "; see 'viva --help'" : fmt::format("; see 'viva {} --help'", word->get_name())));
}

int run(int argc, char** argv) {
  const std::vector<Word> words = {word_formats(), word_inspect(), word_compress(), word_convert(), word_compare(), word_verify(), word_bench(), word_demo()};
  CLI::App app("viva makes models fit: it compresses large language models into smaller files that their own tools load, and reports how good they are.", "viva");
  const std::string version = fmt::format("viva {}", kVersion);
  app.set_version_flag("--version", version);
  bool man = false;
  std::string shell;
  app.add_flag("--man", man, "print the manual page: viva --man | man -l -");
  app.add_option("--completion", shell, "print a completion script: bash, zsh or fish")->check(CLI::IsMember({"bash", "zsh", "fish"}));
  app.footer("'viva WORD --help' shows the options of a word and two examples.");
  Common common;
  std::vector<std::pair<CLI::App*, std::function<int()>>> runs;
  for (const Word& w : words) {
    CLI::App* sub = app.add_subcommand(w.name, w.summary);
    std::string examples = "Examples:\n";
    for (const std::string& e : w.examples) examples += "  " + e + "\n";
    sub->footer(examples);
    runs.emplace_back(sub, w.declare(*sub, common));
    add_common(*sub, common);
  }
  const std::vector<std::string> arguments(argv + std::min(argc, 1), argv + argc);
  try {
    app.parse(argc, argv);
    if (!man && shell.empty() && app.get_subcommands().empty()) throw CLI::RequiredError("A word");
  } catch (const CLI::Success& e) {  // help or version
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    return explain(app, e, arguments);
  }
  if (man || !shell.empty()) {
    const std::string text = man ? man_page(app, words, kVersion) : completion(app, shell);
    std::fwrite(text.data(), 1, text.size(), stdout);
    return 0;
  }
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  for (auto& [sub, f] : runs) {
    if (!sub->parsed()) continue;
    if (!common.vram.empty()) parse_size(common.vram, 1);  // no GPU is used: any cap holds, but it must be one
    return f();
  }
  return 2;
}

}  // namespace
}  // namespace viva::app

int main(int argc, char** argv) {
  using namespace viva;
  ::signal(SIGPIPE, SIG_IGN);
  try {
    const int code = app::run(argc, argv);
    if (std::fflush(stdout) != 0 || std::ferror(stdout)) return app::output_failed(errno);
    return code;
  } catch (const Error& e) {
    return app::complain(app::exit_code(e.code()), e.what());
  } catch (const std::bad_alloc&) {
    return app::complain(4, "out of memory");
  } catch (const std::system_error& e) {
    if (std::ferror(stdout)) return app::output_failed(e.code().value());
    return app::complain(70, fmt::format("internal error: {}", e.what()));
  } catch (const std::exception& e) {
    return app::complain(70, fmt::format("internal error: {}", e.what()));
  }
}
