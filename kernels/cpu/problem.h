// What the kernels of a level are given, and what a level offers: plain data and plain functions. No
// template and no inline function outside of a level's namespace may be compiled in a level: the
// linker would keep one of the three for all.
#pragma once
#include <cstddef>
#include <cstdint>

#include "model.h"

namespace tempalign {

template <class T>
struct Problem {  // of all pairs of a call
  Model model;
  int n, m, features;  // of the arrays; a row of given costs has m numbers
  bool path;           // whether the path is wanted
};

template <class T>
struct Wanted {  // of a soft minimum, beside its value; what is null is not
  T* x;        // d value / d x [n, F], or d value / d cost [n, m] of given costs
  T* y;        // d value / d y [m, F]
  T* entropy;  // of the distribution over paths
  T* prices;   // d value / d weights and penalty [4]
  T* cells;    // expected visits [n, m]; not together with x, y or prices

  TA_INLINE bool any() const { return x || y || entropy || prices || cells; }
};

template <class T>
struct Pair {
  const T* x;           // [n, F], or given costs [n, m]
  const T* y;           // [m, F]
  const uint8_t* mask;  // [n, m], or null
  const T* prices;      // weights of row, column and diagonal, and the penalty; or null
  int n, m;             // true lengths
  bool finite;          // whether all numbers in x and y are
  T* value;
  int32_t* rows;        // [n + m - 1] of the arrays, where the path is wanted
  T gamma;              // temperature of the soft minimum
  Wanted<T> wanted;
};

// How strips of one pair are shared between threads: null where the caller works alone.
struct Sharing {
  const void* pool;
  int threads;
  void (*share)(const void* pool, int threads, int64_t count, void (*body)(const void*, int64_t), const void* data);
};

// Of the two kinds of exponents (see exponent.h), and `vast` beyond both.
constexpr int kNarrow = 0, kWide = 1, kVast = 2;

// Sums along a path, see along.h.
template <class T>
struct Walk {
  Model model;
  int n, m, features;
  const T* x;
  const T* y;
  const int32_t* rows;
  const T* prices;
  int true_n, true_m;
  T value;  // of the distance; what is not finite has no derivative
};

// A pair of DejaVid's, see weighted.h.
template <class T>
struct Weighted {
  int n, m, features;  // true lengths of centroid and sample
  bool diagonal;       // whether the diagonal move is allowed
  const T *x, *centroid, *weight;
};

template <class T>
struct Level {
  int lanes;
  bool (*all_finite)(const T* numbers, size_t count);
  // One pair, as strips of rows that follow each other.
  size_t (*wave_bytes)(const Problem<T>&, const Pair<T>&);
  int (*wave_begin)(const Problem<T>&, const Pair<T>&, void* scratch);  // how many strips there are
  void (*wave_strip)(void* scratch, int strip);
  void (*wave_end)(void* scratch);
  // One pair in a narrow band; 0 bytes where strips must serve.
  size_t (*band_bytes)(const Problem<T>&, const Pair<T>&);
  void (*band_run)(const Problem<T>&, const Pair<T>&, void* scratch);
  // Pairs side by side, at most `lanes` of them.
  size_t (*block_bytes)(const Problem<T>&);
  void (*block_pack)(const Problem<T>&, const Pair<T>* pairs, int count, bool y, T* packed);
  void (*block_run)(const Problem<T>&, const Pair<T>* pairs, int count, const T* shared_x,
                    const T* packed_x, const T* packed_y, void* scratch);
  // Soft minima.
  int soft_lanes[2];  // pairs side by side, by kind of exponents
  double (*largest)(const Problem<T>&, const T* numbers, bool y);  // what `soft_kind` wants to know of a sequence, or matrix
  int (*soft_kind)(const Problem<T>&, const Pair<T>&, double of_x, double of_y);
  void (*soft_side)(const Problem<T>&, const Pair<T>* pairs, int count, int kind);
  void (*soft_one)(const Problem<T>&, const Pair<T>&, int kind, const Sharing&);
  // Along paths.
  T (*push)(const Walk<T>&, const T* dx, const T* dy, const T* d_prices);
  void (*pull_x)(const Walk<T>&, T cotangent, T* to_x);
  void (*pull_y)(const Walk<T>&, T cotangent, T* to_y);
  void (*pull_prices)(const Walk<T>&, T cotangent, T* to_prices);
  // DejaVid's distance, and along its paths.
  size_t (*weighted_bytes)(int n, int m, bool path);
  T (*weighted_distance)(const Weighted<T>&, int diagonals, void* scratch, int32_t* rows);
  T (*weighted_along)(const Weighted<T>&, const int32_t* rows, int diagonals);
  T (*weighted_push)(const Weighted<T>&, const int32_t* rows, int diagonals, const T* dx, const T* d_centroid, const T* d_weight);
  void (*weighted_pull_class)(const Weighted<T>&, const int32_t* rows, int diagonals, T scale, T* to_centroid, T* to_weight);
  void (*weighted_pull_x)(const Weighted<T>&, const int32_t* rows, int diagonals, T scale, T* to_x);
};

struct Levels {
  const char* name;
  Level<float> f32;
  Level<double> f64;
};

}  // namespace tempalign
