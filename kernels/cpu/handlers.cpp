// What XLA calls. A handler reads its operands, checks that their shapes fit, and hands them on.
#include <limits>

#include "soft_grid.h"
#include "weighted_calls.h"

namespace tempalign {
namespace {

template <class T>
constexpr int kType = sizeof(T) == 4 ? abi::kF32 : abi::kF64;

// Reads the sequences (or given costs) of a call and what else describes the pairs; `values` is the
// array [*batch, S, A, C] whose axes they have.
template <class T>
void read(Call& call, const Array& values, Grid<T>& grid) {
  grid.problem.model = model_of(call);
  const bool lengths = call.attribute("has_lengths"), mask = call.attribute("has_mask"), prices = call.attribute("has_prices");
  const Array x = call.argument(kType<T>, 4), y = call.argument(kType<T>, 4);
  const Array of_x = lengths ? call.argument(abi::kS32, 3) : Array(), of_y = lengths ? call.argument(abi::kS32, 3) : Array();
  const Array allowed = mask ? call.argument(abi::kPred, 5) : Array();
  const Array paid = prices ? call.argument(kType<T>, 1) : Array();
  if (!call.good()) return;
  const int batch = values.rank - 3;
  bool fits = x.rank == batch + 4 && y.rank == batch + 4 && (!lengths || (of_x.rank == values.rank && of_y.rank == values.rank)) &&
              (!mask || allowed.rank == batch + 5) && (!prices || (paid.rank == batch + 1 && paid.from_end(1) == 4));
  call.require(fits, "numbers of axes do not fit");
  if (!call.good()) return;
  grid.axes.rank = values.rank;
  std::copy(values.dims, values.dims + values.rank, grid.axes.size);
  const int64_t s = values.from_end(3), a = values.from_end(2), c = values.from_end(1);
  const int64_t n = x.from_end(2), m = grid.given() ? x.from_end(1) : y.from_end(2), features = grid.given() ? 1 : x.from_end(1);
  fits = x.from_end(4) == s && x.from_end(3) == a && y.from_end(4) == s && y.from_end(3) == c && n > 0 && m > 0 && features > 0 &&
         n < (1 << 30) && m < (1 << 30) && features < (1 << 30) && (grid.given() || y.from_end(1) == features);
  if (mask) fits = fits && allowed.from_end(2) == n && allowed.from_end(1) == m;
  // A batch axis is 1 or that of the results.
  grid.over_x = Over::of(grid.axes, x.dims, s, a, 1, &fits);
  grid.over_y = Over::of(grid.axes, y.dims, s, 1, c, &fits);
  if (lengths) {
    grid.over_lengths_x = Over::of(grid.axes, of_x.dims, of_x.from_end(3), of_x.from_end(2), of_x.from_end(1), &fits);
    grid.over_lengths_y = Over::of(grid.axes, of_y.dims, of_y.from_end(3), of_y.from_end(2), of_y.from_end(1), &fits);
  }
  if (mask) grid.over_mask = Over::of(grid.axes, allowed.dims, allowed.from_end(5), allowed.from_end(4), allowed.from_end(3), &fits);
  if (prices) grid.over_prices = Over::of(grid.axes, paid.dims, 1, 1, 1, &fits);
  call.require(fits, "shapes do not fit");
  grid.problem.n = int(n);
  grid.problem.m = int(m);
  grid.problem.features = int(features);
  grid.x = static_cast<const T*>(x.data);
  grid.y = static_cast<const T*>(y.data);
  grid.lengths_x = static_cast<const int32_t*>(of_x.data);
  grid.lengths_y = static_cast<const int32_t*>(of_y.data);
  grid.mask = static_cast<const uint8_t*>(allowed.data);
  grid.prices = static_cast<const T*>(paid.data);
}

bool has_shape(const Array& array, const Array& lead, const std::vector<int64_t>& rest) {
  if (array.rank != lead.rank + int(rest.size()) || !std::equal(lead.dims, lead.dims + lead.rank, array.dims)) return false;
  return std::equal(rest.begin(), rest.end(), array.dims + lead.rank);
}

template <class T, bool path>
void distances(Call& call) {
  const Array values = call.result(kType<T>, 3);
  const Array rows = path ? call.result(abi::kS32, 4) : Array();
  if (!call.good()) return;
  Grid<T> grid;
  read(call, values, grid);
  if (!call.good()) return;
  grid.problem.path = path;
  if (path) call.require(has_shape(rows, values, {grid.diagonals()}), "the paths have another shape");
  if (!call.good() || !values.size()) return;
  grid.values = static_cast<T*>(values.data);
  grid.rows = static_cast<int32_t*>(rows.data);
  evaluate(call, grid);
}

// Soft minima, and with `jacobians` what is asked for: bits of x, y, gamma, prices and cells.
template <class T, bool jacobians>
void soft_minima(Call& call) {
  const int asked = jacobians ? call.attribute("asked") : 0;
  const Array values = call.result(kType<T>, 3);
  Array found[5];
  for (int k = 0; k < 5; k++)
    if (asked >> k & 1) found[k] = call.result(kType<T>, 3);
  if (!call.good()) return;
  Grid<T> grid;
  read(call, values, grid);
  const Array gamma = call.argument(kType<T>, 0);
  if (!call.good()) return;
  bool fits = gamma.rank == values.rank - 3;
  if (fits) grid.over_gamma = Over::of(grid.axes, gamma.dims, 1, 1, 1, &fits);
  grid.gamma = static_cast<const T*>(gamma.data);
  const int64_t n = grid.problem.n, m = grid.problem.m, features = grid.problem.features;
  T** to[5] = {&grid.wanted.x, &grid.wanted.y, &grid.wanted.entropy, &grid.wanted.prices, &grid.wanted.cells};
  const std::vector<int64_t> shapes[5] = {{n, grid.given() ? m : features}, {m, features}, {}, {4}, {n, m}};
  for (int k = 0; k < 5; k++) {
    if (!(asked >> k & 1)) continue;
    fits = fits && has_shape(found[k], values, shapes[k]);
    *to[k] = static_cast<T*>(found[k].data);
  }
  fits = fits && (!grid.wanted.prices || grid.prices) && !(asked & 16 && asked & 11) && !(asked & 2 && grid.given());
  call.require(fits, "shapes do not fit");
  if (!call.good() || !values.size()) return;
  grid.values = static_cast<T*>(values.data);
  evaluate_soft(call, grid);
}

// Paths as matrices of 0 and 1; NaN within the lengths of a pair without one.
template <class T>
void cells(Call& call) {
  const bool lengths = call.attribute("has_lengths");
  const Array rows = call.argument(abi::kS32, 4), values = call.argument(kType<T>, 3);
  const Array of_x = lengths ? call.argument(abi::kS32, 3) : Array(), of_y = lengths ? call.argument(abi::kS32, 3) : Array();
  const Array found = call.result(kType<T>, 5);
  if (!call.good()) return;
  const int64_t n = found.from_end(2), m = found.from_end(1), diagonals = n + m - 1;
  Axes axes;
  axes.rank = found.rank - 2;
  std::copy(found.dims, found.dims + axes.rank, axes.size);
  bool fits = rows.rank == axes.rank + 1 && values.rank == axes.rank && rows.from_end(1) == diagonals;
  if (lengths) fits = fits && of_x.rank == axes.rank && of_y.rank == axes.rank;
  call.require(fits, "numbers of axes do not fit");
  if (!call.good()) return;
  const int64_t s = found.from_end(5), a = found.from_end(4), c = found.from_end(3);
  const Over over_rows = Over::of(axes, rows.dims, s, a, c, &fits), over_values = Over::of(axes, values.dims, s, a, c, &fits);
  Over over_x, over_y;
  if (lengths) over_x = Over::of(axes, of_x.dims, s, a, c, &fits), over_y = Over::of(axes, of_y.dims, s, a, c, &fits);
  call.require(fits, "shapes do not fit");
  const int64_t pairs = axes.count();
  if (!call.good() || !pairs) return;
  share(call, double(pairs) * n * m < kWorthSharing ? 1 : call.threads(), pairs, [&](int64_t flat) {
    int64_t at[kMostAxes];
    axes.place(flat, at);
    T* to = static_cast<T*>(found.data) + flat * n * m;
    std::fill(to, to + n * m, T(0));
    const T value = static_cast<const T*>(values.data)[over_values.at(at, axes.rank)];
    if (!(value > -std::numeric_limits<T>::infinity() && value < std::numeric_limits<T>::infinity())) {
      const int64_t true_n = lengths ? Grid<T>::length(static_cast<const int32_t*>(of_x.data)[over_x.at(at, axes.rank)], int(n)) : n;
      const int64_t true_m = lengths ? Grid<T>::length(static_cast<const int32_t*>(of_y.data)[over_y.at(at, axes.rank)], int(m)) : m;
      for (int64_t i = 0; i < true_n; i++) std::fill(to + i * m, to + i * m + true_m, std::numeric_limits<T>::quiet_NaN());
      return;
    }
    const int32_t* path = static_cast<const int32_t*>(rows.data) + over_rows.at(at, axes.rank) * diagonals;
    for (int64_t p = 0; p < diagonals; p++)
      if (path[p] >= 0 && path[p] < n && p - path[p] >= 0 && p - path[p] < m) to[path[p] * m + p - path[p]] = 1;
  });
}

// The operands that tangents and gradients share: paths, and the distances along them.
template <class T>
struct Along {
  Grid<T> grid;
  Axes axes;
  Array rows, values;
  Over over_rows, over_values;

