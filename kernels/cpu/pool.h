// Work shared between the calling thread and a pool. Nobody waits for a task that has not begun: the
// caller works through the items itself, so that a busy pool costs time and cannot block. (A handler
// may run on the pool itself; to schedule and wait there deadlocks.)
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>

namespace tempalign {

// Threads worth asking for: the pool has one for each device as well, however few cores there are.
inline int usable_threads(int64_t pool) {
  static const int64_t cores = [] {
    const int64_t found = std::thread::hardware_concurrency();
    return found < 1 ? 1 : found;
  }();
  return int(pool < cores ? pool : cores);
}

// Calls body(item) for items 0..count-1, each by one thread, begun in ascending order.
// `pool.schedule(task)` may run the task at any time, also after this has returned, or never.
template <class Pool, class Body>
void share(const Pool& pool, int threads, int64_t count, const Body& body) {
  if (threads > count) threads = int(count);
  if (threads <= 1) {
    for (int64_t i = 0; i < count; i++) body(i);
    return;
  }
  struct State {
    std::atomic<int64_t> next{0};
    int64_t done = 0;
    std::mutex mutex;
    std::condition_variable finished;
  };
  auto state = std::make_shared<State>();  // outlives the call in tasks that begin late
  const Body* work = &body;                // touched only by who got an item
  auto run = [state, work, count] {
    int64_t mine = 0;
    for (int64_t i; (i = state->next.fetch_add(1)) < count; mine++) (*work)(i);
    if (!mine) return;
    std::lock_guard<std::mutex> lock(state->mutex);
    state->done += mine;
    if (state->done == count) state->finished.notify_one();
  };
  for (int t = 1; t < threads; t++) pool.schedule(run);
  run();
  std::unique_lock<std::mutex> lock(state->mutex);
  state->finished.wait(lock, [&] { return state->done == count; });
}

}  // namespace tempalign
