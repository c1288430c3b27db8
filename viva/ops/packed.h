#pragma once

#include <string_view>

#include "viva/ops/arg.h"
#include "viva/tensor/packed.h"

// Verbs of compressed matrices (`viva formats` lists the formats). How good one is: snr_db(x, unpack(p)), p.bits_per_value().
namespace viva {

// A matrix of finite floats (rows, cols) in a format as people write it: "nf4", "q4_0", "int4-g128".
Packed pack(const Tensor& x, std::string_view format, Encoder encoder = Encoder::kBest);
Tensor unpack(const Packed& p, DType dtype = kDefaultFloat);  // (rows, cols)
// x (..., cols) times the transpose of w (rows, cols) -> (..., rows), added up in f32; w is decoded panel by panel and never
// whole.
Tensor linear(const Tensor& x, const Packed& w);

}  // namespace viva
