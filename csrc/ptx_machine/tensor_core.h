// The arithmetic of tensor cores as recorded on an H200 (Khattak and Mikaitis, arXiv 2512.07004).
#pragma once
#include <cstdint>

namespace convgpu::ptx {

// A block of up to 16 factors as they enter the tensor core: values, and their exponents.
constexpr int kMostDepth = 16;
struct Factors {
    double value[kMostDepth];
    int exponent[kMostDepth];

    void set(int k, double x);
};

// c + the sum of a[k] * b[k] over one block. The products and c are aligned to the largest exponent among them, where
// that of a product is the sum of its factors'; each is cut two bits below a float's last place at that exponent; the
// sum is exact, and is cut to a float.
float multiply_add(const Factors& a, const Factors& b, int depth, float c);

}  // namespace convgpu::ptx
