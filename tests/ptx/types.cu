// Halves, bytes, clocks, printf, assert, and functions of one number.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
__constant__ float coef[8];
static __device__ int counter;
__device__ float table[4] = {1, 2, 3, 4};
extern "C" __global__ void k(const half2* h, half2* o, const int* a, const int* b, int* d, long long* t) {
    int i = threadIdx.x;
    o[i] = __hfma2(h[i], __float2half2_rn(2.f), __hadd2(h[i], h[i]));
    d[i] = __dp4a(a[i], b[i], 7);
    long long c = clock64();
    __nanosleep(20);
    unsigned long long g;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(g));
    t[i] = clock64() - c;
    if (i == 0) {
        atomicAdd(&counter, 3);
        table[1] += coef[2];
    }
}
extern "C" __global__ void p(int n) {
    if (threadIdx.x < 2) printf("thread %d of %s %5.2f %llu %c%%\n", threadIdx.x, "block", 1.5 * n, 1ull << 40, 'x');
}
extern "C" __global__ void as(const int* v) { assert(v[threadIdx.x] >= 0); }
extern "C" __global__ void bf(const __nv_bfloat162* x, __nv_bfloat162* y, const float2* z) {
    int i = threadIdx.x;
    y[i] = __hmul2(x[i], __float22bfloat162_rn(z[i]));
    y[i] = __hmax2(y[i], x[i]);
    if (__hgt(y[i].x, y[i].y)) y[i] = __hneg2(y[i]);
    y[i] = h2exp(y[i]);
}

extern "C" __global__ void misc(const float4* in, float4* out, const double* d, double* e, unsigned* u, float* atom,
                                unsigned long long* cas) {
    int i = threadIdx.x;
    float4 v = __ldg(in + i);
    v.x = rsqrtf(fabsf(v.x));
    v.y = __fdividef(v.y, 3.f);
    v.z = __sinf(v.z) + tanhf(v.z) + erff(v.z) + powf(fabsf(v.z), 1.5f);
    v.w = fmaf(v.w, v.w, __frcp_rn(v.w));
    out[i] = v;
    e[i] = sin(d[i]) + exp(d[i]) * log(fabs(d[i]) + 1) + pow(fabs(d[i]), .3) + cbrt(d[i]) + lgamma(fabs(d[i]) + 1);
    u[i] = __brev(i) ^ __funnelshift_l(i, 7 * i, 3) ^ __byte_perm(i, ~i, 0x4321) ^ __popc(i) ^ __clz(i) ^
           __umulhi(i * 77777777u, 99999999u) ^ __vadd4(i, 0x01020304) ^ __sad(i, 5, 1) ^
           (unsigned)__double2int_rn(d[i]);
    atomicMax((int*)atom, __float_as_int(fabsf(in[i].x)));
    unsigned long long old = *(volatile unsigned long long*)cas, as;
    do {
        as = old;
        old = atomicCAS(cas, as, as + i);
    } while (as != old);
    atomicExch(u + 32, 5u);
    atomicInc(u + 33, 7);
    atomicXor(u + 34, i);
}
