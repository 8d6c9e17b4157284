// Tests of the kernels without Python, for the sanitizers (see BUILD.md): every shape of a list against
// plain loops, on each level that this processor has, by one, two and three threads.
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "soft_grid.h"

using namespace tempalign;

namespace {

struct Threads {  // a pool whose tasks begin at once
  int count;
  mutable std::vector<std::thread> begun;
  explicit Threads(int count) : count(count) {}
  ~Threads() {
    for (auto& thread : begun) thread.join();
  }
  int threads() const { return count; }
  template <class Task>
  void schedule(const Task& task) const { begun.emplace_back(task); }
};

template <class T>
struct Case {
  Model model;
  int64_t s = 1, a = 1, c = 1;
  int n = 5, m = 7, features = 1;
  bool lengths = false, masked = false, integers = false;
};

template <class T>
struct Given {
  std::vector<T> x, y, prices{T(0.5), T(2), T(1.5), T(0.75)};
  std::vector<int32_t> lengths_x, lengths_y;
  std::vector<uint8_t> mask;
};

template <class T>
Given<T> draw(const Case<T>& one, unsigned seed) {
  std::mt19937 random(seed);
  auto number = [&] { return one.integers ? T(random() % 4) : T(random() % 20001) / T(10000) - T(1); };
  Given<T> given;
  const bool matrix = one.model.cost == Cost::given;
  given.x.resize(one.s * one.a * one.n * (matrix ? one.m : one.features));
  given.y.resize(matrix ? one.s : one.s * one.c * one.m * one.features);
  for (T& v : given.x) v = matrix ? std::abs(number()) : number();
  for (T& v : given.y) v = number();
  for (int64_t k = 0; one.lengths && k < one.s * one.a * one.c; k++) {
    given.lengths_x.push_back(1 + random() % one.n);
    given.lengths_y.push_back(1 + random() % one.m);
  }
  for (int64_t k = 0; one.masked && k < one.s * one.a * one.c * one.n * one.m; k++) given.mask.push_back(random() % 10 != 0);
  return given;
}

template <class T>
Grid<T> grid_of(const Case<T>& one, const Given<T>& given, bool path, std::vector<T>& values, std::vector<int32_t>& rows) {
  Grid<T> grid;
  grid.problem.model = one.model;
  grid.problem.n = one.n;
  grid.problem.m = one.m;
  grid.problem.features = one.features;
  grid.problem.path = path;
  grid.axes.rank = 3;
  grid.axes.size[0] = one.s, grid.axes.size[1] = one.a, grid.axes.size[2] = one.c;
  bool fits = true;
  const int64_t none[1] = {};
  grid.over_x = Over::of(grid.axes, none, one.s, one.a, 1, &fits);
  grid.over_y = Over::of(grid.axes, none, one.s, 1, one.c, &fits);
  grid.over_lengths_x = grid.over_lengths_y = grid.over_mask = Over::of(grid.axes, none, one.s, one.a, one.c, &fits);
  grid.x = given.x.data();
  grid.y = given.y.data();
  grid.prices = given.prices.data();
  if (one.lengths) grid.lengths_x = given.lengths_x.data(), grid.lengths_y = given.lengths_y.data();
  if (one.masked) grid.mask = given.mask.data();
  values.assign(grid.axes.count(), T(-7));
  rows.assign(path ? grid.axes.count() * grid.diagonals() : 0, -7);
  grid.values = values.data();
  grid.rows = path ? rows.data() : nullptr;
  return grid;
}

double local_cost(Cost cost, const double* x, const double* y, int features) {
  double total = 0;
  for (int f = 0; f < features; f++) {
    const double d = x[f] - y[f];
    total += cost == Cost::inner ? x[f] * y[f] : cost == Cost::manhattan ? std::abs(d) : d * d;
  }
  return cost == Cost::inner ? 1 - total : cost == Cost::euclidean ? std::sqrt(total) : total;
}

// The same by plain loops, in double.
template <class T>
double looped(const Grid<T>& grid, const Pair<T>& pair) {
  const Model& model = grid.problem.model;
  const int n = pair.n, m = pair.m, features = grid.problem.features;
  const double infinite = INFINITY;
  std::vector<double> r(size_t(n) * m, infinite);
  auto at = [&](int i, int j) { return i < 0 || j < 0 ? infinite : r[size_t(i) * m + j]; };
  for (int i = 0; i < n; i++) {
    const Range range = columns_of(model.window, i, n, m);
    for (int j = 0; j < m; j++) {
      std::vector<double> a, b;
      double cost;
      if (model.cost == Cost::given) cost = pair.x[size_t(i) * grid.problem.m + j];
      else {
        for (int f = 0; f < features; f++) a.push_back(pair.x[size_t(i) * features + f]), b.push_back(pair.y[size_t(j) * features + f]);
        cost = local_cost(model.cost, a.data(), b.data(), features);
      }
      if (j < range.first || j > range.last || (pair.mask && !pair.mask[size_t(i) * grid.problem.m + j])) continue;
      auto price = [&](const Move& move, int k) {
        if (move.allowed == Allowed::never || (move.allowed == Allowed::first_column && j > 0)) return infinite;
        return (move.weighted ? double(pair.prices[k]) : 1) * cost + (move.penalised ? double(pair.prices[3]) : 0);
      };
      double best = std::min({at(i - 1, j) + price(model.row, 0), at(i, j - 1) + price(model.column, 1), at(i - 1, j - 1) + price(model.diagonal, 2)});
      const bool begins = (i == 0 && j == 0) || (j == 0 && model.begin.x && Opening::within(i, model.begin.x)) ||
                          (i == 0 && model.begin.y && Opening::within(j, model.begin.y));
      r[size_t(i) * m + j] = begins ? std::min(best, cost) : best;
    }
  }
  double best = at(n - 1, m - 1);
  for (int k = 1; model.end.x && k < n && Opening::within(k, model.end.x); k++) best = std::min(best, at(n - 1 - k, m - 1));
  for (int k = 1; model.end.y && k < m && Opening::within(k, model.end.y); k++) best = std::min(best, at(n - 1, m - 1 - k));
  return best;
}

template <class T>
double along_path(const Grid<T>& grid, int64_t flat) {
  const Pair<T> pair = grid.pair(flat);
  const Model& model = grid.problem.model;
  const int features = grid.problem.features;
  double total = 0;
  int before = -1, two_before = -1;
  for (int64_t p = 0; p < grid.diagonals(); p++) {
    const int i = pair.rows[p];
    if (i >= 0) {
      const int j = int(p) - i;
      if (i >= pair.n || j < 0 || j >= pair.m) return -1e30;
      std::vector<double> a, b;
      for (int f = 0; model.cost != Cost::given && f < features; f++) a.push_back(pair.x[size_t(i) * features + f]), b.push_back(pair.y[size_t(j) * features + f]);
      const double cost = model.cost == Cost::given ? double(pair.x[size_t(i) * grid.problem.m + j]) : local_cost(model.cost, a.data(), b.data(), features);
      const int k = before >= 0 ? (before < i ? 0 : 1) : two_before >= 0 ? 2 : 3;
      const Move* moves[3] = {&model.row, &model.column, &model.diagonal};
      total += k < 3 ? (moves[k]->weighted ? double(pair.prices[k]) : 1) * cost + (moves[k]->penalised ? double(pair.prices[3]) : 0) : cost;
    }
    two_before = before;
    before = i;
  }
  return total;
}

int failures = 0, checked = 0;

template <class T>
void check(const Case<T>& one, unsigned seed, const char* name) {
  const Given<T> given = draw(one, seed);
  std::vector<T> first_values;
  std::vector<int32_t> first_rows;
  auto complain = [&](const char* what, double got, double expected) {
    if (failures++ < 20)
      std::printf("FAILED %s: %s: S %d A %d C %d n %d m %d F %d cost %d: %.9g, not %.9g\n", name, what, int(one.s), int(one.a), int(one.c), one.n, one.m, one.features, int(one.model.cost), got, expected);
  };
  for (int threads : {1, 2, 3}) {
    for (bool path : {false, true}) {
      std::vector<T> values;
      std::vector<int32_t> rows;
      Grid<T> grid = grid_of(one, given, path, values, rows);
      {
        const Threads pool(threads);
        evaluate(pool, grid);
      }
      if (first_values.empty()) first_values = values;
      for (size_t k = 0; k < values.size(); k++)
        if (std::memcmp(&values[k], &first_values[k], sizeof(T))) complain("not the same to the bit", values[k], first_values[k]);
      if (path) {
        if (first_rows.empty()) first_rows = rows;
        if (rows != first_rows) complain("not the same path", 0, 0);
      }
      for (int64_t k = 0; threads == 1 && k < grid.axes.count(); k++) {
        const double expected = looped(grid, grid.pair(k)), size = std::abs(expected) + 1;
        const double close = (sizeof(T) == 4 ? 2e-5 : 1e-12) * size;
        checked++;
        if (!(std::abs(values[k] - expected) <= close) && !(std::isinf(expected) && std::isinf(values[k]))) complain("value", values[k], expected);
        if (path && std::isfinite(expected)) {
          const double sum = along_path(grid, k);
          if (!(std::abs(sum - expected) <= close)) complain("along the path", sum, expected);
        }
      }
    }
  }
  // Gradients, on memory of just their size.
  std::vector<T> values;
  std::vector<int32_t> rows;
  Grid<T> grid = grid_of(one, given, true, values, rows);
  evaluate(Threads(1), grid);
  for (int64_t k = 0; k < std::min<int64_t>(grid.axes.count(), 3); k++) {
    const Pair<T> pair = grid.pair(k);
    Walk<T> walk{one.model, one.n, one.m, one.features, pair.x, pair.y, pair.rows, pair.prices, pair.n, pair.m, values[k]};
    std::vector<T> to_x(grid.x_size()), to_y(grid.y_size()), to_prices(4), dx(grid.x_size(), T(0.5)), dy(grid.y_size(), T(0.25)), d_prices(4, T(1));
    best<T>().pull_x(walk, T(1), to_x.data());
    best<T>().pull_y(walk, T(1), to_y.data());
    best<T>().pull_prices(walk, T(1), to_prices.data());
    double expected = 0;
    for (size_t i = 0; i < to_x.size(); i++) expected += double(to_x[i]) * dx[i];
    for (size_t i = 0; one.model.cost != Cost::given && i < to_y.size(); i++) expected += double(to_y[i]) * dy[i];
    for (int i = 0; i < 4; i++) expected += double(to_prices[i]) * d_prices[i];
    const double got = best<T>().push(walk, dx.data(), dy.data(), d_prices.data());
    checked++;
    if (std::isfinite(double(values[k])) && !(std::abs(got - expected) <= (sizeof(T) == 4 ? 1e-3 : 1e-10) * (1 + std::abs(expected)))) complain("push and pull", got, expected);
  }
}

#include "driver_soft.h"

template <class T>
void check_all(const char* name) {
  unsigned seed = 1;
  const int sizes[][2] = {{1, 1}, {1, 9}, {9, 1}, {2, 3}, {5, 7}, {16, 16}, {17, 15}, {31, 33}, {64, 64}, {65, 130}, {129, 40}, {200, 150}};
  const int64_t pairs[][3] = {{1, 1, 1}, {3, 1, 1}, {1, 3, 20}, {1, 1, 33}, {2, 5, 3}, {40, 1, 1}};
  for (const auto& size : sizes)
    for (const auto& of : pairs) {
      if (size[0] * size[1] > 5000 && of[0] * of[1] * of[2] > 3) continue;
      for (Cost cost : {Cost::sqeuclidean, Cost::euclidean, Cost::manhattan, Cost::inner, Cost::given}) {
        if (cost == Cost::given && (of[1] > 1 || of[2] > 1)) continue;
        for (int features : {1, 3}) {
          if (cost == Cost::given && features > 1) continue;
          Case<T> one;
          one.s = of[0], one.a = of[1], one.c = of[2];
          one.n = size[0], one.m = size[1], one.features = features;
          one.model.cost = cost;
          one.lengths = seed % 2;
          one.integers = seed % 3 == 0;
          check(one, seed, name);
          if (features > 1) check_soft(one, seed, T(0.5), name);
          seed++;
          Case<T> other = one;
          switch (seed % 6) {
            case 0: other.model.window.band = 2; break;
            case 1: other.model.begin = {2, 1}, other.model.end = {1, 3}; break;
            case 2: other.model.begin = {-1, -1}, other.model.end = {-1, -1}, other.model.diagonal.allowed = Allowed::never; break;
            case 3:
              for (Move* move : {&other.model.row, &other.model.column, &other.model.diagonal}) move->weighted = true;
              other.model.row.penalised = other.model.column.penalised = true;
              other.masked = true;
              break;
            case 4: other.model.window.slope_up = 9, other.model.window.slope_by = 4, other.model.end.y = -1; break;
            case 5: other.model.row.allowed = Allowed::first_column, other.model.begin.x = other.model.end.x = -1; break;
          }
          check(other, seed, name);
          check_soft(other, seed, seed % 5 ? T(0.5) : T(1e-6), name);
          seed++;
        }
      }
    }
  // Bands across which lanes stand, of every number of vectors.
  for (int n : {2, 17, 130})
    for (int band : {0, 1, 7, 8, 20, 33, 63, 90})
      for (Cost cost : {Cost::sqeuclidean, Cost::euclidean, Cost::manhattan, Cost::inner}) {
        Case<T> one;
        one.n = one.m = n, one.features = 1 + 2 * (seed % 2);
        one.model.cost = cost;
        one.model.window.band = band;
        one.integers = seed % 3 == 0;
        check(one, seed++, name);
      }
  // Long enough for threads to follow each other, narrow bands in it.
  for (int band : {-1, 0, 3, 40, 300}) {
    Case<T> one;
    one.n = 1100, one.m = 1000, one.features = 1 + (band > 3);
    one.model.window.band = band < 0 ? -1 : band + 1;
    one.lengths = band == 3;
    check(one, seed, name);
    check_soft(one, seed++, T(0.5), name);
    one.model.end = {-1, 5};
    one.model.begin.y = 4;
    check(one, seed, name);
    check_soft(one, seed++, T(0.5), name);
  }
}

}  // namespace

int main() {
  check_all<float>("float32");
  check_all<double>("float64");
  std::printf("%s: %d checks, %d failures\n", best_level().name, checked, failures);
  return failures ? 1 : 0;
}
