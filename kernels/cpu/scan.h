// What is not finite. The vectors' minimum may drop a NaN, so it is looked for before: a pair with one
// cell that costs NaN, and that a path may visit, is NaN as a whole. (All moves but TAM's lead right
// and down, so that the NaN would reach the last cell; in TAM's it reaches one of the ends.)
#pragma once
#include "costs.h"

namespace tempalign::TA_LEVEL {

template <class T>
bool all_finite(const T* numbers, size_t count) {
  using Bits = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
  constexpr Bits exponent = sizeof(T) == 4 ? Bits(0x7f800000u) : Bits(0x7ff0000000000000ull);
  Bits bad = 0;
  for (size_t i = 0; i < count; i++) {
    Bits bits;
    __builtin_memcpy(&bits, numbers + i, sizeof bits);
    bad |= Bits((bits & exponent) == exponent);
  }
  return !bad;
}

template <class T>
bool is_poisoned(const Problem<T>& problem, const Pair<T>& pair) {
  const bool given = problem.model.cost == Cost::given;
  if (pair.finite && !given) return false;
  const int features = problem.features;
  for (int i = 0; i < pair.n; i++) {
    const T* x = pair.x + size_t(i) * (given ? problem.m : features);
    const Range range = columns_of(problem.model.window, i, pair.n, pair.m);
    if (range.last < range.first) continue;
    if (given && all_finite(x + range.first, range.last - range.first + 1)) continue;
    const bool good = !given && all_finite(x, features);
    for (int j = range.first; j <= range.last; j++) {
      if (pair.mask && !pair.mask[size_t(i) * problem.m + j]) continue;
      const T* y = pair.y + (given ? 0 : size_t(j) * features);
      if (good && all_finite(y, features)) continue;
      const T cost = given ? x[j] : cell_cost(problem.model.cost, x, y, features);
      if (cost != cost) return true;
    }
  }
  return false;
}

}  // namespace tempalign::TA_LEVEL