  Along(Call& call, const Array& like) {
    read(call, like, grid);
    rows = call.argument(abi::kS32, 4);
    values = call.argument(kType<T>, 3);
    if (!call.good()) return;
    bool fits = rows.rank == like.rank + 1 && values.rank == like.rank && rows.from_end(1) == grid.diagonals();
    call.require(fits, "numbers of axes do not fit");
    if (!call.good()) return;
    const int64_t s = like.from_end(3), a = like.from_end(2), c = like.from_end(1);
    over_rows = Over::of(grid.axes, rows.dims, s, a, c, &fits);
    over_values = Over::of(grid.axes, values.dims, s, a, c, &fits);
    call.require(fits, "shapes do not fit");
  }

  Walk<T> walk(int64_t flat) const {
    int64_t at[kMostAxes];
    grid.axes.place(flat, at);
    const int64_t of_x = grid.over_x.at(at, grid.axes.rank), of_y = grid.over_y.at(at, grid.axes.rank);
    Walk<T> found;
    found.model = grid.problem.model;
    found.n = grid.problem.n;
    found.m = grid.problem.m;
    found.features = grid.problem.features;
    found.x = grid.x + of_x * grid.x_size();
    found.y = grid.y + of_y * grid.y_size();
    found.rows = static_cast<const int32_t*>(rows.data) + over_rows.at(at, grid.axes.rank) * grid.diagonals();
    found.prices = grid.prices ? grid.prices + grid.over_prices.at(at, grid.axes.rank) * 4 : nullptr;
    found.true_n = grid.lengths_x ? Grid<T>::length(grid.lengths_x[grid.over_lengths_x.at(at, grid.axes.rank)], found.n) : found.n;
    found.true_m = grid.lengths_y ? Grid<T>::length(grid.lengths_y[grid.over_lengths_y.at(at, grid.axes.rank)], found.m) : found.m;
    found.value = static_cast<const T*>(values.data)[over_values.at(at, grid.axes.rank)];
    return found;
  }

