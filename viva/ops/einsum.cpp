#include <fmt/format.h>

#include <array>

#include "viva/ops/ops.h"

namespace viva {

namespace {

// Labels are numbers: the letters, then the axes of "...", counted from the right.
constexpr int kLetters = 52, kLabels = kLetters + static_cast<int>(kMaxRank);
constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
using Labels = std::vector<int>;

struct Term {
  Tensor t;
  Labels labels;  // of its axes; no two are equal
};

struct Parser {
  std::string_view formula;

  [[noreturn]] void refuse(std::string_view message, std::string_view hint = {}) const {
    throw Error(Code::kUsage, "einsum", fmt::format("\"{}\": {}", formula, message), hint);
  }
  // The labels of a term; "..." stands for `dots` axes, or is an error where that is negative.
  Labels labels(std::string_view part, int dots) const {
    Labels found;
    bool seen = false;
    for (size_t i = 0; i < part.size(); ++i) {
      if (part[i] == ' ') continue;
      if (part[i] == '.') {
        if (part.substr(i, 3) != "..." || seen) refuse("dots are three, once in a term");
        if (dots < 0) refuse("the operand has fewer axes than letters");
        seen = true;
        i += 2;
        for (int d = dots; d-- > 0;) found.push_back(kLetters + d);
        continue;
      }
      const size_t letter = kAlphabet.find(part[i]);
      if (letter == std::string_view::npos) refuse(fmt::format("'{}' is no letter", part[i]));
      found.push_back(static_cast<int>(letter));
    }
    return found;
  }
};

int letters_of(std::string_view part) {
  int n = 0;
  for (const char c : part) n += c != '.' && c != ' ';
  return n;
}

bool has(const Labels& labels, int label) {
  return std::find(labels.begin(), labels.end(), label) != labels.end();
}

// Axes with one label become their diagonal.
Term diagonal_of(Term term) {
  for (size_t i = 0; i < term.labels.size(); ++i) {
    for (size_t j = i + 1; j < term.labels.size(); ++j) {
      if (term.labels[i] != term.labels[j]) continue;
      const int label = term.labels[i];
      term.t = term.t.diagonal(0, static_cast<int64_t>(i), static_cast<int64_t>(j));
      term.labels.erase(term.labels.begin() + static_cast<std::ptrdiff_t>(j));
      term.labels.erase(term.labels.begin() + static_cast<std::ptrdiff_t>(i));
      term.labels.push_back(label);
      return diagonal_of(std::move(term));
    }
  }
  return term;
}

// Its axes in the order of `labels`, new ones of size 1 where it has none.
Tensor in_order(const Term& term, const Labels& labels) {
  Dims order;
  for (const int l : labels) {
    const auto at = std::find(term.labels.begin(), term.labels.end(), l);
    if (at != term.labels.end()) order.push_back(at - term.labels.begin());
  }
  Tensor t = term.t.permute(order);
  for (size_t i = 0; i < labels.size(); ++i) {
    if (!has(term.labels, labels[i])) t = t.unsqueeze(static_cast<int64_t>(i));
  }
  return t;
}

// Sums over the labels for which `keep` is false.
template <class F>
Term summed(const Term& term, F keep) {
  Dims axes;
  Labels left;
  for (size_t i = 0; i < term.labels.size(); ++i) {
    if (keep(term.labels[i])) {
      left.push_back(term.labels[i]);
    } else {
      axes.push_back(static_cast<int64_t>(i));
    }
  }
  if (axes.empty()) return term;
  return {sum(term.t, Axes(axes), false, term.t.dtype()), left};
}

class Contraction {
 public:
  Contraction(std::vector<Term> terms, Labels out, const std::array<int64_t, kLabels>& sizes)
      : terms_(std::move(terms)), out_(std::move(out)), sizes_(sizes) {}

