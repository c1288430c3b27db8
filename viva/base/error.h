#pragma once

#if __cplusplus < 202002L
#error "viva is a C++20 library: compile with -std=c++20"
#endif

#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace viva {

// What kind of answer an error is; apps map it to the exit code of the program.
enum class Code {
  kRefused,    // the honest answer is no (exit 1)
  kUsage,      // the caller asked for something that makes no sense (exit 2)
  kBadInput,   // a file or a tensor is not what it should be (exit 3)
  kResource,   // disk, memory, permission, lock (exit 4)
  kCancelled,  // stopped by the caller (exit 130)
  kInternal,   // a promise inside the library was broken: a bug
};

// The one error of the library. `what()` is "operation: message (hint)".
class Error : public std::runtime_error {
 public:
  Error(Code code, std::string_view operation, std::string_view message, std::string_view hint = {})
      : std::runtime_error(join(operation, message, hint)),
        code_(code),
        operation_(operation),
        message_(message),
        hint_(hint) {}

  Code code() const noexcept { return code_; }
  const std::string& operation() const noexcept { return operation_; }
  const std::string& message() const noexcept { return message_; }
  const std::string& hint() const noexcept { return hint_; }

 private:
  static std::string join(std::string_view operation, std::string_view message, std::string_view hint) {
    std::string text;
    if (!operation.empty()) text.append(operation).append(": ");
    text.append(message);
    if (!hint.empty()) text.append(" (").append(hint).append(")");
    return text;
  }

  Code code_;
  std::string operation_, message_, hint_;
};

}  // namespace viva
