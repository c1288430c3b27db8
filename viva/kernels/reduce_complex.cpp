#define HWY_COMPILE_ONLY_STATIC  // nothing to gain from vectors
#define VIVA_REDUCE_UNIT "viva/kernels/reduce_complex.cpp"
#define VIVA_REDUCE_GROUP reduce_complex
#define VIVA_REDUCE_TYPES(X) X(std::complex<float>) X(std::complex<double>)
#include "viva/kernels/reduce-inl.h"
