// A program of tensor verbs with wild arguments, each beside a slow twin: what the verb takes and gives, what it refuses and
// which views share values must be the same. Nothing but viva::Error is ever thrown.
#include <algorithm>
#include <cstring>
#include <numeric>
#include <optional>

#include "fuzz/fuzz.h"
#include "fuzz/twin.h"
#include "viva/ops/ops.h"

namespace {

using namespace viva;
using namespace viva::fuzz;

class Fuzzer {
 public:
  Fuzzer(const uint8_t* data, size_t size) : data_(data), size_(size), machine_(one()) { make(); }

  void run() {
    for (int step = 0; step < 64 && at_ < size_; ++step) {
      const Pair& x = stack_[byte() % stack_.size()];
      const int which = byte() % 41;
      which < 28 ? verb(which, Pair(x)) : second_page(which, Pair(x));
      if (stack_.size() > 8) stack_.erase(stack_.begin());
    }
  }

 private:
  static const Machine& one() {
    static const Machine machine({.threads = 1, .ram = 64 << 20});
    return machine;
  }
  uint8_t byte() { return at_ < size_ ? data_[at_++] : 0; }
  // Mostly small, sometimes anything.
  int64_t any() {
    const uint8_t b = byte();
    if (b < 240) return static_cast<int64_t>(b % 12) - 4;
    int64_t v = 0;
    for (int i = 0; i < 8; ++i) v = static_cast<int64_t>(static_cast<uint64_t>(v) << 8 | byte());
    return v;
  }
  static std::optional<size_t> axis_in(int64_t axis, size_t rank) {
    if (axis < 0) axis += static_cast<int64_t>(rank);
    if (axis < 0 || axis >= static_cast<int64_t>(rank)) return {};
    return static_cast<size_t>(axis);
  }
  static Dims dims(const Index& v) { return Dims(std::span<const int64_t>(v)); }

  void make() {
    Index shape(byte() % 5);
    for (int64_t& d : shape) d = byte() % 6;
    const int64_t start = byte();
    int64_t next = start;
    Twin t = fresh(shape, [&](const Index&) { return next++; });
    stack_.push_back({reshape(arange(machine_, static_cast<double>(start), static_cast<double>(start + product(shape)), 1, DType::kI64), dims(shape)), t});
  }

  // The verb and what it should give: nothing where it should refuse.
  template <class F>
  void expect(const std::optional<Twin>& twin, F f) {
    const auto past = [](int64_t d) { return d > kMost; };  // such sizes are refused beside a 0 too, where their product overflows
    if (twin && (twin->rank() > kMaxRank || std::any_of(twin->shape.begin(), twin->shape.end(), past) || product(twin->shape) > kMost)) return;
    Tensor t;
    bool refused = false;
    try {
      t = f();
    } catch (const Error& e) {
      check(!e.message().empty());
      refused = true;
    }
    check(refused == !twin);
    if (refused) return;
    compare(t, *twin);
    stack_.push_back({t, *twin});
  }
  static void compare(const Tensor& t, const Twin& twin) {
    check(Index(t.shape().begin(), t.shape().end()) == twin.shape);
    const std::vector<int64_t> values = t.values<int64_t>();
    check(values.size() == twin.at.size());
    for (size_t i = 0; i < values.size(); ++i) check(values[i] == twin[i]);
  }

