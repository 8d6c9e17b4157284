// All pairs of a call: which sequences meet, and how the work on them is divided. The shape decides:
// pairs side by side where there are enough of them, else one after the other, each by strips.
#pragma once
#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

#include "call.h"
#include "dispatch.h"
#include "soft_vast.h"

namespace tempalign {

// The leading axes [*batch, S, A, C] of the results. A batch (what `jax.vmap` makes) is an axis in
// front of every operand, of size 1 where the operand is the same for all.
struct Axes {
  int rank = 0;
  int64_t size[kMostAxes];

  int64_t count() const {
    int64_t n = 1;
    for (int a = 0; a < rank; a++) n *= size[a];
    return n;
  }
  void place(int64_t flat, int64_t* at) const {
    for (int a = rank; a-- > 0; flat /= size[a]) at[a] = flat % size[a];
  }
};

// An operand over those axes: which of its parts belongs to a pair.
struct Over {
  int64_t stride[kMostAxes] = {};  // in parts
  int64_t parts = 1;

  // `own`: the axes that the operand has, the last three of which stand for S, A and C; a size of 1 or
  // a `drops` leaves an axis out.
  static Over of(const Axes& axes, const int64_t* batch, int64_t s, int64_t a, int64_t c, bool* fits) {
    Over over;
    const int64_t last[3] = {s, a, c};
    for (int k = axes.rank; k-- > 0;) {
      const int64_t size = k >= axes.rank - 3 ? last[k - (axes.rank - 3)] : batch[k];
      if (size != 1 && size != axes.size[k]) *fits = false;
      over.stride[k] = size == 1 ? 0 : over.parts;
      over.parts *= size;
    }
    return over;
  }
  int64_t at(const int64_t* place, int rank) const {
    int64_t found = 0;
    for (int k = 0; k < rank; k++) found += stride[k] * place[k];
    return found;
  }
};

struct Memory {  // scratch of one item; malloc keeps it for the next
  void* data;
  explicit Memory(size_t bytes) : data(std::aligned_alloc(64, (bytes + 63) / 64 * 64 + 64)) {
    if (!data) throw std::bad_alloc();
  }
  ~Memory() { std::free(data); }
  Memory(const Memory&) = delete;
};

template <class T>
struct Grid {
  Problem<T> problem = {};
  Axes axes;
  const T *x = nullptr, *y = nullptr, *prices = nullptr, *gamma = nullptr;
  const int32_t *lengths_x = nullptr, *lengths_y = nullptr;
  const uint8_t* mask = nullptr;
  Over over_x, over_y, over_lengths_x, over_lengths_y, over_mask, over_prices, over_gamma;
  T* values = nullptr;
  int32_t* rows = nullptr;
  Wanted<T> wanted = {};  // of the first pair
  std::vector<uint8_t> finite_x, finite_y;

  bool given() const { return problem.model.cost == Cost::given; }
  size_t x_size() const { return size_t(problem.n) * (given() ? problem.m : problem.features); }
  size_t y_size() const { return given() ? 1 : size_t(problem.m) * problem.features; }
  int64_t diagonals() const { return int64_t(problem.n) + problem.m - 1; }

  static int length(int32_t given, int most) { return given < 1 || given > most ? most : given; }

  Pair<T> pair(int64_t flat) const {
    int64_t at[kMostAxes];
    axes.place(flat, at);
    const int rank = axes.rank;
    const int64_t of_x = over_x.at(at, rank), of_y = over_y.at(at, rank);
    Pair<T> one = {};
    one.x = x + of_x * x_size();
    one.y = y + of_y * y_size();
    one.mask = mask ? mask + over_mask.at(at, rank) * int64_t(problem.n) * problem.m : nullptr;
    one.prices = prices ? prices + over_prices.at(at, rank) * 4 : nullptr;
    one.n = lengths_x ? length(lengths_x[over_lengths_x.at(at, rank)], problem.n) : problem.n;
    one.m = lengths_y ? length(lengths_y[over_lengths_y.at(at, rank)], problem.m) : problem.m;
    one.finite = given() || (finite_x[of_x] && finite_y[of_y]);
    one.value = values + flat;
    one.rows = rows ? rows + flat * diagonals() : nullptr;
    if (!gamma) return one;
    auto own = [&](T* first, size_t size) { return first ? first + size_t(flat) * size : nullptr; };
    one.gamma = gamma[over_gamma.at(at, rank)];
    one.wanted = {own(wanted.x, x_size()), own(wanted.y, y_size()), own(wanted.entropy, 1), own(wanted.prices, 4), own(wanted.cells, size_t(problem.n) * problem.m)};
    return one;
  }

