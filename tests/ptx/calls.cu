// Recursion, pointers to functions and virtual functions.
__device__ __noinline__ int fib(int n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }
typedef float (*F)(float);
__device__ float sq(float x) { return x * x; }
__device__ float cu(float x) { return x * x * x; }
__device__ F fs[2] = {sq, cu};
extern "C" __global__ void rec(int* o) { o[threadIdx.x] = fib(threadIdx.x % 10); }
extern "C" __global__ void ind(float* o, int w) { o[threadIdx.x] = fs[(threadIdx.x + w) % 2](o[threadIdx.x]); }
struct Shape {
    __device__ virtual float area() const = 0;
};
struct Sq : Shape {
    float s;
    __device__ Sq(float s) : s(s) {}
    __device__ float area() const override { return s * s; }
};
struct Ci : Shape {
    float r;
    __device__ Ci(float r) : r(r) {}
    __device__ float area() const override { return 3 * r * r; }
};
extern "C" __global__ void virt(float* o) {
    Sq a(2);
    Ci b(3);
    const Shape* s = threadIdx.x % 2 ? (const Shape*)&a : &b;
    o[threadIdx.x] = s->area();
}
