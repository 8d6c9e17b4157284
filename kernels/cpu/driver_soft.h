// The soft minimum in the driver's tests: values and all that may be asked for, against the plain
// recurrence in long double (soft_vast.h), to the bit for every number of threads.
#pragma once

template <class T>
struct Found {
  std::vector<T> value, x, y, entropy, prices, cells;

  bool operator==(const Found& other) const {
    auto same = [](const std::vector<T>& a, const std::vector<T>& b) { return a.size() == b.size() && (a.empty() || !std::memcmp(a.data(), b.data(), a.size() * sizeof(T))); };
    return same(value, other.value) && same(x, other.x) && same(y, other.y) && same(entropy, other.entropy) && same(prices, other.prices) && same(cells, other.cells);
  }
};

// Asks for everything that fits together: all at once but the cells, which stand alone.
template <class T>
void make_room(Grid<T>& grid, Found<T>& found, bool cells, bool jacobians) {
  const size_t pairs = grid.axes.count(), matrix = size_t(grid.problem.n) * grid.problem.m;
  auto room = [&](std::vector<T>& in, size_t size, bool wanted) {
    in.assign(wanted ? pairs * size : 0, T(-7));
    return wanted ? in.data() : nullptr;
  };
  grid.values = room(found.value, 1, true);
  grid.wanted.x = room(found.x, grid.x_size(), jacobians);
  grid.wanted.y = room(found.y, grid.y_size(), jacobians && !grid.given());
  grid.wanted.entropy = room(found.entropy, 1, jacobians || cells);
  grid.wanted.prices = room(found.prices, 4, jacobians);
  grid.wanted.cells = room(found.cells, matrix, cells);
}

template <class T>
void check_soft(Case<T> one, unsigned seed, T gamma, const char* name) {
  one.model.begin.multiplicity = 1 + seed % 3;
  one.model.end.multiplicity = 1 + seed % 2;
  const Given<T> given = draw(one, seed);
  auto complain = [&](const char* what, double got, double expected) {
    if (failures++ < 20)
      std::printf("FAILED %s soft: %s: S %d A %d C %d n %d m %d F %d cost %d gamma %g: %.9g, not %.9g\n", name, what, int(one.s), int(one.a), int(one.c), one.n, one.m, one.features, int(one.model.cost), double(gamma), got, expected);
  };
  std::vector<T> values;
  std::vector<int32_t> rows;
  Grid<T> grid = grid_of(one, given, false, values, rows);
  const int64_t none[1] = {};
  bool fits = true;
  grid.gamma = &gamma;
  grid.over_gamma = Over::of(grid.axes, none, 1, 1, 1, &fits);
  const bool large = size_t(one.n) * one.m > 100000;
  Found<T> value, jacobians, cells;
  for (int threads : {1, 2, 3}) {
    for (int what = 0; what < 3; what++) {
      Found<T>& first = what == 0 ? value : what == 1 ? jacobians : cells;
      Found<T> found;
      make_room(grid, found, what == 2, what == 1);
      {
        const Threads pool(threads);
        evaluate_soft(pool, grid);
      }
      if (threads == 1) first = found;
      else if (!(found == first)) complain("not the same to the bit", what, threads);
      if (std::memcmp(found.value.data(), value.value.data(), found.value.size() * sizeof(T))) complain("another value beside what is asked for", what, 0);
    }
  }
  if (large && sizeof(T) == 4) return;  // double precision says it
  Found<T> plain, plain_cells;
  auto slowly = [&](Found<T>& found, bool with_cells) {
    make_room(grid, found, with_cells, !with_cells);
    for (int64_t k = 0; k < grid.axes.count(); k++) soft_vast(grid.problem, grid.pair(k));
  };
  slowly(plain, false), slowly(plain_cells, true);
  auto close = [&](const char* what, const std::vector<T>& got, const std::vector<T>& expected) {
    double most = 1;
    for (T v : expected)
      if (std::isfinite(double(v))) most = std::max(most, std::abs(double(v)));
    for (size_t k = 0; k < got.size(); k++) {
      checked++;
      const bool good = std::isfinite(double(expected[k])) ? std::abs(double(got[k]) - expected[k]) <= (sizeof(T) == 4 ? 2e-5 : 1e-11) * most : got[k] == expected[k] || (got[k] != got[k] && expected[k] != expected[k]);
      if (!good) return complain(what, got[k], expected[k]);
    }
  };
  close("value", value.value, plain.value);
  close("x", jacobians.x, plain.x);
  close("y", jacobians.y, plain.y);
  close("prices", jacobians.prices, plain.prices);
  close("visits", cells.cells, plain_cells.cells);
  for (size_t k = 0; k < plain.value.size(); k++)
    if (!std::isfinite(double(plain.value[k]))) plain.entropy[k] = plain_cells.entropy[k] = jacobians.entropy[k] = cells.entropy[k] = T(0);
  close("entropy", jacobians.entropy, plain.entropy);
  close("entropy beside visits", cells.entropy, plain_cells.entropy);
}
