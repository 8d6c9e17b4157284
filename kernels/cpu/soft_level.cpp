// The soft minimum of a level, compiled apart from the rest: with -O2, which is as fast here and a third
// sooner compiled.
#include "soft_level.h"

namespace tempalign::TA_LEVEL {
template double largest(const Problem<float>&, const float*, bool);
template double largest(const Problem<double>&, const double*, bool);
template int soft_kind(const Problem<float>&, const Pair<float>&, double, double);
template int soft_kind(const Problem<double>&, const Pair<double>&, double, double);
template void soft_side(const Problem<float>&, const Pair<float>*, int, int);
template void soft_side(const Problem<double>&, const Pair<double>*, int, int);
template void soft_one(const Problem<float>&, const Pair<float>&, int, const Sharing&);
template void soft_one(const Problem<double>&, const Pair<double>&, int, const Sharing&);
}  // namespace tempalign::TA_LEVEL
