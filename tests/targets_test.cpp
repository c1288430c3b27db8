// Every verb gives the same bits on every SIMD target and any number of threads, on every type, over strides of any kind: what
// the other tests compare with twins on one target holds on all. A verb that is on the pages but in neither list fails.
#include <cstring>
#include <fstream>
#include <functional>
#include <regex>
#include <set>

#include "linear.h"
#include "viva/kernels/panels.h"

namespace viva {
namespace {

using test::other_strides;
using test::random_tensor;

// Operands on one machine, the same on all.
struct In {
  const Machine& m;
  DType type;
  Tensor tensor(const Shape& shape, uint64_t seed, DType t) const {
    std::mt19937_64 turns(seed);
    return other_strides(random_tensor(m, shape, t, seed), turns);
  }
  Tensor tensor(const Shape& shape, uint64_t seed) const { return tensor(shape, seed, type); }
  Tensor x() const { return tensor({67, 131}, 3); }
  Tensor y() const { return tensor({67, 131}, 11); }
  Tensor line() const { return tensor({33007}, 5); }  // several blocks of a sum, several tasks
  Tensor row() const { return tensor({131}, 6); }
  Tensor square() const {  // three of them, far from singular, symmetric
    const Tensor s = tensor({3, 37, 37}, 7), e = eye(m, 37, {}, 0, type);
    return add(add(s, conj_of(s.transpose(1, 2))), multiply(e, 100));
  }
  Tensor plane() const { return tensor({2, 6, 19, 35}, 8); }
  Tensor places(const Shape& shape, int64_t n) const { return remainder(tensor(shape, 9, DType::kI64), n); }
  static Tensor conj_of(const Tensor& t) { return is_complex(t.dtype()) ? conj(t) : t; }
};
using Results = std::vector<Tensor>;

enum Types { kAll, kNumeric, kReal, kFloat, kRealFloat, kFactor, kInteger, kOnce };
bool allows(Types types, DType t) {
  switch (types) {
    case kAll: return true;
    case kNumeric: return !is_bool(t);
    case kReal: return is_int(t) || is_real_float(t);
    case kFloat: return is_real_float(t) || is_complex(t);
    case kRealFloat: return is_real_float(t);
    case kFactor: return t == DType::kF32 || t == DType::kF64 || t == DType::kC64 || t == DType::kC128;
    case kInteger: return is_int(t);
    default: return t == DType::kF32;
  }
}

struct Row {
  const char* name;  // of the verb
  Types types;
  std::function<Results(const In&)> run;
};

const Row kRows[] = {
    // making, copying, joining
    {"zeros", kAll, [](const In& i) { return Results{zeros(i.m, {67, 31}, i.type)}; }},
    {"ones", kAll, [](const In& i) { return Results{ones(i.m, {67, 31}, i.type)}; }},
    {"full", kAll, [](const In& i) { return Results{full(i.m, {67, 31}, 1, i.type)}; }},
    {"arange", kReal, [](const In& i) { return Results{arange(i.m, 3, 100, 7, i.type)}; }},
    {"linspace", kRealFloat, [](const In& i) { return Results{linspace(i.m, -1, 7, 1001, i.type)}; }},
    {"eye", kAll, [](const In& i) { return Results{eye(i.m, 13, 40, 5, i.type)}; }},
    {"clone", kAll, [](const In& i) { return Results{clone(i.x()), clone(i.line())}; }},
    {"contiguous", kAll, [](const In& i) { return Results{contiguous(i.x())}; }},
    {"reshape", kAll, [](const In& i) { return Results{reshape(i.x(), {131, 67})}; }},
    {"to", kAll, [](const In& i) {
       Results all;
       for (const DType t : {DType::kBool, DType::kI8, DType::kU16, DType::kI32, DType::kI64, DType::kU64, DType::kF16, DType::kBF16, DType::kF32, DType::kF64,
                             DType::kC64}) {
         if (!is_complex(i.type) || is_complex(t)) all.push_back(to(i.x(), t)), all.push_back(to(i.line(), t));
       }
       return all;
     }},
    {"assign", kAll, [](const In& i) {
       const Tensor place = zeros(i.m, {67, 200}, i.type);
       assign(place.slice(1, 3, 3 + 131), i.x());
       return Results{place};
     }},
    {"concat", kAll, [](const In& i) { return Results{concat({i.x(), i.y()}, 1)}; }},
    {"stack", kAll, [](const In& i) { return Results{stack({i.x(), i.y()}, 1)}; }},
    {"where", kAll, [](const In& i) { return Results{where(i.tensor({67, 1}, 4, DType::kBool), i.x(), i.row())}; }},
    {"clamp", kReal, [](const In& i) { return Results{clamp(i.x(), 0, 1)}; }},
    // reductions
    {"sum", kAll, [](const In& i) { return Results{sum(i.x()), sum(i.x(), 0), sum(i.x(), 1), sum(i.line())}; }},
    {"prod", kAll, [](const In& i) { return Results{prod(i.x()), prod(i.x(), 0), prod(i.x(), 1), prod(i.line())}; }},
    {"var", kRealFloat, [](const In& i) { return Results{var(i.x()), var(i.x(), 0, 1), var(i.x(), 1), var(i.line())}; }},
    {"std", kRealFloat, [](const In& i) { return Results{std(i.x()), std(i.x(), 0, 1), std(i.x(), 1), std(i.line())}; }},
    {"argmin", kReal, [](const In& i) { return Results{argmin(i.x()), argmin(i.x(), 0), argmin(i.x(), 1), argmin(i.line())}; }},
    {"argmax", kReal, [](const In& i) { return Results{argmax(i.x()), argmax(i.x(), 0), argmax(i.x(), 1), argmax(i.line())}; }},
    {"norm", kFloat, [](const In& i) { return Results{norm(i.x()), norm(i.x(), 1, 0), norm(i.x(), 3, 1), norm(i.line()), norm(i.line(), INFINITY)}; }},
    {"cumulative_sum", kNumeric, [](const In& i) { return Results{cumulative_sum(i.x(), 0), cumulative_sum(i.x(), 1), cumulative_sum(i.line())}; }},
    {"cumulative_prod", kNumeric, [](const In& i) { return Results{cumulative_prod(i.x(), 0), cumulative_prod(i.x(), 1), cumulative_prod(i.line())}; }},
    {"sort", kReal, [](const In& i) { return Results{sort(i.x(), 0), sort(i.x(), 1, true), sort(i.line())}; }},
    {"argsort", kReal, [](const In& i) { return Results{argsort(i.x(), 0), argsort(i.x(), 1, true), argsort(i.line())}; }},
    {"topk", kReal, [](const In& i) {
       const TopK a = topk(i.x(), 7, 0), b = topk(i.line(), 1000, 0, false);
       return Results{a.values, a.indices, b.values, b.indices};
     }},
    {"unique", kNumeric, [](const In& i) {
       const Unique u = unique(i.x());
       return Results{u.values, u.indices, u.inverse, u.counts};
     }},
    {"unique_values", kNumeric, [](const In& i) { return Results{unique_values(i.line())}; }},
    {"searchsorted", kReal, [](const In& i) { return Results{searchsorted(sort(i.row()), i.x()), searchsorted(i.row(), i.x(), true, argsort(i.row()))}; }},
    {"isin", kReal, [](const In& i) { return Results{isin(i.x(), i.row()), isin(i.x(), i.line(), true)}; }},
    {"histogram", kReal, [](const In& i) {
       const Histogram h = histogram(i.line(), 17), limited = histogram(i.x(), 5, std::pair(-0.5, 0.25));
       return Results{h.counts, h.edges, limited.counts, limited.edges};
     }},
    {"softmax", kRealFloat, [](const In& i) { return Results{softmax(i.x(), 0), softmax(i.x(), 1), softmax(i.line())}; }},
    {"log_softmax", kRealFloat, [](const In& i) { return Results{log_softmax(i.x(), 0), log_softmax(i.x(), 1), log_softmax(i.line())}; }},
    {"layer_norm", kRealFloat, [](const In& i) { return Results{layer_norm(i.x()), layer_norm(i.x(), i.row(), i.row()), layer_norm(i.x(), {}, {}, 2)}; }},
    {"rms_norm", kRealFloat, [](const In& i) { return Results{rms_norm(i.x()), rms_norm(i.x(), i.row()), rms_norm(i.x(), {}, 2)}; }},
    {"group_norm", kRealFloat, [](const In& i) { return Results{group_norm(i.plane(), 3, i.tensor({6}, 1), i.tensor({6}, 2))}; }},
    {"batch_norm", kRealFloat, [](const In& i) { return Results{batch_norm(i.plane(), i.tensor({6}, 1), square(i.tensor({6}, 2)), i.tensor({6}, 3), i.tensor({6}, 4))}; }},
    // places
    {"index", kAll, [](const In& i) { return Results{index(i.x(), {0, 1}, {i.places({9, 1}, 67), i.places({33}, 131)}), index(i.x(), {1}, {i.places({50}, 131)})}; }},
    {"index_assign", kAll, [](const In& i) {
       const Tensor x = clone(i.x());
       index_assign(x, {1}, {i.places({50}, 131)}, i.tensor({67, 50}, 12));
       return Results{x};
     }},
    {"take", kAll, [](const In& i) { return Results{take(i.x(), i.places({50}, 67), 0), take(i.x(), i.places({50}, 131), 1)}; }},
    {"index_select", kAll, [](const In& i) { return Results{index_select(i.x(), i.places({50}, 131), 1)}; }},
    {"take_along_axis", kAll, [](const In& i) { return Results{take_along_axis(i.x(), i.places({67, 40}, 131), 1)}; }},
    {"gather", kAll, [](const In& i) { return Results{gather(i.x(), i.places({40, 100}, 67), 0), gather(i.x(), i.places({60, 150}, 131), 1)}; }},
    {"scatter", kAll, [](const In& i) { return Results{scatter(i.x(), i.places({40, 100}, 67), i.tensor({40, 100}, 2), 0)}; }},
    {"scatter_add", kNumeric, [](const In& i) { return Results{scatter_add(i.x(), i.places({60, 150}, 131), i.tensor({60, 150}, 2), 1)}; }},
    {"masked_select", kAll, [](const In& i) { return Results{masked_select(i.x(), i.tensor({131}, 4, DType::kBool))}; }},
    {"nonzero", kAll, [](const In& i) { return nonzero(i.x()); }},
    // moving
    {"repeat", kAll, [](const In& i) { return Results{repeat(i.x(), 3, 1), repeat(i.row(), abs(i.places({131}, 5)), 0)}; }},
    {"tile", kAll, [](const In& i) { return Results{tile(i.x(), {2, 1, 3})}; }},
    {"roll", kAll, [](const In& i) { return Results{roll(i.x(), {5}, {}), roll(i.x(), {-3, 200}, {0, 1})}; }},
    {"tril", kAll, [](const In& i) { return Results{tril(i.x(), 3)}; }},
    {"triu", kAll, [](const In& i) { return Results{triu(i.x(), -3)}; }},
    {"diff", kNumeric, [](const In& i) { return Results{diff(i.x(), 0), diff(i.x(), 1, 2)}; }},
    {"moveaxis", kAll, [](const In& i) { return Results{moveaxis(i.plane(), {0, 1}, {3, 0})}; }},
    {"broadcast_arrays", kAll, [](const In& i) { return broadcast_arrays({i.x(), i.row()}); }},
    {"meshgrid", kAll, [](const In& i) { return meshgrid({i.row(), i.row()}); }},
    {"split", kAll, [](const In& i) { return split(i.x(), 40, 1); }},
    {"chunk", kAll, [](const In& i) { return chunk(i.x(), 4, 1); }},
    {"unstack", kAll, [](const In& i) { return unstack(i.plane(), 1); }},
    {"pad", kAll, [](const In& i) {
       Results all;
       for (const PadMode mode : {PadMode::kConstant, PadMode::kReflect, PadMode::kReplicate, PadMode::kCircular}) all.push_back(pad(i.x(), {{3, 70}, {200, 1}}, mode));
       return all;
     }},
    // products and linear algebra
    {"matmul", kAll, [](const In& i) {
       const Tensor tall = i.tensor({131, 40}, 13);
       return Results{matmul(i.x(), tall), matmul(i.x(), i.row()), matmul(i.tensor({67}, 2), i.x()), matmul(i.tensor({5, 3, 7}, 1), i.tensor({7, 4}, 2)),
                      matmul(i.tensor({300, 520}, 1), i.tensor({520, 96}, 2)), matmul(i.tensor({40, 9001}, 1), i.tensor({9001}, 2))};
     }},
    {"dot", kAll, [](const In& i) { return Results{dot(i.line(), i.tensor({33007}, 2))}; }},
    {"vecdot", kNumeric, [](const In& i) { return Results{vecdot(i.x(), i.y()), vecdot(i.x(), i.y(), 0)}; }},
    {"outer", kNumeric, [](const In& i) { return Results{outer(i.row(), i.tensor({67}, 2))}; }},
    {"tensordot", kNumeric, [](const In& i) { return Results{tensordot(i.plane(), i.tensor({35, 19, 4}, 1), {3, 2}, {0, 1})}; }},
    {"einsum", kNumeric, [](const In& i) { return Results{einsum("ij,kj,i->k", {i.x(), i.y(), i.tensor({67}, 2)}), einsum("...ii->...i", {i.tensor({3, 9, 9}, 1)})}; }},
    {"kron", kNumeric, [](const In& i) { return Results{kron(i.tensor({3, 5}, 1), i.x())}; }},
    {"cross", kNumeric, [](const In& i) { return Results{cross(i.tensor({67, 3}, 1), i.tensor({3}, 2))}; }},
    {"matrix_power", kInteger, [](const In& i) { return Results{matrix_power(i.tensor({3, 9, 9}, 1), 5)}; }},
    {"matrix_transpose", kAll, [](const In& i) { return Results{matrix_transpose(i.plane())}; }},
    {"diagonal", kAll, [](const In& i) { return Results{diagonal(i.plane(), 2)}; }},
    {"trace", kNumeric, [](const In& i) { return Results{trace(i.plane(), 1)}; }},
    {"solve", kFactor, [](const In& i) { return Results{solve(i.square(), i.tensor({37, 5}, 1))}; }},
    {"inv", kFactor, [](const In& i) { return Results{inv(i.square())}; }},
    {"det", kFactor, [](const In& i) { return Results{det(i.square())}; }},
    {"slogdet", kFactor, [](const In& i) {
       const SignLogDet s = slogdet(i.square());
       return Results{s.sign, s.logabsdet};
     }},
    {"lstsq", kFactor, [](const In& i) {
       const LeastSquares s = lstsq(i.x().transpose(0, 1), i.tensor({131, 3}, 1));
       return Results{s.solution, s.residuals, s.rank, s.singular_values};
     }},
    {"pinv", kFactor, [](const In& i) { return Results{pinv(i.x())}; }},
    {"matrix_rank", kFactor, [](const In& i) { return Results{matrix_rank(i.x())}; }},
    {"cholesky", kFactor, [](const In& i) { return Results{cholesky(i.square()), cholesky(i.square(), true)}; }},
    {"qr", kFactor, [](const In& i) {
       const QR f = qr(i.x());
       return Results{f.q, f.r};
     }},
    {"svd", kFactor, [](const In& i) {
       const SVD f = svd(i.x());
       return Results{f.u, f.s, f.vh};
     }},
    {"svdvals", kFactor, [](const In& i) { return Results{svdvals(i.x())}; }},
    {"eigh", kFactor, [](const In& i) {
       const Eigh f = eigh(i.square());
       return Results{f.eigenvalues, f.eigenvectors};
     }},
    {"eig", kFactor, [](const In& i) {
       const Eigh f = eig(i.tensor({3, 17, 17}, 1));
       return Results{f.eigenvalues, f.eigenvectors};
     }},
    {"eigvals", kFactor, [](const In& i) { return Results{eigvals(i.tensor({3, 17, 17}, 1))}; }},
    {"eigvalsh", kFactor, [](const In& i) { return Results{eigvalsh(i.square())}; }},
    {"matrix_norm", kFactor, [](const In& i) { return Results{matrix_norm(i.x()), matrix_norm(i.x(), "nuc"), matrix_norm(i.x(), 1)}; }},
    {"vector_norm", kFloat, [](const In& i) { return Results{vector_norm(i.x(), 3, 0)}; }},
    // convolution
    {"conv2d", kRealFloat, [](const In& i) {
       return Results{conv2d(i.plane(), i.tensor({4, 6, 3, 3}, 1), i.tensor({4}, 2)), conv2d(i.plane(), i.tensor({12, 1, 3, 5}, 1), {}, {.stride = 2, .padding = 1, .groups = 6}),
                      conv2d(i.plane(), i.tensor({4, 3, 3, 3}, 1), {}, {.dilation = 2, .groups = 2})};
     }},
    {"conv1d", kRealFloat, [](const In& i) { return Results{conv1d(i.tensor({3, 6, 40}, 1), i.tensor({4, 6, 5}, 2), i.tensor({4}, 3), {.padding = 2})}; }},
    {"conv_transpose2d", kRealFloat, [](const In& i) { return Results{conv_transpose2d(i.plane(), i.tensor({6, 4, 3, 3}, 1), i.tensor({4}, 2), {.stride = 2})}; }},
    {"conv_transpose1d", kRealFloat, [](const In& i) { return Results{conv_transpose1d(i.tensor({3, 6, 40}, 1), i.tensor({6, 4, 5}, 2), {}, {.stride = 2})}; }},
    {"max_pool2d", kRealFloat, [](const In& i) { return Results{max_pool2d(i.plane(), {3, 2}), max_pool2d(i.plane(), 3, {.stride = 1, .padding = 1})}; }},
    {"max_pool1d", kRealFloat, [](const In& i) { return Results{max_pool1d(i.tensor({3, 6, 40}, 1), 3)}; }},
    {"max_pool2d_with_indices", kRealFloat, [](const In& i) {
       const MaxPool p = max_pool2d_with_indices(i.plane(), 3, {.stride = 2, .padding = 1, .ceil_mode = true});
       return Results{p.values, p.indices};
     }},
    {"max_pool1d_with_indices", kRealFloat, [](const In& i) {
       const MaxPool p = max_pool1d_with_indices(i.tensor({3, 6, 40}, 1), 3);
       return Results{p.values, p.indices};
     }},
    {"avg_pool2d", kRealFloat, [](const In& i) { return Results{avg_pool2d(i.plane(), {3, 2}), avg_pool2d(i.plane(), 3, {.stride = 1, .padding = 1})}; }},
    {"avg_pool1d", kRealFloat, [](const In& i) { return Results{avg_pool1d(i.tensor({3, 6, 40}, 1), 3)}; }},
    {"adaptive_max_pool2d", kRealFloat, [](const In& i) { return Results{adaptive_max_pool2d(i.plane(), {5, 11})}; }},
    {"adaptive_avg_pool2d", kRealFloat, [](const In& i) { return Results{adaptive_avg_pool2d(i.plane(), {5, 11})}; }},
    {"global_avg_pool", kRealFloat, [](const In& i) { return Results{global_avg_pool(i.plane())}; }},
    // Fourier transforms
    {"fft", kFloat, [](const In& i) { return Results{fft(i.x()), fft(i.x(), 360, 0, FourierNorm::kOrtho)}; }},
    {"ifft", kFloat, [](const In& i) { return Results{ifft(i.x()), ifft(i.x(), 360, 0, FourierNorm::kOrtho)}; }},
    {"rfft", kRealFloat, [](const In& i) { return Results{rfft(i.x()), rfft(i.x(), 360, 0, FourierNorm::kOrtho)}; }},
    {"irfft", kFloat, [](const In& i) { return Results{irfft(i.x()), irfft(i.x(), 360, 0, FourierNorm::kOrtho)}; }},
    {"hfft", kFloat, [](const In& i) { return Results{hfft(i.x()), hfft(i.x(), 360, 0, FourierNorm::kOrtho)}; }},
    {"ihfft", kRealFloat, [](const In& i) { return Results{ihfft(i.x()), ihfft(i.x(), 360, 0, FourierNorm::kOrtho)}; }},
    {"fftn", kFloat, [](const In& i) { return Results{fftn(i.plane()), fftn(i.x(), Dims{30}, Dims{0})}; }},
    {"ifftn", kFloat, [](const In& i) { return Results{ifftn(i.plane()), ifftn(i.x(), Dims{30}, Dims{0})}; }},
    {"rfftn", kRealFloat, [](const In& i) { return Results{rfftn(i.plane()), rfftn(i.x(), Dims{30}, Dims{0})}; }},
    {"irfftn", kFloat, [](const In& i) { return Results{irfftn(i.plane()), irfftn(i.x(), Dims{30}, Dims{0})}; }},
    {"fftfreq", kRealFloat, [](const In& i) { return Results{fftfreq(i.m, 1001, 0.3, i.type)}; }},
    {"rfftfreq", kRealFloat, [](const In& i) { return Results{rfftfreq(i.m, 1001, 0.3, i.type)}; }},
    {"fftshift", kAll, [](const In& i) { return Results{fftshift(i.x())}; }},
    {"ifftshift", kAll, [](const In& i) { return Results{ifftshift(i.x(), Dims{1})}; }},
    // metrics
    {"cosine", kRealFloat, [](const In& i) { return Results{cosine(i.x(), i.y()), cosine(i.x(), i.y(), 0)}; }},
    {"mse", kRealFloat, [](const In& i) { return Results{mse(i.x(), i.y()), mse(i.x(), i.y(), 0)}; }},
    {"rmse", kRealFloat, [](const In& i) { return Results{rmse(i.x(), i.y(), 1)}; }},
    {"mae", kRealFloat, [](const In& i) { return Results{mae(i.x(), i.y(), 1)}; }},
    {"snr_db", kRealFloat, [](const In& i) { return Results{snr_db(i.x(), i.y(), 1)}; }},
    {"psnr", kRealFloat, [](const In& i) { return Results{psnr(i.x(), i.y(), 1, 1)}; }},
    {"percentile", kRealFloat, [](const In& i) { return Results{percentile(i.line(), 37), percentile(i.x(), 99, 0)}; }},
    {"outlier_share", kRealFloat, [](const In& i) { return Results{outlier_share(i.x(), 1, 0)}; }},
    {"share_above", kRealFloat, [](const In& i) { return Results{share_above(i.x(), 0.3, 1)}; }},
    // packed
    {"pack", kOnce, [](const In& i) {
       Results all;
       for (const Format* f : formats()) all.push_back(unpack(pack(i.tensor({64, 512}, 1), f->name)));
       return all;
     }},
    {"unpack", kRealFloat, [](const In& i) { return Results{unpack(pack(i.tensor({64, 512}, 1), "q4_0"), i.type)}; }},
    {"linear", kOnce, [](const In& i) {
       Results all;
       for (const Format* f : formats()) {
         const Packed p = pack(i.tensor({64, 512}, 1), f->name);
         all.push_back(linear(i.tensor({512}, 2), p));
         all.push_back(linear(i.tensor({9, 512}, 2, DType::kBF16), p));
       }
       return all;
     }},
    // random
    {"uniform", kRealFloat, [](const In& i) { Generator g{7}; return Results{uniform(i.m, g, {33007}, -1, 2, i.type)}; }},
    {"normal", kRealFloat, [](const In& i) { Generator g{7}; return Results{normal(i.m, g, {33007}, -1, 2, i.type)}; }},
    {"integers", kInteger, [](const In& i) { Generator g{7}; return Results{integers(i.m, g, {33007}, 3, 101, i.type)}; }},
    {"bernoulli", kOnce, [](const In& i) { Generator g{7}; return Results{bernoulli(i.m, g, {33007}, 0.3)}; }},
    {"permutation", kOnce, [](const In& i) { Generator g{7}; return Results{permutation(i.m, g, 33007)}; }},
    {"xavier_uniform", kRealFloat, [](const In& i) { Generator g{7}; return Results{xavier_uniform(i.m, g, {31, 17, 3}, 2, i.type)}; }},
    {"xavier_normal", kRealFloat, [](const In& i) { Generator g{7}; return Results{xavier_normal(i.m, g, {31, 17, 3}, 2, i.type)}; }},
    {"he_uniform", kRealFloat, [](const In& i) { Generator g{7}; return Results{he_uniform(i.m, g, {31, 17, 3}, 2, Fan::kOut, i.type)}; }},
    {"he_normal", kRealFloat, [](const In& i) { Generator g{7}; return Results{he_normal(i.m, g, {31, 17, 3}, 2, Fan::kIn, i.type)}; }},
    {"orthogonal", kRealFloat, [](const In& i) { Generator g{7}; return Results{orthogonal(i.m, g, {31, 60}, 2, i.type)}; }},
};

const std::set<std::string> kListed = {  // elementwise_test.cpp and reduce_test.cpp have these
#define VIVA_LOOP(NAME, ...) #NAME,
#include "viva/kernels/loops.inc"
#undef VIVA_LOOP
#define VIVA_REDUCTION(NAME, ...) #NAME,
#include "viva/kernels/reductions.inc"
#undef VIVA_REDUCTION
};

std::string bytes_of(const Tensor& t) {
  const Tensor flat = contiguous(t);
  return {reinterpret_cast<const char*>(flat.raw()), flat.bytes()};
}

class EveryVerb : public testing::TestWithParam<size_t> {};

TEST_P(EveryVerb, GivesTheSameBitsOnEveryTargetAndNumberOfThreads) {
  const Row& row = kRows[GetParam()];
  std::vector<Machine> machines;
  for (const Target t : {Target::kScalar, Target::kSse4, Target::kAvx2, Target::kAvx3}) {
    for (const size_t threads : {1, 3}) {
      if (runs(t)) machines.emplace_back(Machine::Options{.threads = threads, .target = t});
    }
  }
  const std::set<std::string> products = {"matmul", "tensordot", "einsum", "linear", "conv2d", "conv1d", "conv_transpose2d", "conv_transpose1d",
                                          "lstsq", "pinv"};
  size_t types = 0;
  for (size_t k = 0; k < kDTypes.size(); ++k) {
    const DType type = static_cast<DType>(k);
    if (!is_element(type) || !allows(row.types, type)) continue;
    ++types;
    Results first;
    for (const Machine& m : machines) {
      const Results got = row.run(In{m, type});
      if (first.empty()) first = got;
      ASSERT_EQ(got.size(), first.size());
      for (size_t i = 0; i < got.size(); ++i) {
        ASSERT_EQ(got[i].shape(), first[i].shape());
        // The matrix unit, FMA and what has neither add up in orders of their own.
        const auto order = [&](const Machine& on) {
          const kernels::PanelCode* panels = kernels::panel_code(type, on.target());
          return panels != nullptr ? panels->depth : 0;
        };
        if (products.contains(row.name) && is_real_float(got[i].dtype()) && order(m) != order(machines[0])) {
          const Tensor a = to(got[i], DType::kF64), b = to(first[i], DType::kF64);
          const DType of = got[i].dtype();
          const double unit = of == DType::kBF16 ? 0x1p-8 : of == DType::kF16 ? 0x1p-11 : of == DType::kF32 ? 0x1p-24 : 0x1p-53;
          ASSERT_LE(max(abs(a - b)).item<double>(), 64 * unit * max(abs(b)).item<double>()) << row.name << " of " << name(type) << " on " << name(m.target());
          continue;
        }
        ASSERT_TRUE(bytes_of(got[i]) == bytes_of(first[i])) << row.name << " result " << i << " of " << name(type) << " on " << name(m.target()) << ", " << m.threads();
      }
    }
  }
  EXPECT_GT(types, 0u);
}
INSTANTIATE_TEST_SUITE_P(Targets, EveryVerb, testing::Range(size_t{0}, std::size(kRows)), [](const auto& info) { return std::string(kRows[info.param].name); });

TEST(EveryVerb, IsInOneOfTheLists) {
  std::set<std::string> rows;
  for (const Row& r : kRows) rows.insert(r.name);
  const std::regex verb("(?:inline )?(?:Tensor|void|Packed|std::vector<Tensor>|TopK|MaxPool|Unique|Histogram|QR|SVD|Eigh|SignLogDet|LeastSquares) ([a-z][a-z0-9_]*)\\(.*");
  std::set<std::string> seen;
  for (const char* page : {"ops", "arrange", "conv", "fft", "linalg", "metrics", "packed", "random", "reduce"}) {
    std::ifstream text(VIVA_SOURCE "/viva/ops/" + std::string(page) + ".h");
    for (std::string line; std::getline(text, line);) {
      std::smatch found;
      if (!std::regex_match(line, found, verb) || found[1].str().starts_with("operator")) continue;
      seen.insert(found[1]);
      EXPECT_TRUE(rows.contains(found[1]) || kListed.contains(found[1])) << "a row is missing: " << found[1];
    }
  }
  for (const std::string& r : rows) EXPECT_TRUE(seen.contains(r)) << "no such verb: " << r;
}

}  // namespace
}  // namespace viva
