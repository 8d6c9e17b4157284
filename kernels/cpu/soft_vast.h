// The soft minimum where cost / gamma is beyond every exponent: R itself, in long double, one pair, one
// cell at a time. Slow (0.1 us a cell), and n m memory for the derivatives: for temperatures and costs
// that nobody computes with. Plain code, compiled once for all levels.
#pragma once
#include <cmath>
#include <limits>
#include <vector>

#include "problem.h"

namespace tempalign {

template <class T>
T plain_cost(Cost cost, const T* x, const T* y, int features) {
  T total = 0;
  for (int f = 0; f < features; f++) {
    const T d = x[f] - y[f];
    total += cost == Cost::inner ? x[f] * y[f] : cost == Cost::manhattan ? std::abs(d) : d * d;
  }
  return cost == Cost::inner ? 1 - total : cost == Cost::euclidean ? std::sqrt(total) : total;
}

template <class T>
void soft_vast(const Problem<T>& problem, const Pair<T>& pair) {
  typedef long double R;
  const Model& model = problem.model;
  const Wanted<T>& wanted = pair.wanted;
  const R inf = std::numeric_limits<R>::infinity(), gamma = pair.gamma;
  const int n = pair.n, m = pair.m, features = problem.features;
  const bool given = model.cost == Cost::given, gradient = wanted.any();
  const T nan = std::numeric_limits<T>::quiet_NaN();
  R weights[3], penalty[3];
  const Move* moves[3] = {&model.row, &model.column, &model.diagonal};
  for (int k = 0; k < 3; k++) {
    weights[k] = moves[k]->weighted ? R(pair.prices[k]) : R(1);
    penalty[k] = moves[k]->penalised ? R(pair.prices[3]) : R(0);
  }
  auto cost = [&](int i, int j) {
    return given ? pair.x[size_t(i) * problem.m + j] : plain_cost(model.cost, pair.x + size_t(i) * features, pair.y + size_t(j) * features, features);
  };
  auto begins = [&](int i, int j) {
    if (i == 0 && j == 0) return 1;
    const bool here = (j == 0 && model.begin.x && Opening::within(i, model.begin.x)) || (i == 0 && model.begin.y && Opening::within(j, model.begin.y));
    return here ? model.begin.multiplicity : 0;
  };
  auto ends = [&](int i, int j) {
    if (i == n - 1 && j == m - 1) return 1;
    const bool here = (j == m - 1 && model.end.x && Opening::within(n - 1 - i, model.end.x)) || (i == n - 1 && model.end.y && Opening::within(m - 1 - j, model.end.y));
    return here ? model.end.multiplicity : 0;
  };
  std::vector<R> above(m, inf), row(m, inf);
  struct Ways {
    T share[4];  // up, left, across, to begin here
    T choice;
  };
  std::vector<Ways> table(gradient ? size_t(n) * m : 0, Ways{});
  struct End {
    int i, j, many;
    R r;
  };
  std::vector<End> found;
  bool poisoned = false;
  for (int i = 0; i < n; i++) {
    const Range range = columns_of(model.window, i, n, m);
    for (int j = 0; j < m; j++) {
      row[j] = inf;
      if (j < range.first || j > range.last || (pair.mask && !pair.mask[size_t(i) * problem.m + j])) continue;
      const R c = cost(i, j);
      poisoned = poisoned || c != c;
      if (!(c < inf)) continue;
      const int many = begins(i, j);
      const bool falls = model.row.allowed == Allowed::everywhere || (model.row.allowed == Allowed::first_column && j == 0);
      auto price = [&](int k) { return weights[k] * c + penalty[k]; };
      const R by[4] = {i && falls ? above[j] + price(0) : inf, j && model.column.allowed != Allowed::never ? row[j - 1] + price(1) : inf,
                       i && j && model.diagonal.allowed != Allowed::never ? above[j - 1] + price(2) : inf,
                       many ? c - gamma * std::log(R(many)) : inf};
      const R least = std::min(std::min(by[0], by[1]), std::min(by[2], by[3]));
      if (!(least < inf)) continue;
      R part[4], total = 0, choice = 0;
      for (int k = 0; k < 4; k++) total += part[k] = std::exp(-(by[k] - least) / gamma);
      row[j] = least - gamma * std::log(total);
      if (gradient) {
        Ways& ways = table[size_t(i) * m + j];
        for (int k = 0; k < 4; k++) {
          const R q = part[k] / total;
          ways.share[k] = T(q);
          if (q > 0) choice -= q * std::log(q / (k == 3 ? many : 1));
        }
        ways.choice = T(choice);
      }
      if (ends(i, j)) found.push_back({i, j, ends(i, j), row[j]});
    }
    std::swap(above, row);
  }
  R least = inf, total = 0, entropy = 0;
  for (auto& e : found) least = std::min(least, e.r - gamma * std::log(R(e.many)));
  auto weight = [&](const End& e) { return std::exp(-(e.r - gamma * std::log(R(e.many)) - least) / gamma); };
  for (auto& e : found) total += weight(e);
  const T value = poisoned ? nan : found.empty() ? std::numeric_limits<T>::infinity() : T(least - gamma * std::log(total));
  *pair.value = value;
  const bool good = std::isfinite(value);
  auto fill = [](T* to, size_t count, T with) {
    if (to) std::fill_n(to, count, with);
  };
  const size_t cells = size_t(problem.n) * problem.m;
  fill(wanted.x, given ? cells : size_t(problem.n) * features, 0);
  fill(wanted.y, given ? 0 : size_t(problem.m) * features, 0);
  fill(wanted.entropy, 1, 0);
  fill(wanted.prices, 4, 0);
  fill(wanted.cells, cells, 0);
  for (int i = 0; wanted.cells && !good && i < n; i++) fill(wanted.cells + size_t(i) * problem.m, m, nan);
  if (!gradient || !good) return;
  // Slopes of terms, see soft_frames.h.
  auto pull = [&](int i, int j, R slope) {
    if (given) {
      if (wanted.x) wanted.x[size_t(i) * problem.m + j] = T(slope);
      return;
    }
    const T *x = pair.x + size_t(i) * features, *y = pair.y + size_t(j) * features;
    T by = T(slope) * (model.cost == Cost::sqeuclidean ? T(2) : T(1));
    if (model.cost == Cost::euclidean) by = cost(i, j) > 0 ? by / cost(i, j) : T(0);
    for (int f = 0; f < features; f++) {
      const T d = model.cost == Cost::inner ? T(0) : model.cost == Cost::manhattan ? T((x[f] > y[f]) - (x[f] < y[f])) : x[f] - y[f];
      if (wanted.x) wanted.x[size_t(i) * features + f] += by * (model.cost == Cost::inner ? -y[f] : d);
      if (wanted.y) wanted.y[size_t(j) * features + f] -= by * (model.cost == Cost::inner ? x[f] : d);
    }
  };
  std::vector<double> here(m, 0.), up(m, 0.);
  double by_weight[3] = {}, by_penalty[3] = {};
  for (int i = n - 1; i >= 0; i--) {
    for (auto& e : found)
      if (e.i == i) {
        const R q = weight(e) / total;
        here[e.j] += double(q);
        if (q > 0) entropy -= q * std::log(q / e.many);
      }
    std::fill(up.begin(), up.end(), 0.);
    for (int j = m - 1; j >= 0; j--) {
      const double v = here[j];
      if (v == 0) continue;
      const Ways& ways = table[size_t(i) * m + j];
      if (i) up[j] += v * ways.share[0];
      if (j) here[j - 1] += v * ways.share[1];
      if (i && j) up[j - 1] += v * ways.share[2];
      entropy += v * ways.choice;
      R slope = v * ways.share[3];
      for (int k = 0; k < 3; k++) {
        const double by = v * ways.share[k];
        slope += by * weights[k], by_weight[k] += by * double(cost(i, j)), by_penalty[k] += by;
      }
      if (wanted.cells) wanted.cells[size_t(i) * problem.m + j] = T(v);
      pull(i, j, slope);
    }
    std::swap(here, up);
  }
  if (wanted.entropy) *wanted.entropy = T(entropy);
  for (int k = 0; wanted.prices && k < 3; k++) {
    if (moves[k]->weighted) wanted.prices[k] = T(by_weight[k]);
    if (moves[k]->penalised) wanted.prices[3] += T(by_penalty[k]);
  }
}

}  // namespace tempalign
