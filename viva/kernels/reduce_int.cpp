#define HWY_COMPILE_ONLY_STATIC  // 128 bits keep up with the memory
#define VIVA_REDUCE_UNIT "viva/kernels/reduce_int.cpp"
#define VIVA_REDUCE_GROUP reduce_int
#define VIVA_REDUCE_TYPES(X) X(uint8_t) X(int8_t) X(int16_t) X(uint16_t) X(int32_t) X(uint32_t) X(int64_t) X(uint64_t)
#include "viva/kernels/reduce-inl.h"
