// One pair in a narrow band, |i - j| <= radius: lanes stand across the band, and a step is an
// anti-diagonal. A strip of rows would compute more cells outside of such a band than in it.
//
// Anti-diagonals p = i + j of two kinds follow each other. Where p + radius is even there are the
// radius + 1 cells with i - j = 2 k - radius (`outer`, lane k), else the radius ones between them, with
// i - j = 2 k - radius + 1 (`inner`). A cell of one kind comes from two neighbours of the other kind, one
// of them in the same lane, and by the diagonal move from its own lane two steps ago.
#pragma once
#include "hard.h"
#include "scan.h"

namespace tempalign::TA_LEVEL {

constexpr int kBandVectors = 8;  // across the band, at most

// Vectors across the band of a pair (1, 2, 4 or 8), or 0 if it is not for this kernel.
template <class T>
int band_vectors(const Problem<T>& problem, const Pair<T>& pair) {
  const Model& model = problem.model;
  const int radius = model.window.band;
  if (problem.path || pair.n != pair.m || pair.mask || !model.plain() || model.end.is_open()) return 0;
  if (radius < 0 || model.window.slope_up || model.cost == Cost::given || radius >= pair.n) return 0;
  int vectors = 1;
  while (vectors * Lanes<T>::size <= radius) vectors *= 2;
  return vectors <= kBandVectors ? vectors : 0;
}

// Numbers of a sequence's feature, with room for lanes before the first frame and behind the last.
template <class T>
size_t band_stride(const Problem<T>& problem, const Pair<T>& pair) {
  return size_t(pair.n) + problem.model.window.band + 4 + (kBandVectors + 1) * Lanes<T>::size;
}

// Bytes of scratch, or 0 where strips must serve.
template <class T>
size_t band_bytes(const Problem<T>& problem, const Pair<T>& pair) {
  return band_vectors(problem, pair) ? 2 * band_stride(problem, pair) * problem.features * sizeof(T) + 64 : 0;
}

template <class T, Cost cost, int K>
T band_value(const Problem<T>& problem, const Pair<T>& pair, const T* x, const T* y, size_t stride) {
  using L = Lanes<T>;
  using V = typename L::V;
  const int radius = problem.model.window.band, features = problem.features, n = pair.n;
  const V infinite = L::all(kInfinite<T>);
  V outer[K], inner[K], outside[K];  // costs at least: infinite in the lanes that `inner` does not have
  for (int k = 0; k < K; k++) {
    outer[k] = inner[k] = infinite;
    for (int l = 0; l < L::size; l++) outside[k][l] = k * L::size + l < radius ? -kInfinite<T> : kInfinite<T>;
  }
  // Before the first cell, by the diagonal move.
  T start[K * L::size];
  for (T& one : start) one = kInfinite<T>;
  start[radius / 2] = 0;
  for (int k = 0; k < K; k++) (radius % 2 ? inner : outer)[k] = L::load(start + k * L::size);

  // Costs where lane 0 has frames i of x and n - 1 - j of y from behind.
  auto costs = [&](int i, int from_end, V* out) __attribute__((always_inline)) {
    TA_UNROLL
    for (int k = 0; k < K; k++) out[k] = V{};
    for (int f = 0; f < features; f++) {
      const T *a = x + f * stride + i, *b = y + f * stride + from_end;
      TA_UNROLL
      for (int k = 0; k < K; k++) out[k] = Terms<L, cost>::add(out[k], L::load(a + k * L::size), L::load(b + k * L::size));
    }
    TA_UNROLL
    for (int k = 0; k < K; k++) out[k] = Terms<L, cost>::done(out[k]);
  };
  auto even = [&](int p) __attribute__((always_inline)) {
    V here[K];
    costs((p - radius) / 2, n - 1 - (p + radius) / 2, here);
    TA_UNROLL
    for (int k = 0; k < K; k++) {
      const V row = L::shift(inner[k], k ? inner[k ? k - 1 : 0] : infinite);
      outer[k] = L::minimum(row, L::minimum(inner[k], outer[k])) + here[k];
    }
  };
  auto odd = [&](int p) __attribute__((always_inline)) {
    V here[K];
    costs((p - radius + 1) / 2, n - 1 - (p + radius - 1) / 2, here);
    TA_UNROLL
    for (int k = 0; k < K; k++) {
      here[k] = here[k] > outside[k] ? here[k] : outside[k];
      const V column = L::raise(outer[k], k < K - 1 ? outer[k < K - 1 ? k + 1 : k] : infinite);
      inner[k] = L::minimum(column, L::minimum(outer[k], inner[k])) + here[k];
    }
  };
  int p = 0;
  const int end = 2 * n - 1;
  if (radius % 2) odd(p++);
  for (; p + 1 < end; p += 2) even(p), odd(p + 1);
  if (p < end) even(p);
  // The last anti-diagonal has the kind of the first.
  for (int k = 0; k < K; k++) L::store(start + k * L::size, radius % 2 ? inner[k] : outer[k]);
  return start[radius / 2];
}

template <class T>
void band_run(const Problem<T>& problem, const Pair<T>& pair, void* scratch) {
  const int features = problem.features, before = problem.model.window.band / 2 + 1;
  const size_t stride = band_stride(problem, pair);
  T *x = static_cast<T*>(scratch), *y = x + stride * features;
  for (size_t at = 0; at < 2 * stride * features; at++) x[at] = 0;
  for (int i = 0; i < pair.n; i++)
    for (int f = 0; f < features; f++) {
      x[f * stride + before + i] = pair.x[size_t(i) * features + f];
      y[f * stride + before + pair.n - 1 - i] = pair.y[size_t(i) * features + f];
    }
  with_cost(problem.model.cost, [&](auto cost) {
    constexpr Cost kind = decltype(cost)::value;
    auto run = [&](auto vectors) { *pair.value = band_value<T, kind, decltype(vectors)::value>(problem, pair, x + before, y + before, stride); };
    switch (band_vectors(problem, pair)) {
      case 1: return run(std::integral_constant<int, 1>());
      case 2: return run(std::integral_constant<int, 2>());
      case 4: return run(std::integral_constant<int, 4>());
      default: return run(std::integral_constant<int, 8>());
    }
  });
  if (is_poisoned(problem, pair)) *pair.value = T(__builtin_nan(""));
}

}  // namespace tempalign::TA_LEVEL
