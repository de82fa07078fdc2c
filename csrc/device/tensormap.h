// Makes tensor maps. Under nvcc it calls the driver's encoder, which is found at run time, so that nothing links
// libcuda. Elsewhere it calls the emulator's.
#pragma once
#include "launch.h"
#include "tensor_layout.h"
#ifdef __CUDACC__
#include <cuda.h>
#endif

namespace convgpu {

#ifdef __CUDACC__

using TensorMap = CUtensorMap;

namespace tensor_layout {

// Returns cuTensorMapEncodeTiled or cuTensorMapEncodeIm2col. `Function` is its type.
template <class Function>
Function driver_entry(const char* name) {
    void* entry = nullptr;
    cudaDriverEntryPointQueryResult found;
    check_cuda(cudaGetDriverEntryPointByVersion(name, &entry, 12000, cudaEnableDefault, &found), name);
    if (found != cudaDriverEntryPointSuccess) throw std::runtime_error(std::string(name) + ": the driver is too old");
    return reinterpret_cast<Function>(entry);
}

inline CUtensorMapDataType data_type(ElementType t) {
    switch (t) {
        case ElementType::kUint8:
            return CU_TENSOR_MAP_DATA_TYPE_UINT8;
        case ElementType::kFloat16:
            return CU_TENSOR_MAP_DATA_TYPE_FLOAT16;
        case ElementType::kBFloat16:
            return CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
        case ElementType::kFloat32:
            return CU_TENSOR_MAP_DATA_TYPE_FLOAT32;
        default:
            return CU_TENSOR_MAP_DATA_TYPE_FLOAT64;
    }
}

inline CUtensorMapSwizzle swizzle(Swizzle s) {
    switch (s) {
        case Swizzle::k128B:
            return CU_TENSOR_MAP_SWIZZLE_128B;
        case Swizzle::k64B:
            return CU_TENSOR_MAP_SWIZZLE_64B;
        case Swizzle::k32B:
            return CU_TENSOR_MAP_SWIZZLE_32B;
        default:
            return CU_TENSOR_MAP_SWIZZLE_NONE;
    }
}

inline CUtensorMapFloatOOBfill fill(Fill f) {
    return f == Fill::kNaN ? CU_TENSOR_MAP_FLOAT_OOB_FILL_NAN_REQUEST_ZERO_FMA : CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE;
}

template <class Layout>
void check_encoded(CUresult result, const char* name, const Layout& layout) {
    if (result == CUDA_SUCCESS) return;
    throw std::runtime_error(std::string(name) + ": CUresult " + std::to_string(result) + " for " + text_of(layout));
}

}  // namespace tensor_layout

inline TensorMap encode(const TiledLayout& l) {
    check(l);
    using Encode = decltype(&cuTensorMapEncodeTiled);
    static const auto encode_tiled = tensor_layout::driver_entry<Encode>("cuTensorMapEncodeTiled");
    TensorMap map;
    tensor_layout::check_encoded(
        encode_tiled(&map, tensor_layout::data_type(l.tensor.type), l.tensor.rank, const_cast<void*>(l.tensor.base),
                     l.tensor.size.data(), l.tensor.stride.data() + 1, l.box.data(), l.step.data(),
                     CU_TENSOR_MAP_INTERLEAVE_NONE, tensor_layout::swizzle(l.swizzle),
                     CU_TENSOR_MAP_L2_PROMOTION_L2_256B, tensor_layout::fill(l.fill)),
        "cuTensorMapEncodeTiled", l);
    return map;
}

inline TensorMap encode(const Im2colLayout& l) {
    check(l);
    using Encode = decltype(&cuTensorMapEncodeIm2col);
    static const auto encode_im2col = tensor_layout::driver_entry<Encode>("cuTensorMapEncodeIm2col");
    TensorMap map;
    tensor_layout::check_encoded(
        encode_im2col(&map, tensor_layout::data_type(l.tensor.type), l.tensor.rank, const_cast<void*>(l.tensor.base),
                      l.tensor.size.data(), l.tensor.stride.data() + 1, l.lower.data(), l.upper.data(), l.channels,
                      l.pixels, l.step.data(), CU_TENSOR_MAP_INTERLEAVE_NONE, tensor_layout::swizzle(l.swizzle),
                      CU_TENSOR_MAP_L2_PROMOTION_L2_256B, tensor_layout::fill(l.fill)),
        "cuTensorMapEncodeIm2col", l);
    return map;
}

#else

using emulator::encode;

#endif

}  // namespace convgpu
