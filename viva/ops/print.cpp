#include "viva/ops/print.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "viva/ops/ops.h"

namespace viva {

namespace {

constexpr size_t kLine = 75;        // characters of a line
constexpr int64_t kMostValues = 1000, kEdge = 3;
constexpr size_t kDigits = 8;       // after the point, at most

// A value and the number whose shortest text as f64 is the value's shortest text in its own type.
struct Decimal {
  double exact, shortest;
};

template <class T>
Decimal decimal(T v) {
  const double exact = static_cast<double>(static_cast<std::conditional_t<sizeof(T) == 2, float, T>>(v));
  if (sizeof(T) == 8 || !std::isfinite(exact)) return {exact, exact};
  char text[64];
  for (int digits = 0;; ++digits) {
    *std::to_chars(text, text + sizeof text, exact, std::chars_format::scientific, digits).ptr = 0;
    const double d = std::strtod(text, nullptr);
    if constexpr (sizeof(T) == 2) {
      if (T(static_cast<float>(d)).bits == v.bits || digits == 9) return {exact, d};
    } else {
      if (static_cast<double>(static_cast<float>(d)) == exact || digits == 9) return {exact, d};
    }
  }
}

// Digits, point, digits (no zeros at their end), and the exponent's sign and digits if there is one.
std::string unique_text(const Decimal& v, std::chars_format format) {
  char text[512];
  std::string s(text, std::to_chars(text, text + sizeof text, v.shortest, format).ptr);
  size_t e = std::min(s.find('e'), s.size()), point = s.find('.');
  if (point != std::string::npos && e - point - 1 > kDigits) {
    s.assign(text, std::to_chars(text, text + sizeof text, v.exact, format, static_cast<int>(kDigits)).ptr);
    e = std::min(s.find('e'), s.size());
    size_t last = e;
    while (s[last - 1] == '0') --last;
    s.erase(last, e - last);
  } else if (point == std::string::npos) {
    s.insert(e, ".");
  }
  return s;
}

// One column of real numbers.
class Column {
 public:
  Column(const std::vector<Decimal>& all, bool plus, double cutoff) : plus_(plus) {
    double high = 0, low = INFINITY, high_exact = 0, low_exact = INFINITY;
    size_t finite = 0;
    bool special_minus = false, special = false;
    size_t widest = 0;
    for (const Decimal& v : all) {
      if (!std::isfinite(v.exact)) {
        special = true;
        special_minus |= plus || v.exact == -INFINITY;
        widest = std::max(widest, size_t{3});
        continue;
      }
      ++finite;
      if (v.exact == 0) continue;
      high = std::max(high, std::fabs(v.shortest));
      low = std::min(low, std::fabs(v.shortest));
      high_exact = std::max(high_exact, std::fabs(v.exact));
      low_exact = std::min(low_exact, std::fabs(v.exact));
    }
    const double ratio = cutoff < 1e8 ? static_cast<float>(high_exact) / static_cast<float>(low_exact) : high / low;  // as in the type
    exponent_ = high != 0 && (high >= cutoff || low < 0.0001 || ratio > 1000);
    for (const Decimal& v : all) {
      if (!std::isfinite(v.exact)) continue;
      const std::string s = number(v);
      const size_t point = s.find('.'), e = std::min(s.find('e'), s.size());
      left_ = std::max(left_, point);
      digits_ = std::max(digits_, e - point - 1);
      if (exponent_) exponent_digits_ = std::max(exponent_digits_, s.size() - e - 2);
    }
    right_ = exponent_ ? exponent_digits_ + 2 + digits_ : digits_;
    if (finite == 0) left_ = right_ = 0;
    if (special) {
      const size_t need = widest + (special_minus ? 1 : 0);
      left_ = std::max({left_, need > right_ + 1 ? need - right_ - 1 : 0, size_t{3} > right_ + 1 ? 3 - right_ - 1 : 0});
    }
  }

  std::string operator()(const Decimal& v) const {
    if (!std::isfinite(v.exact)) {
      const std::string s = std::isnan(v.exact) ? (plus_ ? "+nan" : "nan") : v.exact < 0 ? "-inf" : plus_ ? "+inf" : "inf";
      return fmt::format("{:>{}}", s, left_ + right_ + 1);
    }
    std::string s = number(v);
    if (exponent_ && s.find('e') - s.find('.') - 1 < digits_) {  // further digits are those of the value, no zeros
      char text[64];
      const bool plus = s[0] == '+';
      s.assign(text, std::to_chars(text, text + sizeof text, v.exact, std::chars_format::scientific, static_cast<int>(digits_)).ptr);
      if (plus) s.insert(0, 1, '+');
    }
    s.insert(0, left_ - s.find('.'), ' ');
    if (exponent_) {
      const size_t e = s.find('e');
      s.insert(e + 2, exponent_digits_ - (s.size() - e - 2), '0');
    }
    s.append(left_ + 1 + right_ - s.size(), ' ');
    return s;
  }

 private:
  std::string number(const Decimal& v) const {
    std::string s = unique_text(v, exponent_ ? std::chars_format::scientific : std::chars_format::fixed);
    return plus_ && s[0] != '-' ? "+" + s : s;
  }

