#pragma once

#include <algorithm>
#include <cstddef>
#include <string_view>
#include <vector>

namespace viva {

// Single-character edits that turn `text` into what `pattern` matches; a star in the pattern stands for anything. Tells
// which valid name is nearest to a mistyped one.
inline size_t edit_distance(std::string_view pattern, std::string_view text) {
  std::vector<size_t> row(text.size() + 1);
  for (size_t j = 0; j <= text.size(); ++j) row[j] = j;
  for (const char c : pattern) {
    const bool star = c == '*';
    size_t diagonal = row[0];
    row[0] += star ? 0 : 1;
    for (size_t j = 1; j <= text.size(); ++j) {
      const size_t up = row[j];
      row[j] = star ? std::min(row[j], row[j - 1]) : std::min({row[j] + 1, row[j - 1] + 1, diagonal + (c != text[j - 1])});
      diagonal = up;
    }
  }
  return row[text.size()];
}

}  // namespace viva
