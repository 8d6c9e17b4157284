// Calls of DejaVid's distance: reads operands, divides the work. See weighted.h.
#pragma once
#include "grid.h"

namespace tempalign {

// Samples x [*batch, S, A, T, F], centroids and weights [*batch, S, C, Tc, F]; what decides the paths,
// if it is not those; and true lengths [*batch, S, A, C].
template <class T>
struct Classes {
  static constexpr int kType = sizeof(T) == 4 ? abi::kF32 : abi::kF64;
  Axes axes;
  int steps = 0, frames = 0, features = 0;
  bool diagonal = true;
  const T *x = nullptr, *centroid = nullptr, *weight = nullptr, *decides[2] = {};
  const int32_t *lengths_c = nullptr, *lengths_x = nullptr;
  Over over_x, over_centroid, over_weight, over_decides[2], over_lengths_c, over_lengths_x;

  // `like`: the axes [*batch, S, A, C] of the pairs.
  Classes(Call& call, const Array& like) {
    const bool lengths = call.attribute("has_lengths"), decided = call.attribute("has_decides");
    diagonal = call.attribute("diagonal_allowed") == int(Allowed::everywhere);
    if (!call.good()) return;
    axes.rank = like.rank;
    std::copy(like.dims, like.dims + like.rank, axes.size);
    const int64_t s = like.from_end(3), a = like.from_end(2), c = like.from_end(1);
    bool fits = true;
    const Array of_x = call.argument(kType, 4);
    if (!call.good()) return;
    call.require(of_x.rank == like.rank + 1 && of_x.from_end(4) == s && of_x.from_end(3) == a, "x does not fit the results");
    if (!call.good()) return;
    over_x = Over::of(axes, of_x.dims, s, a, 1, &fits);
    x = static_cast<const T*>(of_x.data);
    frames = int(of_x.from_end(2));
    features = int(of_x.from_end(1));
    auto of_class = [&](const T** data, Over* over) {
      const Array given = call.argument(kType, 4);
      if (!call.good()) return;
      fits = fits && given.rank == like.rank + 1 && given.from_end(4) == s && given.from_end(3) == c && given.from_end(1) == features;
      if (!fits) return;
      if (!steps) steps = int(given.from_end(2));
      fits = given.from_end(2) == steps;
      *over = Over::of(axes, given.dims, s, 1, c, &fits);
      *data = static_cast<const T*>(given.data);
    };
    of_class(&centroid, &over_centroid);
    of_class(&weight, &over_weight);
    for (int k = 0; decided && k < 2; k++) of_class(&decides[k], &over_decides[k]);
    auto of_lengths = [&](const int32_t** data, Over* over) {
      const Array given = call.argument(abi::kS32, 3);
      if (!call.good()) return;
      fits = fits && given.rank == like.rank;
      if (fits) *over = Over::of(axes, given.dims, given.from_end(3), given.from_end(2), given.from_end(1), &fits);
      *data = static_cast<const int32_t*>(given.data);
    };
    if (lengths) of_lengths(&lengths_c, &over_lengths_c), of_lengths(&lengths_x, &over_lengths_x);
    if (call.good()) call.require(fits && steps > 0 && frames > 0 && features > 0, "shapes do not fit");
  }

  int diagonals() const { return steps + frames - 1; }

  Weighted<T> pair(int64_t flat, bool deciding = false) const {
    int64_t at[kMostAxes];
    axes.place(flat, at);
    const int rank = axes.rank;
    Weighted<T> one;
    one.n = lengths_c ? Grid<T>::length(lengths_c[over_lengths_c.at(at, rank)], steps) : steps;
    one.m = lengths_x ? Grid<T>::length(lengths_x[over_lengths_x.at(at, rank)], frames) : frames;
    one.features = features;
    one.diagonal = diagonal;
    const int64_t of_class = int64_t(steps) * features;
    one.x = x + over_x.at(at, rank) * frames * features;
    one.centroid = (deciding ? decides[0] : centroid) + (deciding ? over_decides[0] : over_centroid).at(at, rank) * of_class;
    one.weight = (deciding ? decides[1] : weight) + (deciding ? over_decides[1] : over_weight).at(at, rank) * of_class;
    return one;
  }