  bool plus_, exponent_ = false;
  size_t left_ = 0, right_ = 0, digits_ = 0, exponent_digits_ = 0;
};

// From where numbers are written with an exponent: the digits of the type.
double cutoff(DType t) {
  switch (t) {
    case DType::kF16:
    case DType::kBF16: return 1e3;
    case DType::kF32:
    case DType::kC64: return 1e6;
    default: return 1e8;
  }
}

// The texts of all values of x, in order, of one width.
std::vector<std::string> cells(const Tensor& x) {
  std::vector<std::string> out;
  with_element(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const T* from = reinterpret_cast<const T*>(x.raw());
    const auto each = [&](auto f) { for_each_offset(x.shape(), x.strides(), [&](int64_t at) { f(from[at]); }); };
    if constexpr (std::is_same_v<T, bool>) {
      each([&](bool v) { out.push_back(v ? x.rank() == 0 ? "True" : " True" : "False"); });
    } else if constexpr (std::is_integral_v<T>) {
      size_t width = 0;
      each([&](T v) { out.push_back(fmt::format("{}", v)), width = std::max(width, out.back().size()); });
      for (std::string& s : out) s.insert(0, width - s.size(), ' ');
    } else if constexpr (std::is_same_v<T, std::complex<float>> || std::is_same_v<T, std::complex<double>>) {
      std::vector<Decimal> re, im;
      each([&](const T& v) { re.push_back(decimal(v.real())), im.push_back(decimal(v.imag())); });
      const Column left(re, false, cutoff(x.dtype())), right(im, true, cutoff(x.dtype()));
      for (size_t i = 0; i < re.size(); ++i) {
        std::string s = right(im[i]);
        s.insert(s.find_last_not_of(' ') + 1, "j");
        out.push_back(left(re[i]) + s);
      }
    } else {
      std::vector<Decimal> all;
      each([&](T v) { all.push_back(decimal(v)); });
      const Column column(all, false, cutoff(x.dtype()));
      for (const Decimal& v : all) out.push_back(column(v));
    }
  });
  return out;
}

// The first and last values along every axis.
Tensor corners(Tensor x) {
  for (size_t a = 0; a < x.rank(); ++a) {
    const int64_t n = x.shape()[a], axis = static_cast<int64_t>(a);
    if (n > 2 * kEdge) x = concat({x.narrow(axis, 0, kEdge), x.narrow(axis, n - kEdge, kEdge)}, axis);
  }
  return x;
}

struct Layout {
  const Shape& shape;  // of the whole tensor
  std::string_view separator;
  bool summary;
  std::vector<std::string> cells;
  size_t next = 0;

  void extend(std::string& s, std::string& line, const std::string& word, size_t width, const std::string& indent) const {
    if (line.size() + word.size() > width && line.size() > indent.size()) {
      s += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
      line = indent;
    }
    line += word;
  }

  std::string rows(size_t axis, const std::string& indent, size_t width) {
    if (axis == shape.size()) return cells[next++];
    const int64_t n = shape[axis];
    const bool cut = summary && n > 2 * kEdge;
    const int64_t shown = cut ? 2 * kEdge : n;
    const size_t end = separator.find(' ');
    const std::string bare(separator.substr(0, end));
    std::string s;
    if (axis + 1 == shape.size()) {
      const size_t room = width - std::max<size_t>(bare.size(), 1);
      std::string line = indent;
      for (int64_t i = 0; i < shown; ++i) {
        if (cut && i == kEdge) {
          extend(s, line, "...", room, indent);
          line += separator;
        }
        extend(s, line, cells[next++], room, indent);
        if (i + 1 < shown) line += separator;
      }
      s += line;
    } else {
      const std::string between = bare + std::string(shape.size() - axis - 1, '\n');
      for (int64_t i = 0; i < shown; ++i) {
        if (cut && i == kEdge) s += indent + "..." + between;
        s += indent + rows(axis + 1, indent + " ", width - 1);
        if (i + 1 < shown) s += between;
      }
    }
    return "[" + s.substr(std::min(indent.size(), s.size())) + "]";
  }
};

std::string lay_out(const Tensor& x, std::string_view separator, size_t indent, size_t width) {
  check_defined(x, "print");
  if (x.count() == 0) return "[]";
  const bool summary = x.count() > kMostValues;
  Layout layout{x.shape(), separator, summary, cells(summary ? corners(x) : x)};
  return layout.rows(0, std::string(indent + 1, ' '), width);
}

}  // namespace

std::string_view plain_name(DType t) noexcept {
  switch (t) {
    case DType::kBool: return "bool";
    case DType::kI8: return "int8";
    case DType::kI16: return "int16";
    case DType::kI32: return "int32";
    case DType::kI64: return "int64";
    case DType::kU8: return "uint8";
    case DType::kU16: return "uint16";
    case DType::kU32: return "uint32";
    case DType::kU64: return "uint64";
    case DType::kF16: return "float16";
    case DType::kBF16: return "bfloat16";
    case DType::kF32: return "float32";
    case DType::kF64: return "float64";
    case DType::kC64: return "complex64";
    case DType::kC128: return "complex128";
    default: return name(t);
  }
}

std::string print(const Tensor& x) {
  std::string s = lay_out(x, " ", 0, kLine);
  if (x.rank() == 0 && s.back() == '.') s += "0";  // as a number of its own
  return s;
}

std::string repr(const Tensor& x) {
  std::string s = "array(" + lay_out(x, ", ", 6, kLine - 1);
  std::string more;
  if ((x.count() == 0 && x.shape() != Shape{0}) || x.count() > kMostValues) more = "shape=" + text(x.shape());
  const bool implied = x.dtype() == DType::kBool || x.dtype() == DType::kI64 || x.dtype() == DType::kF64 || x.dtype() == DType::kC128;
  if (!implied || x.count() == 0) more += fmt::format("{}dtype={}", more.empty() ? "" : ", ", plain_name(x.dtype()));
  if (more.empty()) return s + ")";
  s += ",";
  const size_t last_line = s.size() - (s.rfind('\n') + 1);
  return s + (last_line + more.size() + 2 > kLine ? "\n      " : " ") + more + ")";
}

}  // namespace viva
