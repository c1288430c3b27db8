// Searching the scale of formats whose codes are the integers of a range: w = q * scale, q in low..high.
// Included like codec-inl.h.
//
// For fixed codes the best scale is A/B with A = sum q x, B = sum q^2, and it leaves sum x^2 - A^2/B. So a
// search needs only inverse scales that give good codes: try some, keep the one with the largest |A|/sqrt(B),
// refit, round the scale to its stored dtype, and measure the true errors of the few that are left beside the
// reference's.

VIVA_LANES_OPEN

// A candidate must beat the reference's error by this factor, so that it does in exact arithmetic too.
inline constexpr float kClearly = 1.0f - 0x1p-14f;

// Groups that may be searched: elsewhere squares would leave f32, and the reference's fit stays.
VIVA_INL M grid_searchable(F absmax) { return (F(0x1p-50f) < absmax) & (absmax < F(0x1p+60f)); }

// out[k] = sum over i < n of what term(i, acc) adds to acc[k]: over each lane's group in the order of its
// values, or over a row that lies along the lanes.
template <bool kAlongRow, size_t K, class Term>
VIVA_INL void group_sums(size_t n, F (&out)[K], Term term) {
  if constexpr (kAlongRow) {
    row_sums(n, out, term);
  } else {
    F acc[K];
    for (F& a : acc) a = F(0.0f);
    for (size_t i = 0; i < n; ++i) term(i, acc);
    for (size_t k = 0; k < K; ++k) out[k] = acc[k];
  }
}

// To nearest, ties to even, for |x| < 2^22: the sum has no bits left for a fraction.
VIVA_INL F round_small(F x) { return x + F(12582912.0f) - F(12582912.0f); }

VIVA_INL F grid_code(F x, F inverse, F low, F high) { return min(max(round_small(x * inverse), low), high); }

// Squared error of the values that `decoded` gives; beyond f32 it counts as its largest.
template <bool kAlongRow, class Decoded>
VIVA_INL F squared_error(const F* x, size_t n, Decoded decoded) {
  F sum[1];
  group_sums<kAlongRow>(n, sum, [&](size_t i, F* acc) VIVA_INL_LAMBDA {
    const F e = x[i] - decoded(x[i]);
    acc[0] = acc[0] + e * e;
  });
  return select(sum[0] < F(0x1.fp127f), sum[0], F(0x1.fp127f));
}

// The scale that is kept so far, and how good its codes are: gain^2 is the part of sum x^2 that a refit
// explains.
struct Leader {
  F gain, scale;

  // `ax` = sum q x, `qq` = sum q^2 of a candidate; where it is better its refit leads.
  VIVA_INL M offer(F ax, F qq) {
    const F b = max(qq, F(1.0f)), g = abs(ax) / sqrt(b);
    const M better = gain < g;
    gain = select(better, g, gain);
    scale = select(better, ax / b, scale);
    return better;
  }
};

// Tries inverse scales a and b; returns where one of them leads now.
template <bool kAlongRow>
VIVA_INL M try_two(const F* x, size_t n, F a, F b, F low, F high, Leader& leader) {
  F sum[4];
  group_sums<kAlongRow>(n, sum, [&](size_t i, F* acc) VIVA_INL_LAMBDA {
    const F v = x[i], p = grid_code(v, a, low, high), q = grid_code(v, b, low, high);
    acc[0] = acc[0] + p * v, acc[1] = acc[1] + p * p;
    acc[2] = acc[2] + q * v, acc[3] = acc[3] + q * q;
  });
  const M first = leader.offer(sum[0], sum[1]);
  return first | leader.offer(sum[2], sum[3]);
}

// Tries inverse scales a and -a: the codes differ only where they are clamped.
template <bool kAlongRow>
VIVA_INL void try_signs(const F* x, size_t n, F a, F low, F high, Leader& leader) {
  F sum[4];
  group_sums<kAlongRow>(n, sum, [&](size_t i, F* acc) VIVA_INL_LAMBDA {
    const F v = x[i], r = round_small(v * a);
    const F p = min(max(r, low), high), q = min(max(r, -high), -low);
    acc[0] = acc[0] + p * v, acc[1] = acc[1] + p * p;
    acc[2] = acc[2] + q * v, acc[3] = acc[3] + q * q;
  });
  leader.offer(sum[0], sum[1]);
  leader.offer(-sum[2], sum[3]);
}

// A scale in its stored dtype.
VIVA_INL F stored_scale(DType t, F scale) { return stored_value(t, stored_bits(t, scale)); }

// Where a group's values are integers of low..high times one step that `stored` can say, that step; elsewhere `scale` stays.
// The smallest magnitude is the step or a small multiple of it. `value(q, scale)` decodes.
template <class Value>
VIVA_INL M find_grid(const F* x, size_t n, float low, float high, DType stored, Value value, F& scale) {
  constexpr int kMultiples = 8;
  const F none_yet(0x1.fp127f);
  F smallest = none_yet;
  for (size_t i = 0; i < n; ++i) {
    const F a = abs(x[i]);
    smallest = min(smallest, select(F(0.0f) < a, a, none_yet));
  }
  const M any = smallest < none_yet;
  M found = !any & any;
  for (int k = 1; k <= kMultiples; ++k) {
    for (const float sign : {1.0f, -1.0f}) {
      const F s = stored_scale(stored, smallest / F(sign * static_cast<float>(k))), inverse = reciprocal(s);
      M same = any;
      for (size_t i = 0; i < n; ++i) same = same & (value(grid_code(x[i], inverse, F(low), F(high)), s) == x[i]);
      scale = select(same & !found, s, scale);
      found = found | same;
    }
    if (none(any & !found)) break;
  }
  return found;
}

