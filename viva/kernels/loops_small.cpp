#define HWY_COMPILE_ONLY_STATIC  // 128 bits keep up with the memory
#define VIVA_LOOP_UNIT "viva/kernels/loops_small.cpp"
#define VIVA_LOOP_GROUP loops_small
#define VIVA_LOOP_TYPES(X) X(bool) X(int8_t) X(uint8_t) X(int16_t) X(uint16_t)
#include "viva/kernels/loops-inl.h"
