// Kernels of test_ptx_hopper.py. Where FAULT or another macro is defined, a fault is planted.
#ifndef MORE
#define MORE 0
#endif
struct alignas(64) Map {
    char bytes[128];
};
typedef unsigned int u32;
typedef unsigned long long u64;
typedef unsigned short u16;
__device__ u32 shared_at(const void* p) { return (u32)__cvta_generic_to_shared(p); }
__device__ void init(u64* bar, u32 n) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_at(bar)), "r"(n) : "memory");
}
__device__ void expect(u64* bar, u32 bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_at(bar)), "r"(bytes) : "memory");
}
__device__ void arrive(u64* bar) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_at(bar)) : "memory");
}
__device__ void wait(u64* bar, u32 parity) {
    asm volatile(
        "{ .reg .pred p; W: mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1; @!p bra W; }" ::"r"(shared_at(bar)),
        "r"(parity)
        : "memory");
}
__device__ void fence_proxy() { asm volatile("fence.proxy.async;" ::: "memory"); }
__device__ void load_2d(void* to, const Map* map, u64* bar, int x, int y) {
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];" ::"r"(
            shared_at(to)),
        "l"(map), "r"(shared_at(bar)), "r"(x), "r"(y)
        : "memory");
}
__device__ void store_2d(const Map* map, const void* from, int x, int y) {
    asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%2, %3}], [%1];" ::"l"(map),
                 "r"(shared_at(from)), "r"(x), "r"(y)
                 : "memory");
}
__device__ void commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
__device__ void wait_stores() { asm volatile("cp.async.bulk.wait_group 0;" ::: "memory"); }

extern "C" __global__ void tile(const __grid_constant__ Map map, float* y, int rows, int columns, int px, int py) {
    __shared__ alignas(1024) float box[4096];
    __shared__ u64 bar;
    int t = threadIdx.x, bytes = rows * columns * 4 + MORE;
    if (t == 0) init(&bar, 1);
    __syncthreads();
    if (t == 0) {
        expect(&bar, bytes);
        load_2d(box, &map, &bar, px, py);
    }
#ifndef FAULT
    wait(&bar, 0);
#endif
    for (int i = t; i < rows * columns; i += blockDim.x) y[i] = box[i];
}

extern "C" __global__ void store(const __grid_constant__ Map map, int px, int py) {
    __shared__ alignas(128) float box[16 * 32];
    int t = threadIdx.x;
    for (int i = t; i < 512; i += blockDim.x) box[i] = i;
#ifndef NO_FENCE
    fence_proxy();
#endif
    __syncthreads();
    if (t == 0) {
        store_2d(&map, box, px, py);
        commit();
#ifndef NO_WAIT
        wait_stores();
#endif
    }
#ifdef OVERWRITE
    box[t] = 0;
#endif
}

extern "C" __global__ void ring(const __grid_constant__ Map map, float* y, int tiles) {
    __shared__ alignas(128) float slots[2][512];
    __shared__ u64 full[2], empty[2];
    int t = threadIdx.x, warp = t / 32;
    if (t == 0)
        for (int i = 0; i < 2; ++i) {
            init(full + i, 1);
            init(empty + i, 64);
        }
    __syncthreads();
    if (warp == 2) {
        if (t % 32 == 0)
            for (int i = 0; i < tiles; ++i) {
#ifndef FAULT
                wait(empty + i % 2, i / 2 + 1 & 1);
#endif
                expect(full + i % 2, 2048);
                load_2d(slots[i % 2], &map, full + i % 2, 0, 16 * i);
            }
        return;
    }
    float sum = 0;
    for (int i = 0; i < tiles; ++i) {
        wait(full + i % 2, i / 2 & 1);
#ifdef EARLY
        arrive(empty + i % 2);
#endif
        for (int k = t; k < 512; k += 64) sum += slots[i % 2][k];
#ifndef EARLY
        arrive(empty + i % 2);
#endif
    }
    y[t] = sum;
}

extern "C" __global__ void __cluster_dims__(2, 1, 1) pair(const __grid_constant__ Map map, float* y) {
    __shared__ alignas(128) float box[512];
    __shared__ u64 bar;
    __shared__ int other;
    int t = threadIdx.x;
    u32 rank;
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    if (t == 0) {
        init(&bar, 1);
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
        expect(&bar, 2048);
    }
    asm volatile("barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;" ::: "memory");
    if (t == 0 && rank == 0) {
        asm volatile(
            "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, "
            "{%3, %4}], [%2], %5;" ::"r"(shared_at(box)),
            "l"(&map), "r"(shared_at(&bar)), "r"(0), "r"(16 * (int)(blockIdx.x / 2)), "h"((u16)3)
            : "memory");
    }
    if (t == 0) {
        u32 there;
        asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(shared_at(&other)), "r"(rank ^ 1));
        asm volatile("st.shared::cluster.u32 [%0], %1;" ::"r"(there), "r"(100 + rank) : "memory");
    }
    wait(&bar, 0);
#ifndef FAULT
    asm volatile("barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;" ::: "memory");
#else
    __syncthreads();
#endif
    for (int i = t; i < 512; i += 32) y[512 * blockIdx.x + i] = box[i] + other;
}

extern "C" __global__ void taps(const __grid_constant__ Map map, float* y, int w, int h, int n, int r, int s) {
    __shared__ alignas(128) float box[32 * 8];
    __shared__ u64 bar;
    int t = threadIdx.x;
    if (t == 0) {
        init(&bar, 1);
        expect(&bar, 1024);
        asm volatile(
            "cp.async.bulk.tensor.4d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, "
            "%5, %6}], [%2], {%7, %8};" ::"r"(shared_at(box)),
            "l"(&map), "r"(shared_at(&bar)), "r"(0), "r"(w), "r"(h), "r"(n), "h"((u16)s), "h"((u16)r)
            : "memory");
    }
    __syncthreads();
    wait(&bar, 0);
    for (int i = t; i < 256; i += 32) y[i] = box[i];
}

extern "C" __global__ void bytes(const float* x, float* y) {
    __shared__ alignas(16) float s[256];
    __shared__ u64 bar;
    int t = threadIdx.x;
    if (t == 0) {
        init(&bar, 1);
        expect(&bar, 1024);
        asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], 1024, [%2];" ::"r"(
                         shared_at(s)),
                     "l"(x + 256 * blockIdx.x), "r"(shared_at(&bar))
                     : "memory");
    }
    __syncthreads();
    wait(&bar, 0);
    s[t] += 1;
    fence_proxy();
    __syncthreads();
    if (t == 0) {
        asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], 1024;" ::"l"(y + 256 * blockIdx.x),
                     "r"(shared_at(s))
                     : "memory");
        commit();
        wait_stores();
    }
}
