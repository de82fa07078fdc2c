// The reductions of NVIDIA's samples, 0, 4 and 6.
template <class T>
struct Shared {
    __device__ operator T*() {
        extern __shared__ int s[];
        return (T*)s;
    }
};
template <class T, unsigned B>
__device__ __forceinline__ void warpReduce(volatile T* s, unsigned t) {
    if (B >= 64) s[t] += s[t + 32];
    if (B >= 32) s[t] += s[t + 16];
    if (B >= 16) s[t] += s[t + 8];
    s[t] += s[t + 4];
    s[t] += s[t + 2];
    s[t] += s[t + 1];
}
template <class T, unsigned B, bool pow2>
__device__ void reduce6(const T* in, T* out, unsigned n) {
    T* s = Shared<T>();
    unsigned t = threadIdx.x, i = blockIdx.x * B * 2 + t, grid = B * 2 * gridDim.x;
    T sum = 0;
    while (i < n) {
        sum += in[i];
        if (pow2 || i + B < n) sum += in[i + B];
        i += grid;
    }
    s[t] = sum;
    __syncthreads();
    if (B >= 512) {
        if (t < 256) s[t] = sum = sum + s[t + 256];
        __syncthreads();
    }
    if (B >= 256) {
        if (t < 128) s[t] = sum = sum + s[t + 128];
        __syncthreads();
    }
    if (B >= 128) {
        if (t < 64) s[t] = sum = sum + s[t + 64];
        __syncthreads();
    }
    if (t < 32) {
        if (B >= 64) sum += s[t + 32];
        for (int o = 16; o > 0; o /= 2) sum += __shfl_down_sync(~0u, sum, o);
    }
    if (t == 0) out[blockIdx.x] = sum;
}
extern "C" __global__ void reduce_6(const float* in, float* out, unsigned n) { reduce6<float, 256, false>(in, out, n); }
extern "C" __global__ void reduce_0(const int* in, int* out, unsigned n) {
    extern __shared__ int s[];
    unsigned t = threadIdx.x, i = blockIdx.x * blockDim.x + t;
    s[t] = i < n ? in[i] : 0;
    __syncthreads();
    for (unsigned q = 1; q < blockDim.x; q *= 2) {
        if (t % (2 * q) == 0) s[t] += s[t + q];
        __syncthreads();
    }
    if (t == 0) out[blockIdx.x] = s[0];
}
extern "C" __global__ void reduce_4(const float* in, float* out, unsigned n) {
    extern __shared__ float sd[];
    unsigned t = threadIdx.x, i = blockIdx.x * 256 + t;
    sd[t] = in[i] + in[i + 128];
    __syncthreads();
    if (t < 64) sd[t] += sd[t + 64];
    __syncthreads();
    if (t < 32) warpReduce<float, 64>(sd, t);
    if (t == 0) out[blockIdx.x] = sd[0];
}
