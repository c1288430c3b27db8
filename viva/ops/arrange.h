#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "viva/ops/arg.h"

// Verbs that move values: what ops.h says of all verbs holds. Views where they can be (noted), new tensors else.
namespace viva {

// ---- places named by integer tensors (any integer type; negative ones count from the end) ----

// The values where `places` meet along `axes` (ascending). The places broadcast together; their axes stand where those of x
// were if these are neighbours, else in front: NumPy's rule for x[..., places, ...].
Tensor index(const Tensor& x, const Dims& axes, const std::vector<Tensor>& places);
// Writes there; of several values for one place the last stays.
void index_assign(const Tensor& x, const Dims& axes, const std::vector<Tensor>& places, const Arg& values);
Tensor take(const Tensor& x, const Tensor& places, int64_t axis);             // whole slices along an axis
Tensor take_along_axis(const Tensor& x, const Tensor& places, int64_t axis = -1);  // one place for each value
// One value for each place, as PyTorch's: result[i][j] = x[places[i][j]][j] along axis 0. Places may have fewer values than x along the other axes.
Tensor gather(const Tensor& x, const Tensor& places, int64_t axis);
// The way back, on a copy of x: copy[places[i][j]][j] = values[i][j], in order, so that the last of several values for one
// place stays. Values broadcast to the places' shape and take x's type.
Tensor scatter(const Tensor& x, const Tensor& places, const Arg& values, int64_t axis);
Tensor scatter_add(const Tensor& x, const Tensor& places, const Arg& values, int64_t axis);  // += in order; f16 and bf16 in f32
inline Tensor index_select(const Tensor& x, const Tensor& places, int64_t axis) { return take(x, places, axis); }  // its name in PyTorch
Tensor masked_select(const Tensor& x, const Tensor& mask);                    // (n), in order; both are stretched to one shape
std::vector<Tensor> nonzero(const Tensor& x);                                 // one tensor of places for each axis
Tensor searchsorted(const Tensor& x1, const Tensor& x2, bool right, const Tensor& sorter);  // x1[sorter] is what is sorted

// ---- moving, copying, cutting ----
Tensor repeat(const Tensor& x, int64_t times, std::optional<int64_t> axis = {});        // each value; no axis: of the flat x
Tensor repeat(const Tensor& x, const Tensor& times, std::optional<int64_t> axis = {});  // each value times[i] times
Tensor tile(const Tensor& x, const Dims& times);                                        // the whole x
Tensor roll(const Tensor& x, const Dims& shifts, const Dims& axes);                     // no axes: the flat x, by one shift
Tensor tril(const Tensor& x, int64_t diagonal = 0);                                     // 0 above a diagonal
Tensor triu(const Tensor& x, int64_t diagonal = 0);                                     // 0 below it
Tensor diff(const Tensor& x, int64_t axis = -1, int64_t times = 1);                     // of neighbours
Tensor moveaxis(const Tensor& x, const Dims& from, const Dims& to);                     // a view
std::vector<Tensor> broadcast_arrays(const std::vector<Tensor>& all);                   // views
std::vector<Tensor> meshgrid(const std::vector<Tensor>& lines, bool matrix_order = false);  // views; false: x before y
std::vector<Tensor> split(const Tensor& x, int64_t size, int64_t axis = 0);                        // views of this size, the last of what is left
std::vector<Tensor> split(const Tensor& x, const std::vector<int64_t>& sizes, int64_t axis = 0);  // views of these sizes
std::vector<Tensor> chunk(const Tensor& x, int64_t parts, int64_t axis = 0);                       // views: at most so many, equal but for the last
// (before, after) for each of the last axes. kReflect mirrors without the edge itself, kReplicate repeats it, kCircular goes round.
enum class PadMode : uint8_t { kConstant, kReflect, kReplicate, kCircular };
Tensor pad(const Tensor& x, const std::vector<std::pair<int64_t, int64_t>>& sizes, PadMode mode = PadMode::kConstant, const Arg& value = 0);
std::vector<Tensor> unstack(const Tensor& x, int64_t axis = 0);                         // views

}  // namespace viva
