// The interface through which XLA calls native code ("XLA FFI", version 0.3): our own declaration of
// the structures that we touch. They are facts of a binary interface that grows at the ends of its
// structures only; tests/kernels/test_native_abi.py compares sizes and offsets with jax's header.
#pragma once
#include <cstddef>
#include <cstdint>

namespace tempalign::abi {

constexpr int kMajor = 0, kMinor = 3;  // what we speak; a framework takes this or older
constexpr int kMetadataExtension = 1;
constexpr int kInvalidArgument = 3;                      // an error code
constexpr int kPred = 1, kS32 = 4, kF32 = 11, kF64 = 12;  // types of elements
constexpr int kScalarAttribute = 3;

struct Error;
struct Context;

struct Extension {
  size_t struct_size;
  int type;
  Extension* next;
};

struct Version {
  size_t struct_size;
  Extension* extensions;
  int major_version;
  int minor_version;
};

struct Metadata {
  size_t struct_size;
  Version api_version;
  uint32_t traits;
};

struct MetadataExtension {
  Extension base;
  Metadata* metadata;
};

struct Span {
  const char* data;
  size_t size;
};

struct Scalar {
  int type;
  void* value;
};

struct Buffer {
  size_t struct_size;
  Extension* extensions;
  int type;
  void* data;
  int64_t rank;
  int64_t* dims;
};

struct Buffers {  // arguments, and results
  size_t struct_size;
  Extension* extensions;
  int64_t size;
  int* types;
  void** buffers;
};

struct Attributes {
  size_t struct_size;
  Extension* extensions;
  int64_t size;
  int* types;
  Span** names;
  void** values;
};

struct CreateError {
  size_t struct_size;
  Extension* extensions;
  const char* message;
  int code;
};

struct DestroyError {
  size_t struct_size;
  Extension* extensions;
  Error* error;
};

struct Schedule {
  size_t struct_size;
  Extension* extensions;
  Context* context;
  void (*task)(void*);
  void* data;
};

struct NumThreads {
  size_t struct_size;
  Extension* extensions;
  Context* context;
  int64_t* count;
};

struct Api {
  size_t struct_size;
  Extension* extensions;
  Version api_version;
  const void* internal;
  Error* (*create_error)(CreateError*);
  void (*not_used_1[1])();
  void (*destroy_error)(DestroyError*);
  void (*not_used_2[8])();
  Error* (*schedule)(Schedule*);
  Error* (*num_threads)(NumThreads*);
};

struct Frame {
  size_t struct_size;
  Extension* extensions;
  const Api* api;
  Context* context;
  int stage;
  Buffers arguments;
  Buffers results;
  Attributes attributes;
};

// A structure's size without what is padded after its last field: what `struct_size` counts.
#define TA_STRUCT_SIZE(type, last) (offsetof(type, last) + sizeof(type::last))

}  // namespace tempalign::abi
