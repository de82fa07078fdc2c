// Cooperative groups, and atomics that a warp makes together.
#include <cooperative_groups.h>
#include <cooperative_groups/reduce.h>
using namespace cooperative_groups;
extern "C" __global__ void total(const float* in, float* out, int n) {
    thread_block b = this_thread_block();
    thread_block_tile<32> w = tiled_partition<32>(b);
    __shared__ float part[32];
    float v = 0;
    for (int i = b.group_index().x * b.size() + b.thread_rank(); i < n; i += b.size() * gridDim.x) v += in[i];
    v = reduce(w, v, plus<float>());
    if (w.thread_rank() == 0) part[w.meta_group_rank()] = v;
    sync(b);
    if (w.meta_group_rank() == 0) {
        v = w.thread_rank() < w.meta_group_size() ? part[w.thread_rank()] : 0.f;
        v = reduce(w, v, plus<float>());
        if (w.thread_rank() == 0) atomicAdd(out, v);
    }
}

__device__ int atomicAggInc(int* c) {
    auto g = coalesced_threads();
    int w;
    if (g.thread_rank() == 0) w = atomicAdd(c, g.size());
    return g.thread_rank() + g.shfl(w, 0);
}
extern "C" __global__ void filter(int* dst, int* nres, const int* src, int n) {
    for (int i = threadIdx.x + blockIdx.x * blockDim.x; i < n; i += blockDim.x * gridDim.x)
        if (src[i] > 0) dst[atomicAggInc(nres)] = src[i];
}
__device__ int agg(int* c) {
    unsigned m = __activemask(), r;
    int lead = __ffs(m) - 1;
    asm("mov.u32 %0, %%lanemask_lt;" : "=r"(r));
    int base;
    if ((threadIdx.x & 31) == lead) base = atomicAdd(c, __popc(m));
    base = __shfl_sync(m, base, lead);
    return base + __popc(m & r);
}
extern "C" __global__ void filter2(int* dst, int* nres, const int* src, int n) {
    int i = threadIdx.x + blockIdx.x * blockDim.x;
    if (i < n && src[i] > 0) dst[agg(nres)] = src[i];
}
extern "C" __global__ void match(const int* v, int* out) {
    int i = threadIdx.x;
    out[i] = __match_any_sync(~0u, v[i]);
}
