// Blocks of CUB.
#include <cub/block/block_load.cuh>
#include <cub/block/block_radix_sort.cuh>
#include <cub/block/block_reduce.cuh>
#include <cub/block/block_scan.cuh>
#include <cub/block/block_store.cuh>
extern "C" __global__ void k(const int* in, int* out, int* total) {
    typedef cub::BlockReduce<int, 128> R;
    typedef cub::BlockScan<int, 128> S;
    __shared__ union {
        typename R::TempStorage r;
        typename S::TempStorage s;
    } t;
    int v = in[threadIdx.x];
    int sum = R(t.r).Sum(v);
    if (threadIdx.x == 0) *total = sum;
    __syncthreads();
    int e;
    S(t.s).ExclusiveSum(v, e);
    out[threadIdx.x] = e;
}
extern "C" __global__ void sort(int* v) {
    typedef cub::BlockRadixSort<int, 128, 2> B;
    __shared__ typename B::TempStorage t;
    int k[2];
    cub::LoadDirectBlocked(threadIdx.x, v, k);
    B(t).Sort(k);
    cub::StoreDirectBlocked(threadIdx.x, v, k);
}
