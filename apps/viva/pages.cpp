#include "pages.h"

#include <fmt/format.h>

#include "viva/formats/format.h"

namespace viva::app {
namespace {

std::vector<const CLI::App*> words_of(const CLI::App& program) {
  return program.get_subcommands([](const CLI::App*) { return true; });
}

std::vector<const CLI::Option*> options_of(const CLI::App& app) {
  return app.get_options([](const CLI::Option* o) { return o->nonpositional(); });
}

std::vector<const CLI::Option*> positionals_of(const CLI::App& app) {
  return app.get_options([](const CLI::Option* o) { return o->get_positional(); });
}

bool is_flag(const CLI::Option& o) { return o.get_items_expected_max() == 0; }
bool is_common(const CLI::Option& o) { return o.get_group() == kCommonGroup; }

// What may follow an option, where that is a fixed set: the members that its check lists, or the formats.
std::vector<std::string> choices(const CLI::Option& o) {
  std::vector<std::string> list;
  if (o.check_lname("format")) {
    for (const Format* f : formats()) list.emplace_back(f->name);
    return list;
  }
  const std::string type = o.get_type_name();
  const size_t open = type.find('{'), close = type.rfind('}');
  if (open == std::string::npos || close == std::string::npos || close < open) return list;
  for (size_t at = open + 1; at <= close;) {
    const size_t end = std::min(type.find(',', at), close);
    list.push_back(type.substr(at, end - at));
    at = end + 1;
  }
  return list;
}

// "--encoder best|reference", "-v, --verbose", "--ram SIZE".
std::string value_text(const CLI::Option& o) {
  if (is_flag(o)) return {};
  const std::vector<std::string> list = choices(o);
  if (!list.empty() && !o.check_lname("format")) return fmt::format("{}", fmt::join(list, "|"));
  const std::string type = o.get_type_name();
  return type.substr(0, type.find(':'));
}

std::vector<std::string> names(const CLI::Option& o) {
  std::vector<std::string> list;
  for (const std::string& s : o.get_snames()) list.push_back("-" + s);
  for (const std::string& l : o.get_lnames()) list.push_back("--" + l);
  return list;
}

bool takes_path(const CLI::Option& o) { return o.check_lname("dir") || o.check_lname("out") || o.check_lname("model") || o.check_lname("source"); }

// ---- man ----

std::string roff(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\') {
      out += "\\e";
    } else if (c == '-') {
      out += "\\-";
    } else if (c == '\'') {
      out += "\\(aq";
    } else {
      out += c;
    }
  }
  if (out.starts_with('.')) out.insert(0, "\\&");
  return out;
}

std::string roff_option(const CLI::Option& o) {
  std::string head;
  for (const std::string& n : names(o)) head += fmt::format("{}\\fB{}\\fR", head.empty() ? "" : ", ", roff(n));
  const std::string value = value_text(o);
  if (!value.empty()) head += fmt::format(" \\fI{}\\fR", roff(value));
  return fmt::format(".TP\n{}\n{}\n", head, roff(o.get_description()));
}

// ---- shells ----

// Between single quotes, as bash and zsh read them.
std::string shell_quoted(std::string_view text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? "'\\''" : std::string(1, c);
  return out + "'";
}

