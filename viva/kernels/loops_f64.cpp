#define HWY_COMPILE_ONLY_STATIC  // 128 bits keep up with the memory
#define VIVA_LOOP_UNIT "viva/kernels/loops_f64.cpp"
#define VIVA_LOOP_GROUP loops_f64
#define VIVA_LOOP_TYPES(X) X(double)
#include "viva/kernels/loops-inl.h"