  Tensor run() {
    while (terms_.size() > 1) {
      // The pair with the smallest result.
      size_t first = 0, second = 1;
      double least = HUGE_VAL;
      for (size_t i = 0; i < terms_.size(); ++i) {
        for (size_t j = i + 1; j < terms_.size(); ++j) {
          double size = 1;
          for (const int l : result_labels(i, j)) size *= static_cast<double>(sizes_[static_cast<size_t>(l)]);
          if (size < least) least = size, first = i, second = j;
        }
      }
      Term joined = contract(first, second);
      terms_.erase(terms_.begin() + static_cast<std::ptrdiff_t>(second));
      terms_[first] = std::move(joined);
    }
    const Term last = summed(terms_[0], [&](int l) { return has(out_, l); });
    const Tensor t = in_order(last, out_);
    return t.buffer() == given_ ? clone(t) : t;
  }
  void given(const BufferPtr& buffer) { given_ = buffer; }

 private:
  bool later(int label, size_t i, size_t j) const {
    if (has(out_, label)) return true;
    for (size_t k = 0; k < terms_.size(); ++k) {
      if (k != i && k != j && has(terms_[k].labels, label)) return true;
    }
    return false;
  }
  Labels result_labels(size_t i, size_t j) const {
    Labels all;
    for (const size_t k : {i, j}) {
      for (const int l : terms_[k].labels) {
        if (!has(all, l) && later(l, i, j)) all.push_back(l);
      }
    }
    return all;
  }
  // Stretches axes of size 1 to what their labels have.
  Tensor stretched(const Tensor& t, const Labels& labels) const {
    Shape shape;
    for (const int l : labels) shape.push_back(sizes_[static_cast<size_t>(l)]);
    return t.expand(shape);
  }

  Term contract(size_t i, size_t j) const {
    const Labels &la = terms_[i].labels, &lb = terms_[j].labels;
    const Term a = summed(terms_[i], [&](int l) { return has(lb, l) || later(l, i, j); });
    const Term b = summed(terms_[j], [&](int l) { return has(la, l) || later(l, i, j); });
    Labels batch, inner, rows, cols;
    for (const int l : a.labels) (!has(b.labels, l) ? rows : later(l, i, j) ? batch : inner).push_back(l);
    for (const int l : b.labels) {
      if (!has(a.labels, l)) cols.push_back(l);
    }
    Labels result = batch;
    result.insert(result.end(), rows.begin(), rows.end());
    result.insert(result.end(), cols.begin(), cols.end());
    if (inner.empty()) return {multiply(in_order(a, result), in_order(b, result)), result};
    const auto join = [](const Labels& x, const Labels& y, const Labels& z) {
      Labels all = x;
      all.insert(all.end(), y.begin(), y.end());
      all.insert(all.end(), z.begin(), z.end());
      return all;
    };
    const auto volume = [&](const Labels& labels) {
      Shape s;
      for (const int l : labels) s.push_back(sizes_[static_cast<size_t>(l)]);
      return count(s);
    };
    const Labels order_a = join(batch, rows, inner), order_b = join(batch, inner, cols);
    const Tensor x = stretched(in_order(a, order_a), order_a), y = stretched(in_order(b, order_b), order_b);
    Shape sa, sb, sc;
    for (const int l : batch) {
      sa.push_back(sizes_[static_cast<size_t>(l)]);
      sb.push_back(sa.back());
    }
    for (const int l : result) sc.push_back(sizes_[static_cast<size_t>(l)]);
    sa.push_back(volume(rows)), sa.push_back(volume(inner)), sb.push_back(volume(inner)),
        sb.push_back(volume(cols));
    return {reshape(matmul(reshape(x, sa), reshape(y, sb)), sc), result};
  }

