#define HWY_COMPILE_ONLY_STATIC  // 128 bits keep up with the memory
#define VIVA_LOOP_UNIT "viva/kernels/loops_wide.cpp"
#define VIVA_LOOP_GROUP loops_wide
#define VIVA_LOOP_TYPES(X) X(int32_t) X(uint32_t) X(int64_t) X(uint64_t)
#include "viva/kernels/loops-inl.h"