  void verb(int which, const Pair& p) {
    const Tensor& x = p.tensor;
    const Twin& t = p.twin;
    const size_t rank = t.rank();
    const Pair other = stack_[byte() % stack_.size()];
    const int64_t a = any(), b = any(), c = any();
    const std::optional<size_t> axis = axis_in(a, rank), second = axis_in(b, rank);
    const int64_t n = axis ? t.shape[*axis] : 0;
    switch (which) {
      case 0: return make();
      case 1: {  // slice
        std::optional<Twin> want;
        if (axis && c != 0 && c > INT32_MIN && c < INT32_MAX) {
          const int64_t d = any();
          const auto cut = [&](int64_t v) { return std::clamp(v < 0 ? v + n : v, c > 0 ? int64_t{0} : int64_t{-1}, c > 0 ? n : n - 1); };
          const int64_t from = cut(b), to = cut(d);
          const int64_t length = c > 0 ? std::max<int64_t>(0, (to - from + c - 1) / c) : std::max<int64_t>(0, (from - to - c - 1) / -c);
          Index shape = t.shape;
          shape[*axis] = length;
          want = view(t, shape, [&](Index i) { return i[*axis] = from + i[*axis] * c, i; });
          return expect(want, [&] { return x.slice(a, b, d, c); });
        }
        if (!axis || c == 0) expect(want, [&] { return x.slice(a, b, {}, c); });
        return;
      }
      case 2: {  // select
        std::optional<Twin> want;
        const int64_t k = b < 0 ? plus(b, n) : b;
        if (axis && k >= 0 && k < n) {
          Index shape = t.shape;
          shape.erase(shape.begin() + static_cast<int64_t>(*axis));
          want = view(t, shape, [&](Index i) { return i.insert(i.begin() + static_cast<int64_t>(*axis), k), i; });
        }
        return expect(want, [&] { return x.select(a, b); });
      }
      case 3: {  // transpose
        std::optional<Twin> want;
        if (axis && second) {
          Index shape = t.shape;
          std::swap(shape[*axis], shape[*second]);
          want = view(t, shape, [&](Index i) { return std::swap(i[*axis], i[*second]), i; });
        }
        return expect(want, [&] { return x.transpose(a, b); });
      }
      case 4: {  // narrow
        std::optional<Twin> want;
        if (axis && b >= 0 && c >= 0 && b <= n && c <= n - b) {
          Index shape = t.shape;
          shape[*axis] = c;
          want = view(t, shape, [&](Index i) { return i[*axis] += b, i; });
        }
        return expect(want, [&] { return x.narrow(a, b, c); });
      }
      case 5: {  // expand
        Index shape;
        for (uint8_t k = byte() % 3; k-- > 0;) shape.push_back(byte() % 4);
        for (const int64_t d : t.shape) shape.push_back(d == 1 ? byte() % 4 : d);
        return expect(view(t, shape,
                           [&](const Index& i) {
                             Index own(i.end() - static_cast<int64_t>(rank), i.end());
                             for (size_t k = 0; k < rank; ++k) own[k] = t.shape[k] == 1 ? 0 : own[k];
                             return own;
                           }),
                      [&] { return x.expand(dims(shape)); });
      }
      case 6: {  // reshape: shares values where it can
        Index shape;
        for (uint8_t k = byte() % 4; k-- > 0;) shape.push_back(any());
        if (byte() % 2 == 0) shape = {product(t.shape)};
        const bool small = std::all_of(shape.begin(), shape.end(), [](int64_t d) { return d >= 0 && d <= kMost; });
        if (!small) {
          try {
            const Tensor y = reshape(x, dims(shape));
            check(y.count() == x.count());
          } catch (const Error&) {
          }
          return;
        }
        std::optional<Twin> want;
        if (product(shape) == product(t.shape)) {
          want = Twin{t.values, shape, t.at};
          if (!x.reshape_view(dims(shape))) {
            size_t k = 0;
            want = fresh(shape, [&](const Index&) { return t[k++]; });
          }
        }
        return expect(want, [&] { return reshape(x, dims(shape)); });
      }
      case 7: {  // unsqueeze
        std::optional<Twin> want;
        if (const auto place = axis_in(a, rank + 1)) {
          Index shape = t.shape;
          shape.insert(shape.begin() + static_cast<int64_t>(*place), 1);
          want = Twin{t.values, shape, t.at};
        }
        return expect(want, [&] { return x.unsqueeze(a); });
      }
      case 8: {  // squeeze
        std::optional<Twin> want;
        if (axis && n == 1) {
          Index shape = t.shape;
          shape.erase(shape.begin() + static_cast<int64_t>(*axis));
          want = Twin{t.values, shape, t.at};
        }
        return expect(want, [&] { return x.squeeze(a); });
      }
      case 9: {  // flip
        std::optional<Twin> want;
        if (axis) want = view(t, t.shape, [&](Index i) { return i[*axis] = n - 1 - i[*axis], i; });
        return expect(want, [&] { return x.flip({a}); });
      }
      case 10: {  // unfold
        std::optional<Twin> want;
        if (axis && b >= 0 && b <= n && c > 0) {
          Index shape = t.shape;
          shape[*axis] = (n - b) / c + 1;
          shape.push_back(b);
          want = view(t, shape, [&](Index i) {
            const int64_t in = i.back();
            i.pop_back();
            return i[*axis] = i[*axis] * c + in, i;
          });
        }
        if (b == 0) return;  // windows of nothing: not asked
        return expect(want, [&] { return x.unfold(a, b, c); });
      }
      case 11: return together(p, other, [](int64_t u, int64_t v) { return plus(u, v); }, [](const Tensor& u, const Tensor& v) { return add(u, v); });
      case 12: return together(p, other, [](int64_t u, int64_t v) { return times(u, v); }, [](const Tensor& u, const Tensor& v) { return multiply(u, v); });
      case 13: return together(p, other, [](int64_t u, int64_t v) { return std::max(u, v); }, [](const Tensor& u, const Tensor& v) { return maximum(u, v); });
      case 14: return together(p, other, [](int64_t u, int64_t v) { return u < v ? v : u; }, [](const Tensor& u, const Tensor& v) { return where(less(u, v), v, u); });
      case 15: return folded(p, axis, [&] { return sum(x, a); }, [](const Index& v) { return std::accumulate(v.begin(), v.end(), int64_t{0}, plus); });
      case 16:
        if (axis && n == 0) axis_refused(p, *axis, [&] { return max(x, a); });
        else folded(p, axis, [&] { return max(x, a); }, [](const Index& v) { return *std::max_element(v.begin(), v.end()); });
        return;
      case 17:
        if (axis && n == 0) axis_refused(p, *axis, [&] { return argmax(x, a); });
        else folded(p, axis, [&] { return argmax(x, a); }, [](const Index& v) { return std::max_element(v.begin(), v.end()) - v.begin(); });
        return;
      case 18: return along(p, axis, [&] { return sort(x, a); }, [](Index v) { return std::sort(v.begin(), v.end()), v; });
      case 19: return along(p, axis, [&] { return cumulative_sum(x, a); }, [](Index v) { return std::partial_sum(v.begin(), v.end(), v.begin(), plus), v; });
      case 20:
        return along(p, axis, [&] { return roll(x, {b}, {a}); }, [&](Index v) {
          if (!v.empty()) {
            const int64_t by = (b % static_cast<int64_t>(v.size()) + static_cast<int64_t>(v.size())) % static_cast<int64_t>(v.size());
            std::rotate(v.begin(), v.end() - by, v.end());
          }
          return v;
        });
      case 21: {  // concat
        std::optional<Twin> want;
        Index shape = t.shape, same = other.twin.shape;
        if (axis && same.size() == rank) {
          same[*axis] = shape[*axis];
          if (same == shape) {
            shape[*axis] += other.twin.shape[*axis];
            want = fresh(shape, [&](Index i) {
              if (i[*axis] < n) return t[number(t.shape, i)];
              i[*axis] -= n;
              return other.twin[number(other.twin.shape, i)];
            });
          }
        }
        return expect(want, [&] { return concat({x, other.tensor}, a); });
      }
      case 22: {  // take
        const Tensor places = Tensor::of<int64_t>(machine_, {b, c});
        std::optional<Twin> want;
        const auto place = [&](int64_t k) { return k < 0 ? plus(k, n) : k; };
        const auto inside = [&](int64_t k) { return place(k) >= 0 && place(k) < n; };
        if (axis && inside(b) && inside(c)) {
          Index shape = t.shape;
          shape[*axis] = 2;
          want = fresh(shape, [&](Index i) { return i[*axis] = place(i[*axis] == 0 ? b : c), t[number(t.shape, i)]; });
        }
        if (axis && product(t.shape) == 0 && n != 0) return;  // nothing is taken from places that are there
        return expect(want, [&] { return take(x, places, a); });
      }
      case 23: {  // assign: all views see it; what overlaps is read first
        const auto shape = stretched(t.shape, other.twin.shape);
        std::vector<size_t> sorted = t.at;
        std::sort(sorted.begin(), sorted.end());
        const bool twice = std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end();
        bool refused = false;
        const bool fits = shape && *shape == t.shape;
        if (fits && twice) return;  // refused where an axis was stretched; windows that overlap are their writer's affair
        try {
          assign(x, other.tensor);
        } catch (const Error&) {
          refused = true;
        }
        if (!refused) {
          check(fits);
          std::vector<int64_t> values;
          each(t.shape, [&](const Index& i) { values.push_back(read(other.twin, i)); });
          for (size_t i = 0; i < values.size(); ++i) (*t.values)[t.at[i]] = values[i];
        } else {
          check(!fits || product(t.shape) == 0);
        }
        for (const Pair& q : stack_) compare(q.tensor, q.twin);
        return;
      }
      case 24: {  // matmul of matrices
        if (rank != 2 || other.twin.rank() != 2) return;
        std::optional<Twin> want;
        const Index &s = t.shape, &o = other.twin.shape;
        if (s[1] == o[0]) {
          want = fresh({s[0], o[1]}, [&](const Index& i) {
            int64_t sum = 0;
            for (int64_t k = 0; k < s[1]; ++k) sum = plus(sum, times(t[number(s, {i[0], k})], other.twin[number(o, {k, i[1]})]));
            return sum;
          });
        }
        return expect(want, [&] { return matmul(x, other.tensor); });
      }
      case 25: {  // diagonal
        std::optional<Twin> want;
        if (axis && second && *axis != *second && c > -100 && c < 100) {
          const int64_t rows = t.shape[*axis], cols = t.shape[*second];
          const int64_t length = std::max<int64_t>(0, std::min(rows + std::min<int64_t>(c, 0), cols - std::max<int64_t>(c, 0)));
          Index shape;
          for (size_t k = 0; k < rank; ++k) {
            if (k != *axis && k != *second) shape.push_back(t.shape[k]);
          }
          shape.push_back(length);
          want = view(t, shape, [&](const Index& i) {
            Index own(rank);
            size_t next = 0;
            for (size_t k = 0; k < rank; ++k) {
              own[k] = k == *axis ? i.back() + std::max<int64_t>(-c, 0) : k == *second ? i.back() + std::max<int64_t>(c, 0) : i[next++];
            }
            return own;
          });
        } else if (axis && second && *axis != *second) {
          return;
        }
        return expect(want, [&] { return x.diagonal(c, a, b); });
      }
      case 26: {  // unique
        Index v;
        for (size_t i = 0; i < t.at.size(); ++i) v.push_back(t[i]);
        std::sort(v.begin(), v.end());
        v.erase(std::unique(v.begin(), v.end()), v.end());
        return expect(fresh({static_cast<int64_t>(v.size())}, [&](const Index& i) { return v[static_cast<size_t>(i[0])]; }), [&] { return unique_values(x); });
      }
      default: {  // sizes that nobody has
        try {
          const Tensor z = zeros(machine_, {any(), any(), any()}, DType::kI64);
          check(z.bytes() <= 64u << 20);
        } catch (const Error& e) {
          check(e.code() == Code::kUsage || e.code() == Code::kResource);
        }
      }
    }
  }

