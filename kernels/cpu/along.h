// Sums along the paths of pairs: tangents and gradients of a distance in its sequences (or given
// costs) and in the prices of moves. Scalars over the cells of a path, vectors over features.
#pragma once
#include "hard.h"

namespace tempalign::TA_LEVEL {

template <class T>
bool is_number(T value) {
  return value > -kInfinite<T> && value < kInfinite<T>;
}

// Calls visit(i, j, k) for the cells of a path in order: k is the move it came by, 3 if it began there.
template <class T, class Visit>
void along(const Walk<T>& walk, const Visit& visit) {
  int before = -1, two_before = -1;
  for (int p = 0; p < walk.n + walk.m - 1; p++) {
    const int i = walk.rows[p];
    if (i >= 0) visit(i, p - i, before >= 0 ? (before < i ? 0 : 1) : two_before >= 0 ? 2 : 3);
    two_before = before;
    before = i;
  }
}

template <class T>
struct Slopes {  // by what the cost of a cell counts, and by what the penalty does
  T weight[4] = {1, 1, 1, 1};
  T penalised[4] = {0, 0, 0, 0};

  explicit Slopes(const Walk<T>& walk) {
    const Move* moves[3] = {&walk.model.row, &walk.model.column, &walk.model.diagonal};
    for (int k = 0; k < 3; k++) {
      if (moves[k]->weighted) weight[k] = walk.prices[k];
      penalised[k] = moves[k]->penalised ? T(1) : T(0);
    }
  }
};

// Adds `scale` times the derivative of the cost of frames a and b in a.
template <class T>
void add_slope(Cost cost, const T* a, const T* b, int features, T scale, T* to) {
  switch (cost) {
    case Cost::sqeuclidean:
      for (int f = 0; f < features; f++) to[f] += 2 * scale * (a[f] - b[f]);
      return;
    case Cost::euclidean: {
      const T distance = cell_cost(cost, a, b, features);
      if (!(distance > 0 && distance < kInfinite<T>)) return;  // as `costs.safe_sqrt`
      const T by = scale / distance;
      for (int f = 0; f < features; f++) to[f] += by * (a[f] - b[f]);
      return;
    }
    case Cost::manhattan:
      for (int f = 0; f < features; f++) to[f] += a[f] > b[f] ? scale : a[f] < b[f] ? -scale : T(0);
      return;
    case Cost::inner:
      for (int f = 0; f < features; f++) to[f] -= scale * b[f];
      return;
    case Cost::given:
      return;
  }
}

// The same derivative times a tangent.
template <class T>
T times_slope(Cost cost, const T* a, const T* b, const T* da, int features) {
  T total = 0;
  switch (cost) {
    case Cost::sqeuclidean:
      for (int f = 0; f < features; f++) total += (a[f] - b[f]) * da[f];
      return 2 * total;
    case Cost::euclidean: {
      const T distance = cell_cost(cost, a, b, features);
      if (!(distance > 0 && distance < kInfinite<T>)) return 0;
      for (int f = 0; f < features; f++) total += (a[f] - b[f]) * da[f];
      return total / distance;
    }
    case Cost::manhattan:
      for (int f = 0; f < features; f++) total += a[f] > b[f] ? da[f] : a[f] < b[f] ? -da[f] : T(0);
      return total;
    case Cost::inner:
      for (int f = 0; f < features; f++) total -= b[f] * da[f];
      return total;
    case Cost::given:
      return 0;
  }
  return 0;
}

template <class T>
T cost_at(const Walk<T>& walk, int i, int j) {
  if (walk.model.cost == Cost::given) return walk.x[size_t(i) * walk.m + j];
  return cell_cost(walk.model.cost, walk.x + size_t(i) * walk.features, walk.y + size_t(j) * walk.features, walk.features);
}

template <class T>
bool any(const T* numbers, size_t count) {
  for (size_t i = 0; numbers && i < count; i++)
    if (numbers[i] != 0) return true;
  return false;
}

// The tangent of a distance; tangents that are null are 0.
template <class T>
T push(const Walk<T>& walk, const T* dx, const T* dy, const T* d_prices) {
  const int features = walk.features;
  const bool given = walk.model.cost == Cost::given;
  if (!is_number(walk.value)) {
    bool moved = any(d_prices, 4);
    if (given)
      for (int i = 0; i < walk.true_n; i++) moved |= dx && any(dx + size_t(i) * walk.m, walk.true_m);
    else
      moved |= any(dx, size_t(walk.true_n) * features) || any(dy, size_t(walk.true_m) * features);
    return moved ? T(__builtin_nan("")) : T(0);
  }
  const Slopes<T> slopes(walk);
  T total = 0;
  along(walk, [&](int i, int j, int k) {
    T here = 0;
    if (given) {
      if (dx) here = dx[size_t(i) * walk.m + j];
    } else {
      const T *x = walk.x + size_t(i) * features, *y = walk.y + size_t(j) * features;
      if (dx) here += times_slope(walk.model.cost, x, y, dx + size_t(i) * features, features);
      if (dy) here += times_slope(walk.model.cost, y, x, dy + size_t(j) * features, features);
    }
    total += slopes.weight[k] * here;
    if (d_prices && k < 3) {
      const Move& move = k == 0 ? walk.model.row : k == 1 ? walk.model.column : walk.model.diagonal;
      if (move.weighted) total += cost_at(walk, i, j) * d_prices[k];
      total += slopes.penalised[k] * d_prices[3];
    }
  });
  return total;
}

// Adds the gradient in x (or given costs) of cotangent times the distance; that of 0 is nothing.
template <class T>
void pull_x(const Walk<T>& walk, T cotangent, T* to) {
  if (cotangent == 0) return;
  const int features = walk.features;
  const bool given = walk.model.cost == Cost::given;
  if (!is_number(walk.value)) {
    for (int i = 0; i < walk.true_n; i++)
      for (int f = 0; f < (given ? walk.true_m : features); f++) to[size_t(i) * (given ? walk.m : features) + f] = T(__builtin_nan(""));
    return;
  }
  const Slopes<T> slopes(walk);
  along(walk, [&](int i, int j, int k) {
    const T scale = cotangent * slopes.weight[k];
    if (given) to[size_t(i) * walk.m + j] += scale;
    else add_slope(walk.model.cost, walk.x + size_t(i) * features, walk.y + size_t(j) * features, features, scale, to + size_t(i) * features);
  });
}

// The same in y.
template <class T>
void pull_y(const Walk<T>& walk, T cotangent, T* to) {
  if (cotangent == 0 || walk.model.cost == Cost::given) return;
  const int features = walk.features;
  if (!is_number(walk.value)) {
    for (size_t i = 0; i < size_t(walk.true_m) * features; i++) to[i] = T(__builtin_nan(""));
    return;
  }
  const Slopes<T> slopes(walk);
  along(walk, [&](int i, int j, int k) {
    add_slope(walk.model.cost, walk.y + size_t(j) * features, walk.x + size_t(i) * features, features, cotangent * slopes.weight[k], to + size_t(j) * features);
  });
}

// The gradient [4] in weights and penalty.
template <class T>
void pull_prices(const Walk<T>& walk, T cotangent, T* to) {
  for (int k = 0; k < 4; k++) to[k] = cotangent == 0 || is_number(walk.value) ? T(0) : T(__builtin_nan(""));
  if (cotangent == 0 || !is_number(walk.value)) return;
  const Slopes<T> slopes(walk);
  along(walk, [&](int i, int j, int k) {
    if (k == 3) return;
    const Move& move = k == 0 ? walk.model.row : k == 1 ? walk.model.column : walk.model.diagonal;
    if (move.weighted) to[k] += cotangent * cost_at(walk, i, j);
    to[3] += cotangent * slopes.penalised[k];
  });
}

}  // namespace tempalign::TA_LEVEL
