// All soft minima of a call, and how the work on them is divided: pairs side by side where there are
// enough of them, else one after the other by strips that follow each other.
//
// Each pair has the kind of exponents that it needs itself, and stands beside pairs of its kind: what a
// pair gives must not hang on the others.
#pragma once
#include "grid.h"

namespace tempalign {

template <class Pool>
Sharing sharing_of(const Pool& pool, int threads) {
  if (threads <= 1) return {nullptr, 1, nullptr};
  auto run = [](const void* pool, int threads, int64_t count, void (*body)(const void*, int64_t), const void* data) {
    share(*static_cast<const Pool*>(pool), threads, count, [&](int64_t item) { body(data, item); });
  };
  return {&pool, threads, run};
}

// The kinds of all pairs.
template <class T, class Pool>
std::vector<uint8_t> kinds_of(const Pool& pool, int threads, const Grid<T>& grid, int64_t pairs) {
  const Level<T>& level = best<T>();
  std::vector<double> of_x(grid.over_x.parts), of_y(grid.over_y.parts);
  share(pool, threads, grid.over_x.parts, [&](int64_t k) { of_x[k] = level.largest(grid.problem, grid.x + k * grid.x_size(), false); });
  share(pool, threads, grid.over_y.parts, [&](int64_t k) { of_y[k] = level.largest(grid.problem, grid.y + k * grid.y_size(), true); });
  std::vector<uint8_t> kinds(pairs);
  for (int64_t flat = 0; flat < pairs; flat++) {
    int64_t at[kMostAxes];
    grid.axes.place(flat, at);
    const int rank = grid.axes.rank;
    kinds[flat] = uint8_t(level.soft_kind(grid.problem, grid.pair(flat), of_x[grid.over_x.at(at, rank)], of_y[grid.over_y.at(at, rank)]));
  }
  return kinds;
}

template <class T, class Pool>
void evaluate_soft(const Pool& pool, Grid<T>& grid) {
  const Level<T>& level = best<T>();
  const Problem<T>& problem = grid.problem;
  const int64_t pairs = grid.axes.count();
  grid.scan();
  const double cells = double(problem.n) * problem.m, work = double(pairs) * cells * (grid.given() ? 8 : 8 + problem.features);
  const int threads = work < kWorthSharing ? 1 : pool.threads();
  const std::vector<uint8_t> kinds = kinds_of(pool, threads, grid, pairs);
  for (int kind : {kNarrow, kWide}) {
    std::vector<int64_t> which;
    for (int64_t flat = 0; flat < pairs; flat++)
      if (kinds[flat] == kind) which.push_back(flat);
    const int64_t count = int64_t(which.size()), lanes = level.soft_lanes[kind];
    // By strips where lanes or threads would be idle; a step of a strip takes longer than one of lanes.
    const int64_t blocks = (count + lanes - 1) / lanes, height = 2 * lanes;
    const double side = double((blocks + threads - 1) / threads) * cells;
    const double strips = double((problem.n + height - 1) / height * 2) * (problem.m + height);
    if (double((count + threads - 1) / threads) * strips * 1.6 < side) {
      const bool follow = threads > 1 && cells >= kWorthFollowing && count < 2 * threads;
      const Sharing sharing = sharing_of(pool, follow ? threads : 1);
      auto alone = [&](int64_t k) { level.soft_one(problem, grid.pair(which[k]), kind, sharing); };
      if (follow) for (int64_t k = 0; k < count; k++) alone(k);
      else share(pool, threads, count, alone);
      continue;
    }
    share(pool, threads, blocks, [&](int64_t block) {
      Pair<T> side[64];
      const int64_t first = block * lanes;
      const int there = int(std::min<int64_t>(lanes, count - first));
      for (int l = 0; l < there; l++) side[l] = grid.pair(which[first + l]);
      level.soft_side(problem, side, there, kind);
    });
  }
  share(pool, threads, pairs, [&](int64_t flat) {
    if (kinds[flat] == kVast) soft_vast(problem, grid.pair(flat));
  });
}

}  // namespace tempalign