  // Sizes that no twin is made of: an error, or few values after all.
  template <class F>
  static void wild(F f) {
    try {
      check(f().bytes() <= 64u << 20);
    } catch (const Error& e) {
      check(e.code() == Code::kUsage || e.code() == Code::kResource);
    }
  }

  void second_page(int which, const Pair& p) {
    const Tensor& x = p.tensor;
    const Twin& t = p.twin;
    const size_t rank = t.rank();
    const Pair other = stack_[byte() % stack_.size()];
    const int64_t a = any(), b = any();
    const std::optional<size_t> axis = axis_in(a, rank);
    const int64_t n = axis ? t.shape[*axis] : 0;
    std::optional<Twin> want;
    switch (which) {
      case 28: {  // pad
        const size_t m = byte() % 4;
        const PadMode mode = static_cast<PadMode>(byte() % 4);
        std::vector<std::pair<int64_t, int64_t>> sizes(m);
        bool large = false, good = m <= rank;
        Index shape = t.shape;
        for (size_t i = 0; i < m; ++i) {
          auto& [before, after] = sizes[i];
          before = any(), after = any();
          large |= before > kMost || after > kMost;
          if (!good) continue;
          int64_t& d = shape[rank - m + i];
          if (before < 0 || after < 0 || (mode != PadMode::kConstant && d == 0 && (before > 0 || after > 0))) good = false;
          else if (!large) d += before + after;
        }
        if (large) return wild([&] { return pad(x, sizes, mode, b); });
        if (good) {
          want = fresh(shape, [&](Index i) {
            for (size_t k = 0; k < m; ++k) {
              const int64_t size = t.shape[rank - m + k];
              int64_t& at = i[rank - m + k];
              at -= sizes[k].first;
              if (at >= 0 && at < size) continue;
              if (mode == PadMode::kConstant) return b;
              if (mode == PadMode::kReplicate) at = std::clamp<int64_t>(at, 0, size - 1);
              if (mode == PadMode::kCircular) at = (at % size + size) % size;
              if (mode == PadMode::kReflect) {
                const int64_t period = std::max<int64_t>(1, 2 * (size - 1));
                at = (at % period + period) % period;
                at = std::min(at, period - at) % size;
              }
            }
            return t[number(t.shape, i)];
          });
        }
        return expect(want, [&] { return pad(x, sizes, mode, b); });
      }
      case 29: {  // repeat
        if (b > kMost) return wild([&] { return repeat(x, b, a); });
        if (axis && b >= 0 && rank < kMaxRank) {
          Index shape = t.shape;
          shape[*axis] *= b;
          want = fresh(shape, [&](Index i) { return i[*axis] /= b, t[number(t.shape, i)]; });
        }
        return expect(want, [&] { return repeat(x, b, a); });
      }
      case 30: {  // tile
        Index times(byte() % 4);
        bool large = false, good = std::max(rank, times.size()) <= kMaxRank / 2;
        for (int64_t& k : times) k = any(), large |= k > kMost, good &= k >= 0;
        if (large) return wild([&] { return tile(x, dims(times)); });
        if (good) {
          Index shape = t.shape;
          while (shape.size() < times.size()) shape.insert(shape.begin(), 1);
          const Index own = shape;
          for (size_t i = 0; i < times.size(); ++i) shape[shape.size() - times.size() + i] *= times[i];
          want = fresh(shape, [&](Index i) {
            for (size_t k = 0; k < i.size(); ++k) i[k] %= own[k];
            return t[number(own, i)];
          });
        }
        return expect(want, [&] { return tile(x, dims(times)); });
      }
      case 31: {  // masked_select, where the mask stretches too
        const auto shape = stretched(t.shape, other.twin.shape);
        if (shape && product(*shape) > kMost) return;
        if (shape) {
          Index kept;
          each(*shape, [&](const Index& i) {
            if (read(other.twin, i) % 2 != 0) kept.push_back(read(t, i));
          });
          want = fresh({static_cast<int64_t>(kept.size())}, [&](const Index& i) { return kept[static_cast<size_t>(i[0])]; });
        }
        return expect(want, [&] { return masked_select(x, not_equal(bitwise_and(other.tensor, 1), 0)); });
      }
      case 32: case 33: case 34: {  // scatter, scatter_add, gather
        Index shape = t.shape;
        bool inside = axis.has_value();
        for (size_t i = 0; i < rank; ++i) shape[i] = byte() % 5;
        for (size_t i = 0; axis && i < rank; ++i) inside &= i == *axis || shape[i] <= t.shape[i];
        if (product(shape) > kMost) return;
        Index at;
        each(shape, [&](const Index&) { at.push_back(any()); });
        for (const int64_t k : at) inside &= k >= -n && k < n;
        const Tensor places = Tensor::from(machine_, dims(shape), std::span<const int64_t>(at));
        const auto place = [&](Index i) { return i[*axis] = at[number(shape, i)], i[*axis] += i[*axis] < 0 ? n : 0, number(t.shape, i); };
        if (which == 34) {
          if (inside) want = fresh(shape, [&](const Index& i) { return t[place(i)]; });
          return expect(want, [&] { return gather(x, places, a); });
        }
        if (inside) {
          size_t k = 0;
          want = fresh(t.shape, [&](const Index&) { return t[k++]; });
          k = 0;
          each(shape, [&](const Index& i) {
            int64_t& to = (*want->values)[place(i)];
            to = which == 33 ? plus(to, at[k]) : at[k];
            ++k;
          });
        }
        return expect(want, [&] { return which == 33 ? scatter_add(x, places, places, a) : scatter(x, places, places, a); });
      }
      case 35: {  // topk
        if (rank == 0) return;
        const bool largest = byte() % 2 != 0;
        if (axis && b >= 0 && b <= n) {
          Index shape = t.shape;
          shape[*axis] = b;
          want = fresh(shape, [&](const Index& i) {
            Index v = line(t, *axis, i);
            std::sort(v.begin(), v.end());
            if (largest) std::reverse(v.begin(), v.end());
            return v[static_cast<size_t>(i[*axis])];
          });
        }
        expect(want, [&] { return topk(x, b, a, largest).values; });
        if (want) want->values = std::make_shared<std::vector<int64_t>>(*want->values);
        return expect(want, [&] { return take_along_axis(x, topk(x, b, a, largest).indices, a); });
      }
      case 36: {  // searchsorted
        const bool right = byte() % 2 != 0;
        Index v;
        for (size_t i = 0; i < t.at.size(); ++i) v.push_back(t[i]);
        std::sort(v.begin(), v.end());
        size_t k = 0;
        want = fresh(other.twin.shape, [&](const Index&) {
          const int64_t of = other.twin[k++];
          return (right ? std::upper_bound(v.begin(), v.end(), of) : std::lower_bound(v.begin(), v.end(), of)) - v.begin();
        });
        return expect(want, [&] { return searchsorted(sort(reshape(x, {-1})), other.tensor, right); });
      }
      case 37: {  // tensordot over one axis of each
        const Twin& o = other.twin;
        const std::optional<size_t> second = axis_in(b, o.rank());
        if (rank + o.rank() > 8) return;
        if (axis && second && n == o.shape[*second]) {
          Index shape = t.shape, rest = o.shape;
          shape.erase(shape.begin() + static_cast<int64_t>(*axis));
          rest.erase(rest.begin() + static_cast<int64_t>(*second));
          shape.insert(shape.end(), rest.begin(), rest.end());
          want = fresh(shape, [&](const Index& i) {
            const auto cut = i.begin() + (static_cast<int64_t>(rank) - 1);
            Index p(i.begin(), cut), q(cut, i.end());
            p.insert(p.begin() + static_cast<int64_t>(*axis), 0);
            q.insert(q.begin() + static_cast<int64_t>(*second), 0);
            int64_t sum = 0;
            for (int64_t k = 0; k < n; ++k) {
              p[*axis] = q[*second] = k;
              sum = plus(sum, times(t[number(t.shape, p)], o[number(o.shape, q)]));
            }
            return sum;
          });
        }
        return expect(want, [&] { return tensordot(x, other.tensor, Dims{a}, Dims{b}); });
      }
      case 38: {  // einsum: rows by rows, the axes before stretched
        const Twin& o = other.twin;
        if (rank > 0 && o.rank() > 0 && rank <= 8 && o.rank() <= 8) {
          const int64_t k = std::max(t.shape.back(), o.shape.back());
          const auto shape = stretched(t.shape, o.shape);
          if (shape && (t.shape.back() == o.shape.back())) {
            Index rest(shape->begin(), shape->end() - 1);
            want = fresh(rest, [&](Index i) {
              int64_t sum = 0;
              i.push_back(0);
              for (i.back() = 0; i.back() < k; ++i.back()) sum = plus(sum, times(read(t, i), read(o, i)));
              return sum;
            });
          } else if (shape) {
            return;  // NumPy stretches a 1 here
          }
        } else if (rank > 8 || o.rank() > 8) {
          return;
        }
        return expect(want, [&] { return einsum("...i,...i->...", {x, other.tensor}); });
      }
      case 39: {  // to another type and back
        constexpr DType kTypes[] = {DType::kBool, DType::kI8, DType::kU8, DType::kI16, DType::kU16, DType::kI32, DType::kU32, DType::kU64,
                                    DType::kF64, DType::kF32, DType::kF16, DType::kBF16, DType::kC64};
        const DType type = kTypes[byte() % std::size(kTypes)];
        size_t k = 0;
        want = fresh(t.shape, [&](const Index&) {
          int64_t v = t[k++];
          with_element(type, [&](auto zero) { v = element_cast<decltype(zero), int64_t>(element_cast<int64_t, decltype(zero)>(v)); });
          return v;
        });
        return expect(want, [&] { return to(to(x, type), DType::kI64); });
      }
      default: {  // tril, triu
        const bool upper = byte() % 2 != 0;
        if (rank >= 2) {
          want = fresh(t.shape, [&](const Index& i) {
            const __int128 right = static_cast<__int128>(i[rank - 1]) - i[rank - 2];
            return (upper ? right >= b : right <= b) ? t[number(t.shape, i)] : 0;
          });
        }
        return expect(want, [&] { return upper ? triu(x, b) : tril(x, b); });
      }
    }
  }

