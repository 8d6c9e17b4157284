// Compiled once for each level of the processor: -DTA_LEVEL=v3 -march=x86-64-v3 and so on.
#include "along.h"
#include "band.h"
#include "pair.h"
#include "pairs.h"
#include "weighted.h"

#define TA_JOIN_(a, b) a##b
#define TA_JOIN(a, b) TA_JOIN_(a, b)
#define TA_TEXT_(a) #a
#define TA_TEXT(a) TA_TEXT_(a)

namespace tempalign {
namespace TA_LEVEL {
// In soft_level.cpp.
template <class T>
double largest(const Problem<T>&, const T* numbers, bool y);
template <class T>
int soft_kind(const Problem<T>&, const Pair<T>&, double of_x, double of_y);
template <class T>
void soft_side(const Problem<T>&, const Pair<T>* pairs, int count, int kind);
template <class T>
void soft_one(const Problem<T>&, const Pair<T>&, int kind, const Sharing&);

namespace {
template <class T>
constexpr Level<T> offered = {
    Lanes<T>::size,
    all_finite<T>,
    wave_bytes<T>,
    wave_begin<T>,
    wave_strip<T>,
    wave_end<T>,
    band_bytes<T>,
    band_run<T>,
    block_bytes<T>,
    block_pack<T>,
    block_run<T>,
    {TA_BYTES / int(sizeof(T)), TA_BYTES / 8},
    largest<T>,
    soft_kind<T>,
    soft_side<T>,
    soft_one<T>,
    push<T>,
    pull_x<T>,
    pull_y<T>,
    pull_prices<T>,
    weighted_bytes<T>,
    weighted_distance<T>,
    weighted_along<T>,
    weighted_push<T>,
    weighted_pull_class<T>,
    weighted_pull_x<T>,
};
}  // namespace
}  // namespace TA_LEVEL

extern const Levels TA_JOIN(level_, TA_LEVEL);
const Levels TA_JOIN(level_, TA_LEVEL) = {TA_TEXT(TA_LEVEL), TA_LEVEL::offered<float>, TA_LEVEL::offered<double>};
}  // namespace tempalign
