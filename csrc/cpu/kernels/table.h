// The kernels that this instruction set has, each for four dtypes.
#pragma once
#include "../dtypes.h"
#include "../kernels.h"

namespace convgpu::cpu::CONVGPU_ISA {

template <class T>
void convolve(const ConvCall& call);
template <class T>
void convolve_gather(const ConvCall& call, const Gather& gather);
template <class T>
void conv_wgrad(const WgradCall& call);
// The same of bfloat16 by units for pairs of terms (pairs.h).
void convolve_amx(const ConvCall& call);
void convolve_pairs(const ConvCall& call);
void conv_wgrad_amx(const WgradCall& call);
void conv_wgrad_pairs(const WgradCall& call);
void gemm_amx(const GemmCall& call);
void gemm_pairs(const GemmCall& call);
// These compute one channel per group, and return whether they did: if not, the general kernels are to do it.
template <class T>
bool depthwise(const ConvCall& call, const Gather& gather);
template <class T>
bool depthwise_wgrad(const WgradCall& call);
// The same along the rows of planes.
template <class T>
bool depthwise_planes(const ConvCall& call);
template <class T>
bool depthwise_wgrad_planes(const WgradCall& call);
// The same for gradients of images with few channels.
template <class T>
bool scatter(const ConvCall& call);
template <class T>
void gemm(const GemmCall& call);
template <class T>
void max_pool(const PoolCall& call);
template <class T>
void max_pool_dgrad(const PoolCall& call);
template <class T>
void max_pool_gather(const PoolCall& call);
template <class T>
void avg_pool(const PoolCall& call);
template <class T>
void avg_pool_dgrad(const PoolCall& call);
// These compute whole rows of pixels of a plane, and return whether they did.
template <class T>
bool max_pool_planes(const PoolCall& call);
template <class T>
bool max_pool_dgrad_planes(const PoolCall& call);
template <class T>
bool avg_pool_planes(const PoolCall& call);
template <class T>
bool avg_pool_dgrad_planes(const PoolCall& call);
template <class T>
void lp_pool(const PoolCall& call);
template <class T>
void lp_pool_dgrad(const PoolCall& call);
template <class T>
void lp_pool_gather(const PoolCall& call);
template <class T>
void channel_sum(const SumCall& call);
template <class T>
void activate(const ElementwiseCall& call);
template <class T>
void activate_dgrad(const ElementwiseCall& call);
template <class T>
void add_n(const ElementwiseCall& call);
template <class T>
void binary(const ElementwiseCall& call);
template <class T>
void norm_stats(const NormCall& call);
template <class T>
void norm_apply(const NormCall& call);
template <class T>
void norm_dgrad(const NormCall& call);
template <class T>
void softmax(const SoftmaxCall& call);
template <class T>
void softmax_dgrad(const SoftmaxCall& call);
template <class T>
void cross_entropy(const SoftmaxCall& call);
template <class T>
void cross_entropy_dgrad(const SoftmaxCall& call);
template <class T>
void reduce(const ReduceCall& call);
template <class T>
void sgd_step(const StepCall& call);
template <class T>
void adam_step(const StepCall& call);
template <class T>
void global_norm(const GlobalNormCall& call);
template <class T>
void cast_all(const CastCall& call);
template <class T>
void dropout(const DropoutCall& call);
template <class T>
void uniform(const DrawCall& call);
template <class T>
void normal(const DrawCall& call);
void integers(const IntegersCall& call);

#define CONVGPU_FOR_EACH_DTYPE(kernel, Call)     \
    template void kernel<Half>(const Call&);     \
    template void kernel<BFloat16>(const Call&); \
    template void kernel<float>(const Call&);    \
    template void kernel<double>(const Call&);

// In the order of DType: float16, bfloat16, float32, float64.
extern const Kernels kTable[4];
// The same with products of bfloat16 by a unit for pairs of terms.
extern const Kernels kAmxTable[4], kPairsTable[4];

}  // namespace convgpu::cpu::CONVGPU_ISA
