// The PTX of wgmma.mma_async. There is one specialisation per width, since inline assembly names every register. For
// another width N, add one line at the end, with the numbers of the operands that follow the N / 2 accumulators.
#pragma once
#include "mma.h"

namespace convgpu::ptx {

// clang-format off
#define CONVGPU_REGISTERS_4 "%0, %1, %2, %3"
#define CONVGPU_REGISTERS_8 CONVGPU_REGISTERS_4 ", %4, %5, %6, %7"
#define CONVGPU_REGISTERS_16 CONVGPU_REGISTERS_8 ", %8, %9, %10, %11, %12, %13, %14, %15"
#define CONVGPU_REGISTERS_32 CONVGPU_REGISTERS_16 \
    ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define CONVGPU_REGISTERS_48 CONVGPU_REGISTERS_32 \
    ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
#define CONVGPU_REGISTERS_64 CONVGPU_REGISTERS_48 \
    ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define CONVGPU_REGISTERS_96 CONVGPU_REGISTERS_64 \
    ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, %83, " \
    "%84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
#define CONVGPU_REGISTERS_128 CONVGPU_REGISTERS_96 \
    ", %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, %112, " \
    "%113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"

#define CONVGPU_D4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define CONVGPU_D16(i) CONVGPU_D4(i), CONVGPU_D4(i + 4), CONVGPU_D4(i + 8), CONVGPU_D4(i + 12)
#define CONVGPU_ACCUMULATORS_4 CONVGPU_D4(0)
#define CONVGPU_ACCUMULATORS_8 CONVGPU_D4(0), CONVGPU_D4(4)
#define CONVGPU_ACCUMULATORS_16 CONVGPU_D16(0)
#define CONVGPU_ACCUMULATORS_32 CONVGPU_D16(0), CONVGPU_D16(16)
#define CONVGPU_ACCUMULATORS_48 CONVGPU_ACCUMULATORS_32, CONVGPU_D16(32)
#define CONVGPU_ACCUMULATORS_64 CONVGPU_ACCUMULATORS_48, CONVGPU_D16(48)
#define CONVGPU_ACCUMULATORS_96 CONVGPU_ACCUMULATORS_64, CONVGPU_D16(64), CONVGPU_D16(80)
#define CONVGPU_ACCUMULATORS_128 CONVGPU_ACCUMULATORS_96, CONVGPU_D16(96), CONVGPU_D16(112)
// clang-format on

// TYPES ends the instruction's name. A is one descriptor or four registers. SCALE is the operand that says whether d is
// added to the product. MAJOR are the immediates that say which operands are MN-major. The factors' signs stand before
// these, and are always 1.
#define CONVGPU_WGMMA_ASM(N, R, TYPES, A, B, SCALE, MAJOR, ...)                                \
    asm volatile("{\n.reg .pred accumulate;\nsetp.ne.b32 accumulate, " SCALE                   \
                 ", 0;\nwgmma.mma_async.sync.aligned.m64n" #N TYPES " {" CONVGPU_REGISTERS_##R \
                 "}, " A ", " B ", accumulate, 1, 1" MAJOR ";\n}"                              \
                 : CONVGPU_ACCUMULATORS_##R                                                    \
                 : __VA_ARGS__)

template <int N>
struct WgmmaPtx;

// P0, P1, ... are the numbers of the operands that follow the R accumulators.
#define CONVGPU_WGMMA(N, R, P0, P1, P2, P3, P4, P5, P6)                                                              \
    template <>                                                                                                      \
    struct WgmmaPtx<N> {                                                                                             \
        template <class T, bool AMnMajor, bool BMnMajor>                                                             \
        static __device__ __forceinline__ void run(float (&d)[R], uint64_t a, uint64_t b, int accumulate) {          \
            if constexpr (std::is_same_v<T, __nv_bfloat16>) {                                                        \
                CONVGPU_WGMMA_ASM(N, R, "k16.f32.bf16.bf16", "%" #P0, "%" #P1, "%" #P2, ", %" #P3 ", %" #P4, "l"(a), \
                                  "l"(b), "r"(accumulate), "n"(int(AMnMajor)), "n"(int(BMnMajor)));                  \
            } else if constexpr (std::is_same_v<T, __half>) {                                                        \
                CONVGPU_WGMMA_ASM(N, R, "k16.f32.f16.f16", "%" #P0, "%" #P1, "%" #P2, ", %" #P3 ", %" #P4, "l"(a),   \
                                  "l"(b), "r"(accumulate), "n"(int(AMnMajor)), "n"(int(BMnMajor)));                  \
            } else {                                                                                                 \
                CONVGPU_WGMMA_ASM(N, R, "k8.f32.tf32.tf32", "%" #P0, "%" #P1, "%" #P2, "", "l"(a), "l"(b),           \
                                  "r"(accumulate));                                                                  \
            }                                                                                                        \
        }                                                                                                            \
        template <class T, bool BMnMajor>                                                                            \
        static __device__ __forceinline__ void run(float (&d)[R], const uint32_t (&a)[4], uint64_t b,                \
                                                   int accumulate) {                                                 \
            constexpr int b_major = BMnMajor;                                                                        \
            if constexpr (std::is_same_v<T, __nv_bfloat16>) {                                                        \
                CONVGPU_WGMMA_ASM(N, R, "k16.f32.bf16.bf16", "{%" #P0 ", %" #P1 ", %" #P2 ", %" #P3 "}", "%" #P4,    \
                                  "%" #P5, ", %" #P6, "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b),            \
                                  "r"(accumulate), "n"(b_major));                                                    \
            } else if constexpr (std::is_same_v<T, __half>) {                                                        \
                CONVGPU_WGMMA_ASM(N, R, "k16.f32.f16.f16", "{%" #P0 ", %" #P1 ", %" #P2 ", %" #P3 "}", "%" #P4,      \
                                  "%" #P5, ", %" #P6, "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b),            \
                                  "r"(accumulate), "n"(b_major));                                                    \
            } else {                                                                                                 \
                CONVGPU_WGMMA_ASM(N, R, "k8.f32.tf32.tf32", "{%" #P0 ", %" #P1 ", %" #P2 ", %" #P3 "}", "%" #P4,     \
                                  "%" #P5, "", "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate)); \
            }                                                                                                        \
        }                                                                                                            \
    };

CONVGPU_WGMMA(8, 4, 4, 5, 6, 7, 8, 9, 10)
CONVGPU_WGMMA(16, 8, 8, 9, 10, 11, 12, 13, 14)
CONVGPU_WGMMA(32, 16, 16, 17, 18, 19, 20, 21, 22)
CONVGPU_WGMMA(64, 32, 32, 33, 34, 35, 36, 37, 38)
CONVGPU_WGMMA(96, 48, 48, 49, 50, 51, 52, 53, 54)
CONVGPU_WGMMA(128, 64, 64, 65, 66, 67, 68, 69, 70)
CONVGPU_WGMMA(192, 96, 96, 97, 98, 99, 100, 101, 102)
CONVGPU_WGMMA(256, 128, 128, 129, 130, 131, 132, 133, 134)

#undef CONVGPU_WGMMA
#undef CONVGPU_WGMMA_ASM
#undef CONVGPU_D4
#undef CONVGPU_D16
#undef CONVGPU_REGISTERS_4
#undef CONVGPU_ACCUMULATORS_4
#undef CONVGPU_REGISTERS_8
#undef CONVGPU_ACCUMULATORS_8
#undef CONVGPU_REGISTERS_16
#undef CONVGPU_ACCUMULATORS_16
#undef CONVGPU_REGISTERS_32
#undef CONVGPU_ACCUMULATORS_32
#undef CONVGPU_REGISTERS_48
#undef CONVGPU_ACCUMULATORS_48
#undef CONVGPU_REGISTERS_64
#undef CONVGPU_ACCUMULATORS_64
#undef CONVGPU_REGISTERS_96
#undef CONVGPU_ACCUMULATORS_96
#undef CONVGPU_REGISTERS_128
#undef CONVGPU_ACCUMULATORS_128

}  // namespace convgpu::ptx
