#define HWY_COMPILE_ONLY_STATIC  // 128 bits keep up with the memory
#define VIVA_REDUCE_UNIT "viva/kernels/reduce_f64.cpp"
#define VIVA_REDUCE_GROUP reduce_f64
#define VIVA_REDUCE_TYPES(X) X(double)
#include "viva/kernels/reduce-inl.h"
