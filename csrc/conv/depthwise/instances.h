// The depthwise kernels of one dtype: the functions here lead from the plan to an instance of a kernel. The instances
// of each dtype are compiled in a file of their own.
#pragma once
#include "conv_wgrad_depthwise.cuh"
#include "depthwise.h"
#include "depthwise_any.cuh"
#include "depthwise_window.cuh"

namespace convgpu::conv {

template <Direction kDirection, class T, int V>
void run_window(const DepthwisePlan& plan, const T* source, const T* w, T* result, const DepthwiseProblem& p,
                const DepthwiseEpilogue<T>& epilogue, Stream stream) {
    constexpr int kWide = 8, kNarrow = 4;  // the number of columns of a thread
    if (plan.taps == 0) return launch_depthwise_any<kDirection, T, V>(source, w, result, p, epilogue, stream);
    if (plan.taps == 3 && plan.stride == 1) {
        return launch_depthwise_window<kDirection, T, V, 3, 1, kWide>(source, w, result, p, epilogue, stream);
    }
    if constexpr (V > 1) {
        if (plan.taps == 3) {
            return launch_depthwise_window<kDirection, T, V, 3, 2, kNarrow>(source, w, result, p, epilogue, stream);
        }
        if (plan.taps == 5) {
            return launch_depthwise_window<kDirection, T, V, 5, 1, kNarrow>(source, w, result, p, epilogue, stream);
        }
        if (plan.taps == 7) {
            return launch_depthwise_window<kDirection, T, V, 7, 1, kNarrow>(source, w, result, p, epilogue, stream);
        }
        if (plan.stride == 2) {
            return launch_depthwise_window<kDirection, T, V, kChunk, 2, kNarrow>(source, w, result, p, epilogue,
                                                                                 stream);
        }
    }
    launch_depthwise_window<kDirection, T, V, kChunk, 1, kNarrow>(source, w, result, p, epilogue, stream);
}

template <class T, int V, int kRows, int kTaps>
void run_wgrad(const DepthwiseWgradPlan& plan, const T* x, const T* gy, const PartOfResult<T>& gw,
               const DepthwiseProblem& p, Stream stream) {
    if (plan.stride == 1) {
        return launch_conv_wgrad_depthwise<T, V, kRows, kTaps, 1>(x, gy, gw, p, plan.work, stream);
    }
    launch_conv_wgrad_depthwise<T, V, kRows, kTaps, 2>(x, gy, gw, p, plan.work, stream);
}

#define CONVGPU_CONV_DEPTHWISE(T)                                                                                     \
    template <>                                                                                                       \
    void start_depthwise<T>(Direction direction, const DepthwisePlan& plan, const T* source, const T* w, T* result,   \
                            const DepthwiseProblem& p, const DepthwiseEpilogue<T>& epilogue, Stream stream) {         \
        constexpr int V = kVectorBytes / sizeof(T);                                                                   \
        constexpr Direction kFprop = Direction::kFprop, kDgrad = Direction::kDgrad;                                   \
        const bool fprop = direction == kFprop, vectors = plan.vector > 1;                                            \
        if (fprop && vectors) return run_window<kFprop, T, V>(plan, source, w, result, p, epilogue, stream);          \
        if (fprop) return run_window<kFprop, T, 1>(plan, source, w, result, p, epilogue, stream);                     \
        if (vectors) return run_window<kDgrad, T, V>(plan, source, w, result, p, epilogue, stream);                   \
        run_window<kDgrad, T, 1>(plan, source, w, result, p, epilogue, stream);                                       \
    }                                                                                                                 \
    template <>                                                                                                       \
    void start_depthwise_wgrad<T>(const DepthwiseWgradPlan& plan, const T* x, const T* gy, const PartOfResult<T>& gw, \
                                  const DepthwiseProblem& p, Stream stream) {                                         \
        constexpr int V = kVectorBytes / sizeof(T);                                                                   \
        if (plan.vector == 1) return launch_conv_wgrad_depthwise<T, 1, 1, 1, 0>(x, gy, gw, p, plan.work, stream);     \
        if (plan.stride == 0) return launch_conv_wgrad_depthwise<T, V, 1, 1, 0>(x, gy, gw, p, plan.work, stream);     \
        if (plan.rows == 3) return run_wgrad<T, V, 3, 3>(plan, x, gy, gw, p, stream);                                 \
        if (plan.taps == 5) return run_wgrad<T, V, 1, 5>(plan, x, gy, gw, p, stream);                                 \
        run_wgrad<T, V, 1, 4>(plan, x, gy, gw, p, stream);                                                            \
    }

}  // namespace convgpu::conv