  // Threads worth asking for, where each pair visits so many cells.
  int threads(const Call& call, double cells) const {
    return double(axes.count()) * cells * features < kWorthSharing ? 1 : call.threads();
  }
};

// Distances, and paths.
template <class T, bool path>
void weighted_distances(Call& call) {
  const Array values = call.result(Classes<T>::kType, 3);
  const Array rows = path ? call.result(abi::kS32, 4) : Array();
  if (!call.good()) return;
  const Classes<T> given(call, values);
  if (!call.good()) return;
  const int diagonals = given.diagonals();
  const bool fits = !path || (rows.rank == values.rank + 1 && rows.from_end(1) == diagonals && rows.size() == values.size() * diagonals);
  call.require(fits, "the paths have another shape");
  if (!call.good() || !values.size()) return;
  const Level<T>& level = best<T>();
  const int64_t a = values.from_end(2), c = values.from_end(1), classes = values.size() / a;
  const int threads = given.threads(call, double(given.steps) * given.frames);
  // A class meets some samples after the other, so that it stays in the cache.
  const int64_t chunk = std::max<int64_t>(1, std::min<int64_t>(a, classes * a / (8 * threads)));
  const int64_t chunks = (a + chunk - 1) / chunk;
  share(call, threads, classes * chunks, [&](int64_t item) {
    const int64_t of_class = item / chunks, first = item % chunks * chunk;
    const bool decided = given.decides[0] != nullptr;
    Memory scratch(level.weighted_bytes(given.steps, given.frames, path || decided));
    std::vector<int32_t> own(path ? 0 : decided ? diagonals : 0);
    for (int64_t k = first; k < std::min(a, first + chunk); k++) {
      const int64_t flat = (of_class / c * a + k) * c + of_class % c;
      int32_t* to = path ? static_cast<int32_t*>(rows.data) + flat * diagonals : decided ? own.data() : nullptr;
      T value = level.weighted_distance(given.pair(flat, decided), diagonals, scratch.data, to);
      if (decided) value = level.weighted_along(given.pair(flat), to, diagonals);
      static_cast<T*>(values.data)[flat] = value;
    }
  });
}

// The tangents of distances.
template <class T>
void weighted_tangents(Call& call) {
  const int asked = call.attribute("asked");
  const Array out = call.result(Classes<T>::kType, 3);
  if (!call.good()) return;
  const Classes<T> given(call, out);
  const Array rows = call.argument(abi::kS32, 4);
  if (!call.good()) return;
  const int64_t s = out.from_end(3), a = out.from_end(2), c = out.from_end(1), diagonals = given.diagonals();
  const Axes& axes = given.axes;
  bool fits = rows.rank == out.rank + 1 && rows.from_end(1) == diagonals;
  Over over_rows, over[3];
  if (fits) over_rows = Over::of(axes, rows.dims, s, a, c, &fits);
  const T* moved[3] = {};
  for (int k = 0; k < 3 && fits; k++) {
    if (!(asked >> k & 1)) continue;
    const Array one = call.argument(Classes<T>::kType, 4);
    if (!call.good()) return;
    fits = one.rank == out.rank + 1 && one.from_end(2) == (k ? given.steps : given.frames) && one.from_end(1) == given.features;
    if (fits) over[k] = Over::of(axes, one.dims, s, k ? 1 : a, k ? c : 1, &fits);
    moved[k] = static_cast<const T*>(one.data);
  }
  call.require(fits, "tangents have other shapes");
  if (!call.good() || !out.size()) return;
  share(call, given.threads(call, double(diagonals)), axes.count(), [&](int64_t flat) {
    int64_t at[kMostAxes];
    axes.place(flat, at);
    auto of = [&](int k) { return moved[k] ? moved[k] + over[k].at(at, axes.rank) * (k ? given.steps : given.frames) * given.features : nullptr; };
    const int32_t* path = static_cast<const int32_t*>(rows.data) + over_rows.at(at, axes.rank) * diagonals;
    static_cast<T*>(out.data)[flat] = best<T>().weighted_push(given.pair(flat), path, int(diagonals), of(0), of(1), of(2));
  });
}

// Gradients of x, centroid and weight (bits 1, 2 and 4 of `asked`; centroid and weight come together).
// What belongs to one sequence is added up by one thread, pair after pair in their order; nobody walks
// where the cotangent is 0.
template <class T>
void weighted_gradients(Call& call) {
  const int asked = call.attribute("asked");
  const Array to_x = asked & 1 ? call.result(Classes<T>::kType, 4) : Array();
  const Array to_centroid = asked & 6 ? call.result(Classes<T>::kType, 4) : Array();
  const Array to_weight = asked & 6 ? call.result(Classes<T>::kType, 4) : Array();
  if (!call.good()) return;
  const Array& one = asked & 1 ? to_x : to_centroid;
  call.require(asked & 7, "no gradient is asked for");
  if (!call.good()) return;
  int64_t dims[kMostAxes];
  const int batch = one.rank - 4;
  std::copy(one.dims, one.dims + batch, dims);
  const int64_t s = dims[batch] = one.from_end(4), a = dims[batch + 1] = call.attribute("pairs_a"), c = dims[batch + 2] = call.attribute("pairs_c");
  const Array like{Classes<T>::kType, nullptr, dims, batch + 3};
  const Classes<T> given(call, like);
  const Array rows = call.argument(abi::kS32, 4), cotangents = call.argument(Classes<T>::kType, 3);
  if (!call.good()) return;
  const Axes& axes = given.axes;
  const int64_t diagonals = given.diagonals(), of_x = int64_t(given.frames) * given.features, of_class = int64_t(given.steps) * given.features;
  bool fits = rows.rank == like.rank + 1 && rows.from_end(1) == diagonals && cotangents.rank == like.rank;
  auto is = [&](const Array& array, int64_t middle, int64_t size) {
    return array.rank == batch + 4 && std::equal(dims, dims + batch + 1, array.dims) && array.from_end(3) == middle && array.from_end(1) * array.from_end(2) == size;
  };
  if (asked & 1) fits = fits && is(to_x, a, of_x);
  if (asked & 6) fits = fits && is(to_centroid, c, of_class) && is(to_weight, c, of_class);
  Over over_rows, over_cotangents;
  if (fits) over_rows = Over::of(axes, rows.dims, s, a, c, &fits), over_cotangents = Over::of(axes, cotangents.dims, s, a, c, &fits);
  call.require(fits, "gradients have other shapes");
  if (!call.good()) return;
  const Level<T>& level = best<T>();
  const int threads = given.threads(call, double(diagonals));
  if (asked & 1) std::fill_n(static_cast<T*>(to_x.data), to_x.size(), T(0));
  if (!axes.count()) {
    if (asked & 6) std::fill_n(static_cast<T*>(to_centroid.data), to_centroid.size(), T(0)), std::fill_n(static_cast<T*>(to_weight.data), to_weight.size(), T(0));
    return;
  }
  auto visit = [&](int64_t flat, const auto& pull) {
    int64_t at[kMostAxes];
    axes.place(flat, at);
    const T scale = static_cast<const T*>(cotangents.data)[over_cotangents.at(at, axes.rank)];
    if (scale != 0) pull(given.pair(flat), static_cast<const int32_t*>(rows.data) + over_rows.at(at, axes.rank) * diagonals, scale);
  };
  const int64_t groups = axes.count() / (a * c);
  if (asked & 6)
    share(call, threads, groups * c, [&](int64_t part) {
      T *dc = static_cast<T*>(to_centroid.data) + part * of_class, *dw = static_cast<T*>(to_weight.data) + part * of_class;
      std::fill_n(dc, of_class, T(0)), std::fill_n(dw, of_class, T(0));
      const T* weight = given.pair(part / c * a * c + part % c).weight;
      for (int64_t k = 0; k < a; k++)
        visit((part / c * a + k) * c + part % c, [&](const Weighted<T>& pair, const int32_t* path, T scale) {
          level.weighted_pull_class(pair, path, int(diagonals), scale, dc, dw);
        });
      for (int64_t f = 0; f < of_class; f++) dc[f] = dc[f] == 0 ? T(0) : dc[f] * weight[f];
    });
  if (asked & 1)
    share(call, threads, groups * a, [&](int64_t part) {
      T* dx = static_cast<T*>(to_x.data) + part * of_x;
      for (int64_t k = 0; k < c; k++)
        visit(part * c + k, [&](const Weighted<T>& pair, const int32_t* path, T scale) {
          level.weighted_pull_x(pair, path, int(diagonals), scale, dx);
        });
    });
}

}  // namespace tempalign
