#define VIVA_REDUCE_UNIT "viva/kernels/reduce_f32.cpp"
#define VIVA_REDUCE_GROUP reduce_f32
#define VIVA_REDUCE_TYPES(X) X(float)
#include "viva/kernels/reduce-inl.h"