  void scan() {
    if (given()) return;
    auto look = [](const T* from, int64_t parts, size_t size) {
      std::vector<uint8_t> found(parts);
      for (int64_t k = 0; k < parts; k++) found[k] = best<T>().all_finite(from + k * size, size);
      return found;
    };
    finite_x = look(x, over_x.parts, x_size());
    finite_y = look(y, over_y.parts, y_size());
  }
};

constexpr double kWorthSharing = 1e5;          // cells (times features) below which one thread does all
constexpr double kWorthFollowing = 1 << 19;    // cells of one pair that threads may follow each other through
constexpr size_t kMostBlockTable = 1 << 23;    // bytes: moves of pairs side by side that may be kept
constexpr size_t kMostBlockStates = 1 << 20;

// One pair after the other, each by strips.
template <class T, class Pool>
void one_by_one(const Pool& pool, int threads, const Grid<T>& grid, int64_t pairs) {
  const Level<T>& level = best<T>();
  const double cells = cells_in(grid.problem.model.window, grid.problem.n, grid.problem.m);
  const bool follow = threads > 1 && cells >= kWorthFollowing && pairs < 2 * threads;
  auto alone = [&](int64_t flat) {
    const Pair<T> pair = grid.pair(flat);
    if (const size_t bytes = level.band_bytes(grid.problem, pair)) {
      Memory memory(bytes);
      return level.band_run(grid.problem, pair, memory.data);
    }
    Memory memory(level.wave_bytes(grid.problem, pair));
    const int strips = level.wave_begin(grid.problem, pair, memory.data);
    if (follow) share(pool, threads, strips, [&](int64_t s) { level.wave_strip(memory.data, int(s)); });
    else for (int s = 0; s < strips; s++) level.wave_strip(memory.data, s);
    level.wave_end(memory.data);
  };
  if (follow) for (int64_t flat = 0; flat < pairs; flat++) alone(flat);
  else share(pool, threads, pairs, alone);
}

// Pairs side by side, wherever they come from: both sequences of each are laid out anew.
template <class T, class Pool>
void side_by_side(const Pool& pool, int threads, const Grid<T>& grid, int64_t pairs) {
  const Level<T>& level = best<T>();
  const Problem<T>& problem = grid.problem;
  const int lanes = level.lanes;
  const int64_t blocks = (pairs + lanes - 1) / lanes;
  const size_t frames = grid.given() ? 0 : (size_t(problem.n) + problem.m) * problem.features * lanes;
  share(pool, threads, blocks, [&](int64_t block) {
    Pair<T> side[64];
    const int64_t first = block * lanes;
    const int count = int(std::min<int64_t>(lanes, pairs - first));
    for (int l = 0; l < count; l++) side[l] = grid.pair(first + l);
    Memory packed(frames * sizeof(T)), scratch(level.block_bytes(problem));
    T* px = static_cast<T*>(packed.data);
    T* py = grid.given() ? px : px + size_t(problem.n) * problem.features * lanes;
    if (!grid.given()) {
      level.block_pack(problem, side, count, false, px);
      level.block_pack(problem, side, count, true, py);
    }
    level.block_run(problem, side, count, nullptr, px, py, scratch.data);
  });
}

// All pairs of A by C sequences: what stands side by side shares its x, and is laid out once for
// several of them.
template <class T, class Pool>
void all_pairs(const Pool& pool, int threads, const Grid<T>& grid, int64_t pairs) {
  const Level<T>& level = best<T>();
  const Problem<T>& problem = grid.problem;
  const int lanes = level.lanes;
  const int64_t c = grid.axes.size[grid.axes.rank - 1], a = grid.axes.size[grid.axes.rank - 2], groups = pairs / (a * c);
  const int64_t blocks = (c + lanes - 1) / lanes, rows = std::max<int64_t>(1, std::min<int64_t>(16, groups * a * blocks / (8 * threads)));
  const int64_t chunks = (a + rows - 1) / rows;
  share(pool, threads, groups * blocks * chunks, [&](int64_t item) {
    const int64_t chunk = item % chunks, block = item / chunks % blocks, group = item / chunks / blocks;
    const int count = int(std::min<int64_t>(lanes, c - block * lanes));
    Memory packed(size_t(problem.m) * problem.features * lanes * sizeof(T)), scratch(level.block_bytes(problem));
    T* py = static_cast<T*>(packed.data);
    Pair<T> side[64];
    for (int64_t row = chunk * rows; row < std::min(a, (chunk + 1) * rows); row++) {
      for (int l = 0; l < count; l++) side[l] = grid.pair((group * a + row) * c + block * lanes + l);
      if (row == chunk * rows) level.block_pack(problem, side, count, true, py);
      level.block_run(problem, side, count, side[0].x, nullptr, py, scratch.data);
    }
  });
}

template <class T, class Pool>
void evaluate(const Pool& pool, Grid<T>& grid) {
  const Level<T>& level = best<T>();
  const Problem<T>& problem = grid.problem;
  const int64_t pairs = grid.axes.count();
  grid.scan();
  const double work = double(pairs) * cells_in(problem.model.window, problem.n, problem.m) * (grid.given() ? 1 : problem.features);
  const int threads = work < kWorthSharing ? 1 : pool.threads();
  const int64_t lanes = level.lanes, c = grid.axes.size[grid.axes.rank - 1];
  const size_t table = problem.path ? size_t(problem.n) * problem.m / 16 * lanes * sizeof(T) : 0;
  const size_t states = size_t(problem.m) * lanes * sizeof(T);
  const bool small = table <= kMostBlockTable && states <= kMostBlockStates;
  // Half the lanes idle are still no slower than a strip of rows that is not full.
  if (!small || pairs < lanes / 2 || (pairs < lanes && problem.n >= 16 * lanes)) return one_by_one(pool, threads, grid, pairs);
  const int64_t filled = (c + lanes - 1) / lanes * lanes;
  if (!grid.given() && c >= lanes / 2 && filled * 4 <= c * 5) return all_pairs(pool, threads, grid, pairs);
  side_by_side(pool, threads, grid, pairs);
}

}  // namespace tempalign
