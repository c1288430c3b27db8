#pragma once

#include <CLI/CLI.hpp>
#include <atomic>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "viva/base/error.h"
#include "viva/base/progress.h"
#include "viva/machine/machine.h"

// What the words of the program share: the common options, the machine they ask for, and how results leave.
namespace viva::app {

// Options that every word takes.
struct Common {
  bool json = false;
  size_t threads = 0;
  bool quiet = false;
  bool verbose = false;
  std::string simd, ram, disk, vram;
  std::string progress = "auto";

  Machine::Options machine() const;
  uint64_t disk_bytes() const;
  // Reports on stderr as --progress and --quiet say; stops when the program was told to.
  Watcher watcher() const;
};

// One word of the program. Its options are declared once; help, man page and completion come from them.
struct Word {
  const char* name;
  const char* summary;
  std::vector<std::string> examples;  // whole command lines
  // Declares options on `app`; returns what runs afterwards and gives the exit code.
  std::function<std::function<int()>(CLI::App& app, const Common& common)> declare;
};

// The words, in the order of help. Each lives in its own file.
Word word_formats();
Word word_inspect();
Word word_compare();
Word word_verify();
Word word_compress();
Word word_convert();
Word word_bench();
Word word_demo();

// Bytes of "800M", "2G", "1.5GiB", "12345"; "80%" of `whole`. Throws kUsage.
uint64_t parse_size(const std::string& text, uint64_t whole);
std::string human_bytes(double n);
// Floating point for JSON: infinities as strings, since JSON has none.
nlohmann::ordered_json number(double v);
void print_json(const nlohmann::ordered_json& object);
bool colour(int fd);
// Text for stderr; a reader who went away is no error.
void say(std::string_view text) noexcept;

extern std::atomic<bool> interrupted;

}  // namespace viva::app
