// Transpose, histogram, scan and bitonic sort.
extern "C" __global__ void transpose(float* o, const float* i, int w, int h) {
    __shared__ float t[32][33];
    int x = blockIdx.x * 32 + threadIdx.x, y = blockIdx.y * 32 + threadIdx.y;
    for (int j = 0; j < 32; j += 8)
        if (x < w && y + j < h) t[threadIdx.y + j][threadIdx.x] = i[(y + j) * w + x];
    __syncthreads();
    x = blockIdx.y * 32 + threadIdx.x;
    y = blockIdx.x * 32 + threadIdx.y;
    for (int j = 0; j < 32; j += 8)
        if (x < h && y + j < w) o[(y + j) * h + x] = t[threadIdx.x][threadIdx.y + j];
}

extern "C" __global__ void histogram(const unsigned char* d, unsigned n, unsigned* out) {
    __shared__ unsigned h[256];
    for (int i = threadIdx.x; i < 256; i += blockDim.x) h[i] = 0;
    __syncthreads();
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < n / 4; i += gridDim.x * blockDim.x) {
        unsigned v = ((const unsigned*)d)[i];
        atomicAdd(&h[v & 255], 1u);
        atomicAdd(&h[v >> 8 & 255], 1u);
        atomicAdd(&h[v >> 16 & 255], 1u);
        atomicAdd(h + (v >> 24), 1u);
    }
    __syncthreads();
    for (int i = threadIdx.x; i < 256; i += blockDim.x) atomicAdd(&out[i], h[i]);
}

extern "C" __global__ void scan(const float* in, float* out, int n) {
    extern __shared__ float t[];
    int id = threadIdx.x, off = 1;
    t[2 * id] = in[2 * id];
    t[2 * id + 1] = in[2 * id + 1];
    for (int d = n >> 1; d > 0; d >>= 1) {
        __syncthreads();
        if (id < d) {
            int a = off * (2 * id + 1) - 1, b = off * (2 * id + 2) - 1;
            t[b] += t[a];
        }
        off *= 2;
    }
    if (id == 0) t[n - 1] = 0;
    for (int d = 1; d < n; d *= 2) {
        off >>= 1;
        __syncthreads();
        if (id < d) {
            int a = off * (2 * id + 1) - 1, b = off * (2 * id + 2) - 1;
            float q = t[a];
            t[a] = t[b];
            t[b] += q;
        }
    }
    __syncthreads();
    out[2 * id] = t[2 * id];
    out[2 * id + 1] = t[2 * id + 1];
}

extern "C" __global__ void bitonic(unsigned* v) {
    __shared__ unsigned s[256];
    const unsigned t = threadIdx.x;
    s[t] = v[t];
    __syncthreads();
    for (unsigned k = 2; k <= 256; k *= 2)
        for (unsigned j = k / 2; j > 0; j /= 2) {
            unsigned x = t ^ j;
            if (x > t) {
                if ((t & k) == 0 ? s[t] > s[x] : s[t] < s[x]) {
                    unsigned q = s[t];
                    s[t] = s[x];
                    s[x] = q;
                }
            }
            __syncthreads();
        }
    v[t] = s[t];
}
