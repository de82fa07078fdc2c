// Layer normalisation, softmax and attention as in small language models.
extern "C" __global__ void layernorm(float* __restrict__ out, float* mean, float* rstd, const float* __restrict__ inp,
                                     const float* __restrict__ weight, const float* __restrict__ bias, int N, int C) {
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, idx = blockIdx.x * (blockDim.x / 32) + warp;
    if (idx >= N) return;
    const float* x = inp + idx * C;
    float sum = 0;
    for (int i = lane; i < C; i += 32) sum += x[i];
    for (int o = 16; o; o >>= 1) sum += __shfl_xor_sync(0xffffffff, sum, o);
    float m = sum / C;
    if (lane == 0 && mean) __stcs(mean + idx, m);
    sum = 0;
    for (int i = lane; i < C; i += 32) {
        float d = x[i] - m;
        sum += d * d;
    }
    for (int o = 16; o; o >>= 1) sum += __shfl_xor_sync(0xffffffff, sum, o);
    float s = rsqrtf(sum / C + 1e-5f);
    if (lane == 0 && rstd) __stcs(rstd + idx, s);
    for (int c = lane; c < C; c += 32) {
        float n = s * (__ldcs(x + c) - m);
        __stcs(out + idx * C + c, n * weight[c] + bias[c]);
    }
}

#include <math.h>
#include <cstdint>
extern "C" __global__ void softmax_online(const float* in, float* out, int C) {
    extern __shared__ char raw[];
    float* mx = (float*)raw;
    float* sm = mx + blockDim.x / 32;
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    const float* x = in + blockIdx.x * C;
    float* y = out + blockIdx.x * C;
    float m = -INFINITY, s = 0;
    for (int i = threadIdx.x; i < C; i += blockDim.x) {
        float v = x[i];
        if (v > m) {
            s *= expf(m - v);
            m = v;
        }
        s += expf(v - m);
    }
    float wm = m;
    for (int o = 16; o; o /= 2) wm = fmaxf(wm, __shfl_down_sync(~0u, wm, o));
    wm = __shfl_sync(~0u, wm, 0);
    s = m == -INFINITY ? 0 : s * expf(m - wm);
    for (int o = 16; o; o /= 2) s += __shfl_down_sync(~0u, s, o);
    if (lane == 0) {
        mx[warp] = wm;
        sm[warp] = s;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        float M = mx[0];
        for (int i = 1; i < warps; ++i) M = fmaxf(M, mx[i]);
        float S = 0;
        for (int i = 0; i < warps; ++i) S += sm[i] * expf(mx[i] - M);
        mx[0] = M;
        sm[0] = S;
    }
    __syncthreads();
    float M = mx[0], S = sm[0];
    for (int i = threadIdx.x; i < C; i += blockDim.x) y[i] = __expf(x[i] - M) / S;
}

#include <stdio.h>
#include <cmath>
extern "C" __global__ void attn(const float* Q, const float* K, const float* V, float* O, int N, int d, int Bc) {
    extern __shared__ float s[];
    float* q = s;
    float* k = q + Bc * d;
    float* v = k + Bc * d;
    float* S = v + Bc * d;
    int t = threadIdx.x;
    float m = -INFINITY, l = 0;
    int row = blockIdx.x * Bc + t;
    for (int x = 0; x < d; ++x) {
        q[t * d + x] = Q[row * d + x];
        O[row * d + x] = 0;
    }
    for (int j = 0; j < N / Bc; ++j) {
        for (int x = 0; x < d; ++x) {
            k[t * d + x] = K[(j * Bc + t) * d + x];
            v[t * d + x] = V[(j * Bc + t) * d + x];
        }
        __syncthreads();
        float mx = m;
        for (int y = 0; y < Bc; ++y) {
            float sum = 0;
            for (int x = 0; x < d; ++x) sum += q[t * d + x] * k[y * d + x];
            sum *= rsqrtf((float)d);
            S[Bc * t + y] = sum;
            mx = fmaxf(mx, sum);
        }
        float ls = 0;
        for (int y = 0; y < Bc; ++y) {
            S[Bc * t + y] = __expf(S[Bc * t + y] - mx);
            ls += S[Bc * t + y];
        }
        float f = __expf(m - mx);
        l = l * f + ls;
        for (int x = 0; x < d; ++x) {
            float pv = 0;
            for (int y = 0; y < Bc; ++y) pv += S[Bc * t + y] * v[y * d + x];
            O[row * d + x] = O[row * d + x] * f + pv;
        }
        m = mx;
        __syncthreads();
    }
    for (int x = 0; x < d; ++x) O[row * d + x] /= l;
}