std::string bash_script(const CLI::App& program) {
  std::string words, options, values, top;
  for (const CLI::Option* o : options_of(program)) top += fmt::format(" {}", fmt::join(names(*o), " "));
  for (const CLI::App* w : words_of(program)) {
    words += fmt::format("{}{}", words.empty() ? "" : " ", w->get_name());
    std::string all;
    for (const CLI::Option* o : options_of(*w)) {
      all += fmt::format("{}{}", all.empty() ? "" : " ", fmt::join(names(*o), " "));
      if (is_flag(*o)) continue;
      const std::vector<std::string> list = choices(*o);
      for (const std::string& n : names(*o)) {
        values += fmt::format("    {}:{}) {} ;;\n", w->get_name(), n,
                              !list.empty()    ? fmt::format("COMPREPLY=($(compgen -W '{}' -- \"$cur\")); return", fmt::join(list, " "))
                              : takes_path(*o) ? "compopt -o filenames; COMPREPLY=($(compgen -f -- \"$cur\")); return"
                                               : "return");
      }
    }
    options += fmt::format("    {}) options='{}' ;;\n", w->get_name(), all);
  }
  std::string fixed;
  for (const CLI::App* w : words_of(program)) {
    for (const CLI::Option* o : positionals_of(*w)) {
      const std::vector<std::string> list = choices(*o);
      if (!list.empty()) fixed += fmt::format("    {}) COMPREPLY=($(compgen -W '{}' -- \"$cur\")); return ;;\n", w->get_name(), fmt::join(list, " "));
    }
  }
  return fmt::format(R"(# bash completion for viva; made by 'viva --completion bash'
_viva() {{
  local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}} word=${{COMP_WORDS[1]}} options=
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W '{}{}' -- "$cur"))
    return
  fi
  case "$word:$prev" in
{}  esac
  case "$word" in
{}  esac
  if [[ $cur == -* ]]; then
    COMPREPLY=($(compgen -W "$options" -- "$cur"))
    return
  fi
  case "$word" in
{}    *) ;;
  esac
  compopt -o filenames 2>/dev/null
  COMPREPLY=($(compgen -f -- "$cur"))
}}
complete -F _viva viva
)",
                     words, top, values, options, fixed);
}

// One specification of zsh's _arguments: brackets and colons have a meaning there.
std::string zsh_text(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '[' || c == ']' || c == ':' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

std::string zsh_script(const CLI::App& program) {
  std::string list, cases, top;
  for (const CLI::Option* o : options_of(program)) {
    for (const std::string& n : names(*o)) top += fmt::format(" {}", shell_quoted(fmt::format("{}[{}]", n, zsh_text(o->get_description()))));
  }
  for (const CLI::App* w : words_of(program)) {
    list += fmt::format("    {}\n", shell_quoted(fmt::format("{}:{}", w->get_name(), zsh_text(w->get_description()))));
    cases += fmt::format("    {}) _arguments -S", w->get_name());
    for (const CLI::Option* o : options_of(*w)) {
      const std::vector<std::string> values = choices(*o);
      for (const std::string& n : names(*o)) {
        std::string spec = fmt::format("{}{}[{}]", o->get_items_expected_max() > 1 ? "*" : "", n, zsh_text(o->get_description()));
        if (!is_flag(*o)) {
          spec += fmt::format(":{}:", zsh_text(value_text(*o)));
          if (!values.empty()) {
            spec += fmt::format("({})", fmt::join(values, " "));
          } else if (takes_path(*o)) {
            spec += "_files";
          }
        }
        cases += fmt::format(" \\\n      {}", shell_quoted(spec));
      }
    }
    size_t place = 1;
    for (const CLI::Option* o : positionals_of(*w)) {
      const std::vector<std::string> values = choices(*o);
      cases += fmt::format(" \\\n      {}", shell_quoted(fmt::format("{}:{}:{}", place++, zsh_text(o->get_name(true)),
                                                                 values.empty() ? "_files" : fmt::format("({})", fmt::join(values, " ")))));
    }
    cases += " ;;\n";
  }
  return fmt::format(R"(#compdef viva
# zsh completion for viva; made by 'viva --completion zsh'
_viva() {{
  local -a viva_words
  viva_words=(
{}  )
  if (( CURRENT == 2 )); then
    _describe -t words 'word' viva_words
    _arguments{}
    return
  fi
  local word=$words[2]
  shift words
  (( CURRENT-- ))
  case $word in
{}  esac
}}
if [ "$funcstack[1]" = "_viva" ]; then
  _viva "$@"
else
  compdef _viva viva
fi
)",
                     list, top, cases);
}

// fish reads \' and \\ between single quotes.
std::string fish_quoted(std::string_view text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'' || c == '\\') out += '\\';
    out += c;
  }
  return out + "'";
}

std::string fish_option(const CLI::Option& o, const std::string& condition) {
  std::string line = fmt::format("complete -c viva -n {}", fish_quoted(condition));
  for (const std::string& s : o.get_snames()) line += " -s " + s;
  for (const std::string& l : o.get_lnames()) line += " -l " + l;
  if (!is_flag(o)) {
    const std::vector<std::string> values = choices(o);
    if (!values.empty()) {
      line += fmt::format(" -x -a {}", fish_quoted(fmt::format("{}", fmt::join(values, " "))));
    } else {
      line += takes_path(o) ? " -r" : " -x";
    }
  }
  return fmt::format("{} -d {}\n", line, fish_quoted(o.get_description()));
}

