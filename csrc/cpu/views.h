// Arrays as kernels see them: a pointer, sizes, and steps in elements. A view may have any steps, negative ones too.
#pragma once
#include <cstdint>

namespace convgpu::cpu {

constexpr int kAxes = 3;  // depth, height, width; an axis that is missing is a leading axis of one pixel

// Element (n, d, h, w, c) is at data + n * step_n + d * step[0] + h * step[1] + w * step[2] + c * step_c.
struct Images {
    char* data = nullptr;
    int64_t batch = 1, size[kAxes] = {1, 1, 1}, channels = 1;
    int64_t step_n = 0, step[kAxes] = {}, step_c = 0;

    template <class T>
    T* at(int64_t n, int64_t d, int64_t h, int64_t w, int64_t c) const {
        return reinterpret_cast<T*>(data) + n * step_n + d * step[0] + h * step[1] + w * step[2] + c * step_c;
    }
};

// Element (t, r, s, c, k) is at data + t * step[0] + r * step[1] + s * step[2] + c * step_c + k * step_k, where c
// counts the channels of a group and k counts all filters.
struct Filters {
    char* data = nullptr;
    int64_t step[kAxes] = {}, step_c = 0, step_k = 0;
};

// Element (i, j) of item n is at data + n * step_n + i * step_i + j * step_j.
struct Matrices {
    char* data = nullptr;
    int64_t step_n = 0, step_i = 0, step_j = 0;
};

}  // namespace convgpu::cpu