  std::vector<Term> terms_;
  Labels out_;
  const std::array<int64_t, kLabels>& sizes_;
  BufferPtr given_;
};

}  // namespace

Tensor einsum(std::string_view formula, const std::vector<Tensor>& operands) {
  const Parser parser{formula};
  if (operands.empty()) parser.refuse("no operands");
  const size_t arrow = formula.find("->");
  std::vector<std::string_view> parts;
  for (std::string_view rest = formula.substr(0, arrow);;) {
    const size_t comma = rest.find(',');
    parts.push_back(rest.substr(0, comma));
    if (comma == std::string_view::npos) break;
    rest.remove_prefix(comma + 1);
  }
  if (parts.size() != operands.size())
    parser.refuse(fmt::format("{} terms for {} operands", parts.size(), operands.size()));
  DType type = DType::kBool;
  for (const Tensor& t : operands) {
    check_defined(t, "einsum");
    type = promote(type, t.dtype(), "einsum");
  }
  if (is_bool(type)) {  // whether any of the products is true
    std::vector<Tensor> counts;
    for (const Tensor& t : operands) counts.push_back(to(t, DType::kF32));
    return not_equal(einsum(formula, counts), 0);
  }
  std::array<int64_t, kLabels> sizes;
  sizes.fill(1);
  std::array<int, kLabels> times{};
  std::vector<Term> terms;
  int most_dots = 0;
  for (size_t i = 0; i < operands.size(); ++i) {
    const Tensor& t = operands[i];
    const int dots = static_cast<int>(t.rank()) - letters_of(parts[i]);
    Term term{to(t, type), parser.labels(parts[i], dots)};
    if (term.labels.size() != t.rank()) {
      parser.refuse(fmt::format("term \"{}\" names {} axes, its operand has shape {}", parts[i],
                                term.labels.size(), text(t.shape())),
                    "\"...\" stands for the others");
    }
    std::array<int64_t, kLabels> own{};
    for (size_t k = 0; k < t.rank(); ++k) {
      const size_t label = static_cast<size_t>(term.labels[k]);
      const int64_t size = t.shape()[k];
      ++times[label];
      if (term.labels[k] >= kLetters) most_dots = std::max(most_dots, term.labels[k] - kLetters + 1);
      if (own[label] != 0 && own[label] != size + 1)
        parser.refuse(
            fmt::format("a letter is twice in \"{}\" with two sizes of shape {}", parts[i], text(t.shape())));
      own[label] = size + 1;
      if (sizes[label] != size && sizes[label] != 1 && size != 1) {
        parser.refuse(fmt::format("axis {} of shape {} meets size {}", k, text(t.shape()), sizes[label]),
                      "sizes of one letter must be equal, or 1");
      }
      if (size != 1) sizes[label] = size;
    }
    terms.push_back(diagonal_of(std::move(term)));
  }
  Labels out;
  if (arrow == std::string_view::npos) {
    for (int d = most_dots; d-- > 0;) out.push_back(kLetters + d);
    for (int l = 0; l < kLetters; ++l) {
      if (times[static_cast<size_t>(l)] == 1) out.push_back(l);
    }
  } else {
    out = parser.labels(formula.substr(arrow + 2), most_dots);
    for (size_t i = 0; i < out.size(); ++i) {
      if (times[static_cast<size_t>(out[i])] == 0)
        parser.refuse(fmt::format("'{}' of the result is in no operand",
                                  out[i] < kLetters ? kAlphabet[static_cast<size_t>(out[i])] : '.'));
      for (size_t j = 0; j < i; ++j) {
        if (out[i] == out[j]) parser.refuse("a letter is twice in the result");
      }
    }
    if (most_dots != 0 && !has(out, kLetters))
      parser.refuse("the result has no \"...\", some operand has", "add it, or name these axes");
  }
  // Of one operand the result may be a view; like all verbs it gives a tensor of its own.
  Contraction contraction(std::move(terms), std::move(out), sizes);
  if (operands.size() == 1) contraction.given(operands[0].buffer());
  return contraction.run();
}

}  // namespace viva
