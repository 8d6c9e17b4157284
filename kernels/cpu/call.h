// One call from XLA: arguments, results and attributes, checked as they are taken. What does not fit
// is remembered as a message; the handler returns it as an error and touches nothing.
#pragma once
#include <string>
#include <string_view>

#include "abi.h"
#include "pool.h"

namespace tempalign {

constexpr int kMostAxes = 24;

struct Array {  // in row-major order
  int type = 0;
  void* data = nullptr;
  const int64_t* dims = nullptr;
  int rank = 0;

  int64_t size() const {
    int64_t n = 1;
    for (int a = 0; a < rank; a++) n *= dims[a];
    return n;
  }
  int64_t from_end(int a) const { return dims[rank - a]; }
};

class Call {
 public:
  explicit Call(abi::Frame* frame) : frame_(frame), api_(frame->api) {}

  // The next argument (result), of a type and with at least so many axes.
  Array argument(int type, int least_rank) { return next(frame_->arguments, taken_, type, least_rank, "argument"); }
  Array result(int type, int least_rank) { return next(frame_->results, returned_, type, least_rank, "result"); }
  int type_of_argument(int i) const {
    return i < frame_->arguments.size ? static_cast<abi::Buffer*>(frame_->arguments.buffers[i])->type : 0;
  }

  int32_t attribute(std::string_view name) {
    const abi::Attributes& given = frame_->attributes;
    for (int64_t i = 0; i < given.size; i++) {
      if (std::string_view(given.names[i]->data, given.names[i]->size) != name) continue;
      const auto* scalar = static_cast<abi::Scalar*>(given.values[i]);
      if (given.types[i] == abi::kScalarAttribute && scalar->type == abi::kS32) return *static_cast<int32_t*>(scalar->value);
      break;
    }
    complain("no int32 attribute " + std::string(name));
    return 0;
  }

  void require(bool condition, const char* what) {
    if (!condition) complain(what);
  }
  bool good() const { return message_.empty(); }

  // To return from a handler: null if all was as it should be.
  abi::Error* status(const char* where) {
    if (good() && (taken_ != frame_->arguments.size || returned_ != frame_->results.size)) complain("more arguments or results than expected");
    if (good()) return nullptr;
    const std::string text = std::string("tempalign ") + where + ": " + message_;
    abi::CreateError given{TA_STRUCT_SIZE(abi::CreateError, code), nullptr, text.c_str(), abi::kInvalidArgument};
    return api_->create_error(&given);
  }

  int threads() const {
    int64_t count = 1;
    abi::NumThreads given{TA_STRUCT_SIZE(abi::NumThreads, count), nullptr, frame_->context, &count};
    return drop(api_->num_threads(&given)) ? 1 : usable_threads(count);
  }

  template <class Task>
  void schedule(const Task& task) const {
    auto* copy = new Task(task);
    auto run = [](void* data) {
      auto* mine = static_cast<Task*>(data);
      (*mine)();
      delete mine;
    };
    abi::Schedule given{TA_STRUCT_SIZE(abi::Schedule, data), nullptr, frame_->context, run, copy};
    if (drop(api_->schedule(&given))) delete copy;  // there is no pool: the caller does all
  }

  // XLA asks before the first call which version we speak; true if that was all it wanted.
  static bool metadata(abi::Frame* frame) {
    if (!frame->extensions || frame->extensions->type != abi::kMetadataExtension) return false;
    abi::Metadata* found = reinterpret_cast<abi::MetadataExtension*>(frame->extensions)->metadata;
    found->api_version.major_version = abi::kMajor;
    found->api_version.minor_version = abi::kMinor;
    found->traits = 0;
    return true;
  }

 private:
  Array next(const abi::Buffers& from, int64_t& taken, int type, int least_rank, const char* what) {
    const std::string which = std::string(what) + " " + std::to_string(taken);
    if (taken >= from.size) {
      complain(which + " is missing");
      return {};
    }
    const auto* b = static_cast<abi::Buffer*>(from.buffers[taken++]);
    if (b->type != type) complain(which + " has another type");
    if (b->rank < least_rank || b->rank > kMostAxes) complain(which + " has " + std::to_string(b->rank) + " axes");
    if (!good()) return {};
    return {b->type, b->data, b->dims, int(b->rank)};
  }
  void complain(const std::string& message) {
    if (message_.empty()) message_ = message;
  }
  bool drop(abi::Error* error) const {
    if (!error) return false;
    abi::DestroyError given{TA_STRUCT_SIZE(abi::DestroyError, error), nullptr, error};
    api_->destroy_error(&given);
    return true;
  }

  abi::Frame* frame_;
  const abi::Api* api_;
  int64_t taken_ = 0, returned_ = 0;
  std::string message_;
};

}  // namespace tempalign
