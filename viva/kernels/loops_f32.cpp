#define VIVA_LOOP_UNIT "viva/kernels/loops_f32.cpp"
#define VIVA_LOOP_GROUP loops_f32
#define VIVA_LOOP_TYPES(X) X(float)
#include "viva/kernels/loops-inl.h"
