// Products of matrices: a tile, and a tile in two slots with vectors of four.
template <int B>
__global__ void matrixMul(float* C, const float* A, const float* Bm, int wA, int wB) {
    int bx = blockIdx.x, by = blockIdx.y, tx = threadIdx.x, ty = threadIdx.y;
    int aBegin = wA * B * by, aEnd = aBegin + wA - 1;
    float Csub = 0;
    for (int a = aBegin, b = B * bx; a <= aEnd; a += B, b += B * wB) {
        __shared__ float As[B][B];
        __shared__ float Bs[B][B];
        As[ty][tx] = A[a + wA * ty + tx];
        Bs[ty][tx] = Bm[b + wB * ty + tx];
        __syncthreads();
#pragma unroll
        for (int k = 0; k < B; ++k) Csub += As[ty][k] * Bs[k][tx];
        __syncthreads();
    }
    C[wB * B * by + B * bx + wB * ty + tx] = Csub;
}
template __global__ void matrixMul<16>(float*, const float*, const float*, int, int);

#define F4(p) (*reinterpret_cast<float4*>(&(p)))
#define CF4(p) (*reinterpret_cast<const float4*>(&(p)))
extern "C" __global__ void __launch_bounds__(256)
    sgemm(const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ c, int M, int N, int K) {
    const int BM = 64, BN = 64, BK = 8, TM = 4, TN = 4;
    __shared__ float sa[2][BK][BM], sb[2][BK][BN];
    float ra[4], r[TM][TN] = {};
    int t = threadIdx.x, tx = t % 16, ty = t / 16, am = t / 2, ak = (t & 1) * 4, bk = t / 16, bn = t % 16 * 4;
    a += blockIdx.y * BM * K;
    b += blockIdx.x * BN;
    if (t < 128) {
        F4(ra[0]) = CF4(a[am * K + ak]);
        for (int i = 0; i < 4; ++i) sa[0][ak + i][am] = ra[i];
        F4(sb[0][bk][bn]) = CF4(b[bk * N + bn]);
    }
    __syncthreads();
    for (int k = 1; k <= K / BK; ++k) {
        int cur = (k - 1) & 1, nxt = k & 1;
        if (k < K / BK && t < 128) {
            F4(ra[0]) = CF4(a[am * K + ak + k * BK]);
            for (int i = 0; i < 4; ++i) sa[nxt][ak + i][am] = ra[i];
            F4(sb[nxt][bk][bn]) = CF4(b[(bk + k * BK) * N + bn]);
        }
#pragma unroll
        for (int kk = 0; kk < BK; ++kk) {
            float fa[TM], fb[TN];
            F4(fa[0]) = F4(sa[cur][kk][ty * TM]);
            F4(fb[0]) = F4(sb[cur][kk][tx * TN]);
            for (int i = 0; i < TM; ++i)
                for (int j = 0; j < TN; ++j) r[i][j] += fa[i] * fb[j];
        }
        __syncthreads();
    }
    for (int i = 0; i < TM; ++i)
        F4(c[(blockIdx.y * BM + ty * TM + i) * N + blockIdx.x * BN + tx * TN]) =
            make_float4(r[i][0], r[i][1], r[i][2], r[i][3]);
}
