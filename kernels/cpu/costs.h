// Local costs, computed in place from the sequences: a term for each feature, and what is made of
// their sum. The same for vectors and, along paths, for numbers.
#pragma once
#include "lanes.h"
#include "problem.h"

namespace tempalign::TA_LEVEL {

template <class L, Cost cost>
struct Terms {
  using T = typename L::Scalar;
  using V = typename L::V;

  static V add(V total, V a, V b) {
    if constexpr (cost == Cost::inner) return L::fma(a, b, total);
    const V d = a - b;
    if constexpr (cost == Cost::manhattan) return total + L::absolute(d);
    return L::fma(d, d, total);
  }
  static V done(V total) {
    if constexpr (cost == Cost::inner) return L::all(T(1)) - total;
    if constexpr (cost == Cost::euclidean) return L::root(total);
    return total;
  }
};

// The cost of one cell.
template <class T>
T cell_cost(Cost cost, const T* x, const T* y, int features) {
  T total = 0;
  for (int f = 0; f < features; f++) {
    const T d = x[f] - y[f];
    total += cost == Cost::inner ? x[f] * y[f] : cost == Cost::manhattan ? (d < 0 ? -d : d) : d * d;
  }
  if (cost == Cost::inner) return 1 - total;
  if (cost != Cost::euclidean) return total;
  return sizeof(T) == 4 ? T(__builtin_sqrtf(float(total))) : T(__builtin_sqrt(double(total)));
}

// Calls body(std::integral_constant<Cost, ...>) for a cost of sequences.
template <class Body>
void with_cost(Cost cost, const Body& body) {
  switch (cost) {
    case Cost::sqeuclidean: return body(std::integral_constant<Cost, Cost::sqeuclidean>());
    case Cost::euclidean: return body(std::integral_constant<Cost, Cost::euclidean>());
    case Cost::manhattan: return body(std::integral_constant<Cost, Cost::manhattan>());
    case Cost::inner: return body(std::integral_constant<Cost, Cost::inner>());
    case Cost::given: return;
  }
}

// Costs of a strip of K vectors of rows on anti-diagonals p .. p + steps - 1 (steps a multiple of 4),
// out [steps][K vectors]. `xs` are the strip's rows [F][K vectors], `ys` the columns in reverse
// [F][stride], so that what a vector of rows meets on an anti-diagonal lies side by side; that of
// row 0 on anti-diagonal 0 is at `origin`.
template <class L, Cost cost, int K, class T>
__attribute__((noinline)) void strip_costs(const T* xs, const T* ys, size_t stride, size_t origin, int features, int p, int steps, T* out) {
  using V = typename L::V;
  for (int s = 0; s < steps; s += 4)
    for (int k = 0; k < K; k++) {
      V total[4] = {};
      const T* from = ys + origin + k * L::size - (p + s);
      for (int f = 0; f < features; f++) {
        const V x = L::load(xs + (size_t(f) * K + k) * L::size);
        const T* y = from + f * stride;
        TA_UNROLL
        for (int u = 0; u < 4; u++) total[u] = Terms<L, cost>::add(total[u], x, L::load(y - u));
      }
      for (int u = 0; u < 4; u++) L::store(out + (size_t(s + u) * K + k) * L::size, Terms<L, cost>::done(total[u]));
    }
}

// Costs of H rows of pairs side by side in C columns from j, out [C][H] vectors.
template <class T, Cost cost, int H, bool shared, int C>
TA_INLINE void tile_costs(const T* x, const T* y, int features, T* out) {
  using L = Lanes<T>;
  using V = typename L::V;
  V total[C][H] = {};
  for (int f = 0; f < features; f++) {
    V of_column[C];
    TA_UNROLL
    for (int c = 0; c < C; c++) of_column[c] = L::load(y + (size_t(c) * features + f) * L::size);
    TA_UNROLL
    for (int r = 0; r < H; r++) {
      const size_t at = size_t(r) * features + f;
      const V of_row = shared ? L::all(x[at]) : L::load(x + at * L::size);
      TA_UNROLL
      for (int c = 0; c < C; c++) total[c][r] = Terms<L, cost>::add(total[c][r], of_row, of_column[c]);
    }
  }
  TA_UNROLL
  for (int c = 0; c < C; c++)
    TA_UNROLL
    for (int r = 0; r < H; r++) L::store(out + (size_t(c) * H + r) * L::size, Terms<L, cost>::done(total[c][r]));
}

constexpr int kTogether = 3;  // columns whose costs share what is loaded of the rows

// The same of any number of columns. `x` is [H][F] of one sequence (shared), or [H][F] vectors; `y` [m][F]
// vectors.
template <class T, Cost cost, int H, bool shared>
__attribute__((noinline)) void rows_costs(const T* x, const T* y, int features, int j, int count, T* out) {
  constexpr size_t lanes = Lanes<T>::size;
  const T* from = y + size_t(j) * features * lanes;
  int c = 0;
  for (; c + kTogether <= count; c += kTogether) tile_costs<T, cost, H, shared, kTogether>(x, from + c * features * lanes, features, out + c * H * lanes);
  for (; c < count; c++) tile_costs<T, cost, H, shared, 1>(x, from + c * features * lanes, features, out + c * H * lanes);
}

}  // namespace tempalign::TA_LEVEL