  template <class F, class G>
  void together(const Pair& p, const Pair& q, F f, G verb) {
    std::optional<Twin> want;
    if (const auto shape = stretched(p.twin.shape, q.twin.shape); shape && product(*shape) <= kMost) {
      want = fresh(*shape, [&](const Index& i) { return f(read(p.twin, i), read(q.twin, i)); });
    } else if (shape) {
      return;
    }
    expect(want, [&] { return verb(p.tensor, q.tensor); });
  }
  static Index line(const Twin& t, size_t axis, Index i) {
    Index v;
    for (i[axis] = 0; i[axis] < t.shape[axis]; ++i[axis]) v.push_back(t[number(t.shape, i)]);
    return v;
  }
  template <class F, class G>
  void folded(const Pair& p, std::optional<size_t> axis, F verb, G f) {
    std::optional<Twin> want;
    if (axis) {
      Index shape = p.twin.shape;
      shape.erase(shape.begin() + static_cast<int64_t>(*axis));
      want = fresh(shape, [&](Index i) { return i.insert(i.begin() + static_cast<int64_t>(*axis), 0), f(line(p.twin, *axis, i)); });
    }
    expect(want, verb);
  }
  // Of no values there is no largest, unless there are no results.
  template <class F>
  void axis_refused(const Pair& p, size_t axis, F verb) {
    Index shape = p.twin.shape;
    shape.erase(shape.begin() + static_cast<int64_t>(axis));
    std::optional<Twin> want;
    if (product(shape) == 0) want = fresh(shape, [](const Index&) { return 0; });
    expect(want, verb);
  }
  template <class F, class G>
  void along(const Pair& p, std::optional<size_t> axis, F verb, G f) {
    std::optional<Twin> want;
    if (axis) {
      want = fresh(p.twin.shape, [&](const Index& i) { return f(line(p.twin, *axis, i))[static_cast<size_t>(i[*axis])]; });
    } else if (p.twin.rank() == 0) {
      return;  // one value has an order of its own: some verbs take axis 0 of it
    }
    expect(want, verb);
  }

  const uint8_t* data_;
  size_t size_, at_ = 0;
  const Machine& machine_;
  std::vector<Pair> stack_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Fuzzer(data, size).run();
  return 0;
}
