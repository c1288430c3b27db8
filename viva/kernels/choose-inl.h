// VIVA_CHOOSE(target, f): the function f of the SIMD target; the weakest compiled one serves as scalar too.
#include <hwy/highway.h>

#if HWY_TARGETS & HWY_AVX3
#define VIVA_ON_AVX3(f) N_AVX3::f
#else
#define VIVA_ON_AVX3(f) HWY_STATIC_DISPATCH(f)
#endif
#if HWY_TARGETS & HWY_AVX2
#define VIVA_ON_AVX2(f) N_AVX2::f
#else
#define VIVA_ON_AVX2(f) HWY_STATIC_DISPATCH(f)
#endif
#define VIVA_CHOOSE(target, f) \
  ((target) == Target::kAvx3 ? VIVA_ON_AVX3(f) : (target) == Target::kAvx2 ? VIVA_ON_AVX2(f) : HWY_STATIC_DISPATCH(f))
