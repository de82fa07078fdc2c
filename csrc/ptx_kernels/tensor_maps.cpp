#include "tensor_maps.h"

#include <cuda.h>

#include <cstring>

#include "../ptx_machine/error.h"
#include "../ptx_machine/tensor_map.h"

namespace convgpu::ptx_kernels {
namespace {

// Returns 0 for a type that the machine does not have.
uint32_t bytes_of(CUtensorMapDataType type) {
    switch (type) {
        case CU_TENSOR_MAP_DATA_TYPE_UINT8:
            return 1;
        case CU_TENSOR_MAP_DATA_TYPE_UINT16:
        case CU_TENSOR_MAP_DATA_TYPE_FLOAT16:
        case CU_TENSOR_MAP_DATA_TYPE_BFLOAT16:
            return 2;
        case CU_TENSOR_MAP_DATA_TYPE_UINT32:
        case CU_TENSOR_MAP_DATA_TYPE_INT32:
        case CU_TENSOR_MAP_DATA_TYPE_FLOAT32:
            return 4;
        case CU_TENSOR_MAP_DATA_TYPE_UINT64:
        case CU_TENSOR_MAP_DATA_TYPE_INT64:
        case CU_TENSOR_MAP_DATA_TYPE_FLOAT64:
            return 8;
        default:
            return 0;
    }
}

// Sets what both kinds of maps have. Returns false for what the machine does not have.
bool describe(ptx::TensorMapOptions& o, CUtensorMapDataType type, cuuint32_t rank, void* base, const cuuint64_t* sizes,
              const cuuint64_t* strides, const cuuint32_t* steps, CUtensorMapInterleave interleave,
              CUtensorMapSwizzle swizzle, CUtensorMapFloatOOBfill fill) {
    o.element = bytes_of(type);
    o.base = reinterpret_cast<uint64_t>(base);
    if (!o.element || interleave != CU_TENSOR_MAP_INTERLEAVE_NONE || rank < 1 || rank > 5) return false;
    o.sizes.assign(sizes, sizes + rank);
    o.strides.assign(strides, strides + rank - 1);
    o.steps.assign(steps, steps + rank);
    o.nan_fill = fill != CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE;
    switch (swizzle) {
        case CU_TENSOR_MAP_SWIZZLE_NONE:
            return true;
        case CU_TENSOR_MAP_SWIZZLE_32B:
            o.swizzle_bytes = 32;
            return true;
        case CU_TENSOR_MAP_SWIZZLE_64B:
            o.swizzle_bytes = 64;
            return true;
        case CU_TENSOR_MAP_SWIZZLE_128B:
            o.swizzle_bytes = 128;
            return true;
        default:
            return false;
    }
}

// The host's code checks its maps itself, with sentences, before it calls an encoder: a code is enough here.
CUresult write(CUtensorMap* to, const ptx::TensorMapOptions& o) {
    try {
        const ptx::TensorMap map = ptx::encode(o);
        std::memset(to, 0, sizeof *to);
        std::memcpy(to, &map, sizeof map);
        return CUDA_SUCCESS;
    } catch (const ptx::Error&) {
        return CUDA_ERROR_INVALID_VALUE;
    }
}

CUresult encode_tiled(CUtensorMap* to, CUtensorMapDataType type, cuuint32_t rank, void* base, const cuuint64_t* sizes,
                      const cuuint64_t* strides, const cuuint32_t* box, const cuuint32_t* steps,
                      CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle, CUtensorMapL2promotion,
                      CUtensorMapFloatOOBfill fill) {
    ptx::TensorMapOptions o;
    if (!describe(o, type, rank, base, sizes, strides, steps, interleave, swizzle, fill))
        return CUDA_ERROR_INVALID_VALUE;
    o.box.assign(box, box + rank);
    return write(to, o);
}

CUresult encode_im2col(CUtensorMap* to, CUtensorMapDataType type, cuuint32_t rank, void* base, const cuuint64_t* sizes,
                       const cuuint64_t* strides, const int* lower, const int* upper, cuuint32_t channels,
                       cuuint32_t pixels, const cuuint32_t* steps, CUtensorMapInterleave interleave,
                       CUtensorMapSwizzle swizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill fill) {
    ptx::TensorMapOptions o;
    if (!describe(o, type, rank, base, sizes, strides, steps, interleave, swizzle, fill) || rank < 3)
        return CUDA_ERROR_INVALID_VALUE;
    o.im2col = true;
    o.lower.assign(lower, lower + rank - 2);
    o.upper.assign(upper, upper + rank - 2);
    o.channels = channels;
    o.pixels = pixels;
    return write(to, o);
}

// The compiler compares the signatures with those of the driver.
static_assert(std::is_same_v<decltype(&encode_tiled), decltype(&cuTensorMapEncodeTiled)>);
static_assert(std::is_same_v<decltype(&encode_im2col), decltype(&cuTensorMapEncodeIm2col)>);

}  // namespace

void* tensor_map_encoder(const char* name) {
    if (!std::strcmp(name, "cuTensorMapEncodeTiled")) return reinterpret_cast<void*>(&encode_tiled);
    if (!std::strcmp(name, "cuTensorMapEncodeIm2col")) return reinterpret_cast<void*>(&encode_im2col);
    return nullptr;
}

}  // namespace convgpu::ptx_kernels
