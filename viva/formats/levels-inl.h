// Searching tables of levels and rounding to small floats, over lanes; shared by the table and float formats. Like
// lanes-inl.h it is included once per SIMD target and once for the scalar twin.

VIVA_LANES_OPEN

// Sixteen ascending levels, searched by halving: four comparisons and two table lookups.
struct Levels16 {
  alignas(64) float level[16];
  alignas(64) float third[8];   // thresholds 1, 5, 9, 13
  alignas(64) float fourth[8];  // thresholds 0, 2, .. 14
  float first, second[2];       // thresholds 7; 3, 11

  // Threshold k is the f32 midpoint of levels k and k + 1.
  constexpr explicit Levels16(const std::array<float, 16>& l) : level{}, third{}, fourth{}, first(0), second{} {
    float t[15] = {};
    for (int i = 0; i < 16; ++i) level[i] = l[i];
    for (int i = 0; i < 15; ++i) t[i] = (l[i] + l[i + 1]) * 0.5f;
    for (int i = 0; i < 4; ++i) third[i] = t[4 * i + 1];
    for (int i = 0; i < 8; ++i) fourth[i] = t[2 * i];
    first = t[7], second[0] = t[3], second[1] = t[11];
  }

  // How many thresholds lie below v: the index of the nearest level, the lower one at a tie.
  VIVA_INL I nearest(F v) const {
    const M above = F(first) < v;
    I c = count(I(0), above);
    c = count(c + c, select(above, F(second[1]), F(second[0])) < v);
    c = count(c + c, lookup8(third, c) < v);
    return count(c + c, lookup8(fourth, c) < v);
  }
};

VIVA_LANES_CLOSE
