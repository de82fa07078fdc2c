// The kernels of one instruction set and one dtype, as launchers call them: a table of functions.
#pragma once
#include "calls/conv.h"
#include "calls/elementwise.h"
#include "calls/gemm.h"
#include "calls/norm.h"
#include "calls/optim.h"
#include "calls/pool.h"
#include "calls/random.h"
#include "calls/reduce.h"
#include "calls/softmax.h"

namespace convgpu::cpu {

struct Kernels {
    void (*convolve)(const ConvCall&);
    void (*conv_wgrad)(const WgradCall&);
    void (*gemm)(const GemmCall&);
    void (*max_pool)(const PoolCall&);
    void (*max_pool_dgrad)(const PoolCall&);
    void (*max_pool_gather)(const PoolCall&);
    void (*avg_pool)(const PoolCall&);
    void (*avg_pool_dgrad)(const PoolCall&);
    void (*lp_pool)(const PoolCall&);
    void (*lp_pool_dgrad)(const PoolCall&);
    void (*lp_pool_gather)(const PoolCall&);
    void (*channel_sum)(const SumCall&);
    void (*activate)(const ElementwiseCall&);
    void (*activate_dgrad)(const ElementwiseCall&);
    void (*add_n)(const ElementwiseCall&);
    void (*binary)(const ElementwiseCall&);
    void (*norm_stats)(const NormCall&);
    void (*norm_apply)(const NormCall&);
    void (*norm_dgrad)(const NormCall&);
    void (*softmax)(const SoftmaxCall&);
    void (*softmax_dgrad)(const SoftmaxCall&);
    void (*cross_entropy)(const SoftmaxCall&);
    void (*cross_entropy_dgrad)(const SoftmaxCall&);
    void (*reduce)(const ReduceCall&);
    void (*sgd_step)(const StepCall&);
    void (*adam_step)(const StepCall&);
    void (*global_norm)(const GlobalNormCall&);
    void (*cast_all)(const CastCall&);
    void (*dropout)(const DropoutCall&);
    void (*uniform)(const DrawCall&);
    void (*normal)(const DrawCall&);
    void (*integers)(const IntegersCall&);
};

}  // namespace convgpu::cpu
