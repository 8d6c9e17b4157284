// The best level of this processor; TEMPALIGN_CPU_LEVEL=v2 (or v3) takes a lower one, for tests.
#pragma once
#include <cstdlib>
#include <cstring>

#include "problem.h"

namespace tempalign {

#if defined(__x86_64__)
extern const Levels level_v2, level_v3, level_v4;
#else
extern const Levels level_base;
#endif

inline const Levels& best_level() {
  static const Levels* chosen = [] {
#if defined(__x86_64__)
    const char* asked = std::getenv("TEMPALIGN_CPU_LEVEL");
    auto may_be = [&](const char* level) { return !asked || !*asked || std::strcmp(asked, level) >= 0; };
    __builtin_cpu_init();
    const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
    const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (v4 && may_be("v4")) return &level_v4;
    if (v3 && may_be("v3")) return &level_v3;
    return &level_v2;
#else
    return &level_base;
#endif
  }();
  return *chosen;
}

template <class T>
const Level<T>& best() {
  if constexpr (sizeof(T) == 4) return best_level().f32;
  else return best_level().f64;
}

}  // namespace tempalign