std::string fish_script(const CLI::App& program) {
  std::string text = "# fish completion for viva; made by 'viva --completion fish'\n";
  for (const CLI::Option* o : options_of(program)) text += fish_option(*o, "__fish_use_subcommand");
  for (const CLI::App* w : words_of(program)) {
    text += fmt::format("complete -c viva -f -n __fish_use_subcommand -a {} -d {}\n", w->get_name(), fish_quoted(w->get_description()));
    const std::string seen = fmt::format("__fish_seen_subcommand_from {}", w->get_name());
    for (const CLI::Option* o : options_of(*w)) text += fish_option(*o, seen);
    for (const CLI::Option* o : positionals_of(*w)) {
      const std::vector<std::string> values = choices(*o);
      if (!values.empty()) text += fmt::format("complete -c viva -f -n {} -a {}\n", fish_quoted(seen), fish_quoted(fmt::format("{}", fmt::join(values, " "))));
    }
  }
  return text;
}

}  // namespace

std::string man_page(const CLI::App& program, const std::vector<Word>& words, std::string_view version) {
  std::string text = fmt::format(".TH VIVA 1 \"\" \"viva {}\" \"User Commands\"\n.SH NAME\nviva \\- {}\n", version, roff("make models fit: compress, verify and compare large models"));
  text += ".SH SYNOPSIS\n\\fBviva\\fR \\fIWORD\\fR [\\fIARGUMENTS\\fR]\n.br\n\\fBviva\\fR [\\fIOPTION\\fR]\n";
  text += fmt::format(".SH DESCRIPTION\n{}\n", roff(program.get_description()));
  text += ".SH OPTIONS\n";
  for (const CLI::Option* o : options_of(program)) text += roff_option(*o);
  text += ".SH WORDS\n";
  for (const CLI::App* w : words_of(program)) {
    text += fmt::format(".SS {}\n\\fBviva {}\\fR", w->get_name(), w->get_name());
    for (const CLI::Option* o : positionals_of(*w)) text += fmt::format(fmt::runtime(o->get_required() ? " \\fI{}\\fR" : " [\\fI{}\\fR]"), roff(o->get_name(true)));
    text += fmt::format(" [\\fIoptions\\fR]\n.PP\n{}.\n", roff(w->get_description()));
    for (const CLI::Option* o : positionals_of(*w)) text += fmt::format(".TP\n\\fI{}\\fR\n{}\n", roff(o->get_name(true)), roff(o->get_description()));
    for (const CLI::Option* o : options_of(*w)) {
      if (!is_common(*o) && !o->check_lname("help")) text += roff_option(*o);
    }
  }
  text += ".SH COMMON OPTIONS\nEvery word takes these, after the word.\n";
  if (const auto all = words_of(program); !all.empty()) {
    for (const CLI::Option* o : options_of(*all.front())) {
      if (is_common(*o) || o->check_lname("help")) text += roff_option(*o);
    }
  }
  text += ".SH EXIT STATUS\n";
  constexpr std::pair<const char*, const char*> kExits[] = {
      {"0", "done"},
      {"1", "the honest answer is no: a difference over the limit"},
      {"2", "wrong usage"},
      {"3", "bad input: the message names the file and the offset or tensor"},
      {"4", "a resource ran out: disk, memory cap, permission"},
      {"130", "interrupted: the same command continues where it stopped"},
  };
  for (const auto& [code, meaning] : kExits) text += fmt::format(".TP\n\\fB{}\\fR\n{}\n", code, roff(meaning));
  text += fmt::format(".SH ENVIRONMENT\n.TP\n\\fBNO_COLOR\\fR\n{}\n", roff("no colour, also on a terminal"));
  text += ".SH EXAMPLES\n.nf\n";
  for (const Word& w : words) {
    for (const std::string& e : w.examples) text += roff(e) + "\n";
  }
  return text + ".fi\n";
}

std::string completion(const CLI::App& program, std::string_view shell) {
  return shell == "bash" ? bash_script(program) : shell == "zsh" ? zsh_script(program) : fish_script(program);
}

}  // namespace viva::app
