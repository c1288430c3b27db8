#define HWY_COMPILE_ONLY_STATIC  // nothing to gain from vectors
#define VIVA_LOOP_UNIT "viva/kernels/loops_complex.cpp"
#define VIVA_LOOP_GROUP loops_complex
#define VIVA_LOOP_TYPES(X) X(std::complex<float>) X(std::complex<double>)
#include "viva/kernels/loops-inl.h"