  int threads(const Call& call) const {
    const double work = double(grid.axes.count()) * (grid.problem.n + grid.problem.m) * grid.problem.features;
    return work * 8 < kWorthSharing ? 1 : call.threads();
  }
};

template <class T>
void tangents(Call& call) {
  const int asked = call.attribute("asked");
  const Array out = call.result(kType<T>, 3);
  if (!call.good()) return;
  const Along<T> given(call, out);
  const Array dx = asked & 1 ? call.argument(kType<T>, 4) : Array(), dy = asked & 2 ? call.argument(kType<T>, 4) : Array();
  const Array d_prices = asked & 4 ? call.argument(kType<T>, 1) : Array();
  if (!call.good()) return;
  const Grid<T>& grid = given.grid;
  const int batch = out.rank - 3;
  bool fits = true;
  Over over_dx, over_dy, over_prices;
  const int64_t s = out.from_end(3), a = out.from_end(2), c = out.from_end(1);
  if (asked & 1) {
    fits = fits && dx.rank == batch + 4 && size_t(dx.from_end(1) * dx.from_end(2)) == grid.x_size();
    if (fits) over_dx = Over::of(grid.axes, dx.dims, s, a, 1, &fits);
  }
  if (asked & 2) {
    fits = fits && dy.rank == batch + 4 && size_t(dy.from_end(1) * dy.from_end(2)) == grid.y_size();
    if (fits) over_dy = Over::of(grid.axes, dy.dims, s, 1, c, &fits);
  }
  if (asked & 4) {
    fits = fits && d_prices.rank == batch + 1 && d_prices.from_end(1) == 4 && grid.prices;
    if (fits) over_prices = Over::of(grid.axes, d_prices.dims, 1, 1, 1, &fits);
  }
  call.require(fits, "tangents have other shapes");
  if (!call.good() || !out.size()) return;
  share(call, given.threads(call), grid.axes.count(), [&](int64_t flat) {
    int64_t at[kMostAxes];
    grid.axes.place(flat, at);
    const int rank = grid.axes.rank;
    static_cast<T*>(out.data)[flat] = best<T>().push(
        given.walk(flat), asked & 1 ? static_cast<const T*>(dx.data) + over_dx.at(at, rank) * grid.x_size() : nullptr,
        asked & 2 ? static_cast<const T*>(dy.data) + over_dy.at(at, rank) * grid.y_size() : nullptr,
        asked & 4 ? static_cast<const T*>(d_prices.data) + over_prices.at(at, rank) * 4 : nullptr);
  });
}

// Gradients. What belongs to one sequence is added up by one thread, pair after pair in their order.
template <class T>
void gradients(Call& call) {
  const int asked = call.attribute("asked");
  const Array to_x = asked & 1 ? call.result(kType<T>, 4) : Array(), to_y = asked & 2 ? call.result(kType<T>, 4) : Array();
  const Array to_prices = asked & 4 ? call.result(kType<T>, 4) : Array();
  if (!call.good()) return;
  // The axes of the pairs: those of what is asked for, with the others' own axis put in.
  const Array& one = asked & 1 ? to_x : asked & 2 ? to_y : to_prices;
  int64_t dims[kMostAxes];
  const int batch = one.rank - 4;
  std::copy(one.dims, one.dims + batch, dims);
  int64_t* last = dims + batch;
  last[0] = one.from_end(4);
  last[1] = call.attribute("pairs_a");
  last[2] = call.attribute("pairs_c");
  const Array like{kType<T>, nullptr, dims, batch + 3};
  const Along<T> given(call, like);
  const Array cotangents = call.argument(kType<T>, 3);
  if (!call.good()) return;
  const Grid<T>& grid = given.grid;
  const int64_t a = last[1], c = last[2];
  bool fits = cotangents.rank == like.rank;
  Over over;
  if (fits) over = Over::of(grid.axes, cotangents.dims, last[0], a, c, &fits);
  auto is = [&](const Array& array, int64_t middle, size_t size) {
    return array.rank == batch + 4 && std::equal(dims, dims + batch + 1, array.dims) && array.from_end(3) == middle && size_t(array.from_end(1) * array.from_end(2)) == size;
  };
  if (asked & 1) fits = fits && is(to_x, a, grid.x_size());
  if (asked & 2) fits = fits && is(to_y, c, grid.y_size());
  if (asked & 4) fits = fits && has_shape(to_prices, like, {4}) && grid.prices;
  call.require(fits, "gradients have other shapes");
  if (!call.good()) return;
  const int64_t groups = grid.axes.count() / std::max<int64_t>(1, a * c);
  auto cotangent = [&](int64_t flat) {
    int64_t at[kMostAxes];
    grid.axes.place(flat, at);
    return static_cast<const T*>(cotangents.data)[over.at(at, grid.axes.rank)];
  };
  const int threads = given.threads(call);
  if (asked & 1) std::fill_n(static_cast<T*>(to_x.data), to_x.size(), T(0));
  if (asked & 2) std::fill_n(static_cast<T*>(to_y.data), to_y.size(), T(0));
  if (!grid.axes.count()) return;
  if (asked & 1)
    share(call, threads, groups * a, [&](int64_t part) {
      T* to = static_cast<T*>(to_x.data) + part * grid.x_size();
      for (int64_t flat = part * c; flat < (part + 1) * c; flat++) best<T>().pull_x(given.walk(flat), cotangent(flat), to);
    });
  if (asked & 2)
    share(call, threads, groups * c, [&](int64_t part) {
      T* to = static_cast<T*>(to_y.data) + part * grid.y_size();
      for (int64_t k = 0; k < a; k++) {
        const int64_t flat = (part / c * a + k) * c + part % c;
        best<T>().pull_y(given.walk(flat), cotangent(flat), to);
      }
    });
  if (asked & 4)
    share(call, threads, grid.axes.count(), [&](int64_t flat) {
      best<T>().pull_prices(given.walk(flat), cotangent(flat), static_cast<T*>(to_prices.data) + flat * 4);
    });
}

// One handler: the type of its first floating-point argument decides.
abi::Error* handle(abi::Frame* frame, const char* name, int decides, void (*f32)(Call&), void (*f64)(Call&)) {
  if (Call::metadata(frame)) return nullptr;
  Call call(frame);
  try {
    if (call.type_of_argument(decides) == abi::kF64) f64(call);
    else f32(call);
    return call.status(name);
  } catch (const std::exception& error) {
    call.require(false, error.what());
    return call.status(name);
  } catch (...) {  // what levels throw is of their own
    call.require(false, "there is not enough memory");
    return call.status(name);
  }
}

}  // namespace
}  // namespace tempalign

