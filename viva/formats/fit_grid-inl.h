// Searching the scale of formats whose codes are the integers of a range: w = q * scale (+ minimum). Included like
// codec-inl.h.

VIVA_LANES_OPEN

VIVA_LANES_CLOSE
