#pragma once

#include <string>
#include <string_view>

namespace viva::io {

// Text from a file as a message may show it: in quotes, on one line, of bounded length, without control
// characters and without bytes that are not UTF-8.
std::string quote(std::string_view text, size_t longest = 120);

}  // namespace viva::io
