#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "word.h"

// Man page and shell completion, made from the same table of options that parses them.
namespace viva::app {

inline constexpr const char* kCommonGroup = "Common options";

// The page viva(1) in man's own macros. `program` has every word as a subcommand, in the order of `words`.
std::string man_page(const CLI::App& program, const std::vector<Word>& words, std::string_view version);

// A completion script for "bash", "zsh" or "fish".
std::string completion(const CLI::App& program, std::string_view shell);

}  // namespace viva::app
