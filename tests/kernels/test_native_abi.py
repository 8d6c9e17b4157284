"""Our declaration of XLA's interface is that of the installed jax's header: sizes and offsets."""

import pathlib
import shutil
import subprocess

import jax
import pytest

CPU = pathlib.Path(__file__).parents[2] / "kernels" / "cpu"
INCLUDE = pathlib.Path(jax.ffi.include_dir())

# Ours: (theirs, {our field: their field}).
STRUCTS = {
    "Extension": ("Extension_Base", {"struct_size": "struct_size", "type": "type", "next": "next"}),
    "Version": (
        "Api_Version",
        {"major_version": "major_version", "minor_version": "minor_version"},
    ),
    "Metadata": ("Metadata", {"api_version": "api_version", "traits": "traits"}),
    "MetadataExtension": ("Metadata_Extension", {"base": "extension_base", "metadata": "metadata"}),
    "Span": ("ByteSpan", {"data": "ptr", "size": "len"}),
    "Scalar": ("Scalar", {"type": "dtype", "value": "value"}),
    "Buffer": ("Buffer", {"type": "dtype", "data": "data", "rank": "rank", "dims": "dims"}),
    "Attributes": (
        "Attrs",
        {"size": "size", "types": "types", "names": "names", "values": "attrs"},
    ),
    "CreateError": ("Error_Create_Args", {"message": "message", "code": "errc"}),
    "DestroyError": ("Error_Destroy_Args", {"error": "error"}),
    "Schedule": (
        "ThreadPool_Schedule_Args",
        {"context": "ctx", "task": "task", "data": "data"},
    ),
    "NumThreads": ("ThreadPool_NumThreads_Args", {"context": "ctx", "count": "num_threads"}),
    "Api": (
        "Api",
        {
            "api_version": "api_version",
            "internal": "internal_api",
            "create_error": "XLA_FFI_Error_Create",
            "destroy_error": "XLA_FFI_Error_Destroy",
            "schedule": "XLA_FFI_ThreadPool_Schedule",
            "num_threads": "XLA_FFI_ThreadPool_NumThreads",
        },
    ),
    "Frame": (
        "CallFrame",
        {
            "extensions": "extension_start",
            "api": "api",
            "context": "ctx",
            "stage": "stage",
            "arguments": "args",
            "results": "rets",
            "attributes": "attrs",
        },
    ),
}
CONSTANTS = {
    "kMetadataExtension": "Extension_Metadata",
    "kInvalidArgument": "Error_Code_INVALID_ARGUMENT",
    "kPred": "DataType_PRED",
    "kS32": "DataType_S32",
    "kF32": "DataType_F32",
    "kF64": "DataType_F64",
    "kScalarAttribute": "AttrType_SCALAR",
}


def assertions():
    header = (INCLUDE / "xla" / "ffi" / "api" / "c_api.h").read_text()
    for ours, (theirs, fields) in STRUCTS.items():
        if theirs == "Extension_Base" and "XLA_FFI_Extension_Base" not in header:
            theirs = "InternalExtension"  # its name from version 0.5 on
        for field, other in fields.items():
            yield f"offsetof(abi::{ours}, {field}) == offsetof(XLA_FFI_{theirs}, {other})"
            yield f"sizeof(abi::{ours}::{field}) == sizeof(XLA_FFI_{theirs}::{other})"
    for theirs, buffers in (("Args", "args"), ("Rets", "rets")):
        for field, other in (("size", "size"), ("types", "types"), ("buffers", buffers)):
            yield f"offsetof(abi::Buffers, {field}) == offsetof(XLA_FFI_{theirs}, {other})"
        yield f"sizeof(abi::Buffers) == sizeof(XLA_FFI_{theirs})"
    for ours in ("Span", "Scalar", "Buffer", "Attributes", "Version", "Extension"):
        theirs = STRUCTS[ours][0]
        if theirs == "Extension_Base" and "XLA_FFI_Extension_Base" not in header:
            theirs = "InternalExtension"
        yield f"sizeof(abi::{ours}) == sizeof(XLA_FFI_{theirs})"
    for ours, last, theirs in (
        ("CreateError", "code", "Error_Create_Args"),
        ("DestroyError", "error", "Error_Destroy_Args"),
        ("Schedule", "data", "ThreadPool_Schedule_Args"),
        ("NumThreads", "count", "ThreadPool_NumThreads_Args"),
    ):
        yield f"TA_STRUCT_SIZE(abi::{ours}, {last}) == XLA_FFI_{theirs}_STRUCT_SIZE"
    for ours, theirs in CONSTANTS.items():
        yield f"abi::{ours} == int(XLA_FFI_{theirs})"
    yield "abi::kMajor == XLA_FFI_API_MAJOR"
    yield "abi::kMinor <= XLA_FFI_API_MINOR"


def test_our_declaration_is_that_of_jax(tmp_path):
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("there is no C++ compiler here")
    program = tmp_path / "abi.cpp"
    lines = ['#include "abi.h"', '#include "xla/ffi/api/c_api.h"', "using namespace tempalign;"]
    lines += [f'static_assert({one}, "");' for one in assertions()]
    program.write_text("\n".join(lines))
    command = [compiler, "-std=c++17", "-fsyntax-only", f"-I{CPU}", "-isystem", str(INCLUDE)]
    made = subprocess.run([*command, str(program)], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