// How a stored scale relates to the step between two values: bitsandbytes stores 127 steps.
struct Unit {
  float stored_per_step = 1.0f, step_per_stored = 1.0f;
};

// Keeps of two stored scales what is clearly better than `least`. `value(q, scale)` decodes.
template <bool kAlongRow, class Value>
VIVA_INL void measure_two(const F* x, size_t n, F p, F q, F low, F high, Unit unit, Value value, F& least,
                          F& scale) {
  const F pi = reciprocal(p * F(unit.step_per_stored)), qi = reciprocal(q * F(unit.step_per_stored));
  F errors[2];
  group_sums<kAlongRow>(n, errors, [&](size_t i, F* acc) VIVA_INL_LAMBDA {
    const F v = x[i], e = v - value(grid_code(v, pi, low, high), p),
            f = v - value(grid_code(v, qi, low, high), q);
    acc[0] = acc[0] + e * e, acc[1] = acc[1] + f * f;
  });
  scale = select(errors[0] < least, p, scale);
  least = select(errors[0] < least, errors[0], least);
  scale = select(errors[1] < least, q, scale);
  least = select(errors[1] < least, errors[1], least);
}

// From the leader to a stored scale: its refit, the refit of that one's codes and its neighbours in the
// stored dtype. Where one clearly beats `error`, the reference's, it replaces `scale`; returns where.
template <bool kAlongRow, class Value>
VIVA_INL M settle(const F* x, size_t n, F absmax, const Leader& leader, F low, F high, DType stored,
                  Unit unit, Value value, F error, F& scale) {
  const F t = reciprocal(leader.scale);
  F sum[2];
  group_sums<kAlongRow>(n, sum, [&](size_t i, F* acc) VIVA_INL_LAMBDA {
    const F q = grid_code(x[i], t, low, high);
    acc[0] = acc[0] + q * x[i], acc[1] = acc[1] + q * q;
  });
  const F per(unit.stored_per_step);
  const auto near = [&](F s, int step) VIVA_INL_LAMBDA {
    return stored_scale(stored, stored_value(stored, stored_bits(stored, s) + I(step)));
  };
  const F refit = sum[0] / max(sum[1], F(1.0f)) * per;
  const F limit = error * F(kClearly);
  F least = limit;
  measure_two<kAlongRow>(x, n, near(refit, 0), near(leader.scale * per, 0), low, high, unit, value, least,
                         scale);
  if (stored != DType::kF32) {
    measure_two<kAlongRow>(x, n, near(refit, 1), near(refit, -1), low, high, unit, value, least, scale);
    return least < limit;
  }
  // A group that lies on a grid already must keep its values to the last bit: its step is its largest value
  // over that one's code, give or take the roundings.
  const M on_grid = least < leader.gain * leader.gain * F(0x1p-34f);
  if (!none(on_grid)) {
    const F exact = copy_sign(absmax / max(round_small(absmax * abs(t)), F(1.0f)), leader.scale) /
                    F(unit.step_per_stored);
    F closer = least, at = scale;
    for (int k = 0; k < 6; k += 2) {
      measure_two<kAlongRow>(x, n, near(exact, k - 2), near(exact, k - 1), low, high, unit, value, closer,
                             at);
    }
    least = select(on_grid, closer, least);
    scale = select(on_grid, at, scale);
  }
  return least < limit;
}

// The whole search: tries every one of `steps` over absmax as inverse scale, with both signs where asked.
template <bool kAlongRow, size_t kSteps, class Value>
VIVA_INL M search_grid_scale(const F* x, size_t n, F absmax, const float (&steps)[kSteps], float low,
                             float high, bool both_signs, DType stored, Unit per, Value value, F error,
                             F& scale) {
  static_assert(kSteps % 2 == 0);
  const M ok = grid_searchable(absmax);
  if (none(ok)) return ok;
  const F unit = F(1.0f) / select(ok, absmax, F(1.0f));
  Leader leader = {F(0.0f), F(0.0f)};
  for (size_t k = 0; k < kSteps; k += 2) {
    const F a = unit * F(steps[k]), b = unit * F(steps[k + 1]);
    if (both_signs) {
      try_signs<kAlongRow>(x, n, a, F(low), F(high), leader);
      try_signs<kAlongRow>(x, n, b, F(low), F(high), leader);
    } else {
      try_two<kAlongRow>(x, n, a, b, F(low), F(high), leader);
    }
  }
  F settled = scale;
  const M found =
      settle<kAlongRow>(x, n, absmax, leader, F(low), F(high), stored, per, value, error, settled) & ok;
  scale = select(found, settled, scale);
  return found;
}

VIVA_LANES_CLOSE