#define TA_EXPORT extern "C" __attribute__((visibility("default")))

TA_EXPORT tempalign::abi::Error* tempalign_value(tempalign::abi::Frame* frame) {
  return tempalign::handle(frame, "value", 0, tempalign::distances<float, false>, tempalign::distances<double, false>);
}
TA_EXPORT tempalign::abi::Error* tempalign_path(tempalign::abi::Frame* frame) {
  return tempalign::handle(frame, "path", 0, tempalign::distances<float, true>, tempalign::distances<double, true>);
}
TA_EXPORT tempalign::abi::Error* tempalign_cells(tempalign::abi::Frame* frame) {
  return tempalign::handle(frame, "cells", 1, tempalign::cells<float>, tempalign::cells<double>);
}
TA_EXPORT tempalign::abi::Error* tempalign_push(tempalign::abi::Frame* frame) {
  return tempalign::handle(frame, "push", 0, tempalign::tangents<float>, tempalign::tangents<double>);
}
TA_EXPORT tempalign::abi::Error* tempalign_pull(tempalign::abi::Frame* frame) {
  return tempalign::handle(frame, "pull", 0, tempalign::gradients<float>, tempalign::gradients<double>);
}
TA_EXPORT tempalign::abi::Error* tempalign_weighted_value(tempalign::abi::Frame* frame) {
  return tempalign::handle(frame, "weighted_value", 0, tempalign::weighted_distances<float, false>, tempalign::weighted_distances<double, false>);
}
TA_EXPORT tempalign::abi::Error* tempalign_weighted_path(tempalign::abi::Frame* frame) {
  return tempalign::handle(frame, "weighted_path", 0, tempalign::weighted_distances<float, true>, tempalign::weighted_distances<double, true>);
}
TA_EXPORT tempalign::abi::Error* tempalign_weighted_push(tempalign::abi::Frame* frame) {
  return tempalign::handle(frame, "weighted_push", 0, tempalign::weighted_tangents<float>, tempalign::weighted_tangents<double>);
}
TA_EXPORT tempalign::abi::Error* tempalign_weighted_pull(tempalign::abi::Frame* frame) {
  return tempalign::handle(frame, "weighted_pull", 0, tempalign::weighted_gradients<float>, tempalign::weighted_gradients<double>);
}
TA_EXPORT tempalign::abi::Error* tempalign_soft_value(tempalign::abi::Frame* frame) {
  return tempalign::handle(frame, "soft_value", 0, tempalign::soft_minima<float, false>, tempalign::soft_minima<double, false>);
}
TA_EXPORT tempalign::abi::Error* tempalign_soft_jacobian(tempalign::abi::Frame* frame) {
  return tempalign::handle(frame, "soft_jacobian", 0, tempalign::soft_minima<float, true>, tempalign::soft_minima<double, true>);
}
TA_EXPORT const char* tempalign_level() { return tempalign::best_level().name; }
TA_EXPORT const char* tempalign_sources() { return TA_SOURCES; }
TA_EXPORT int tempalign_ffi_version() { return 1000 * tempalign::abi::kMajor + tempalign::abi::kMinor; }
