// Steps of optimizers, the norm of lists of arrays, and casts of lists, as kernels take them.
#pragma once
#include "../../common/array.h"

namespace convgpu::cpu {

// Elements [begin, begin + size) of the arrays at this place of every list.
struct ListPart {
    size_t place;
    int64_t begin, size;
};

// The parts of lists of arrays of the same sizes; they follow from the sizes alone.
struct ListParts {
    const ListPart* at = nullptr;
    int64_t count = 0;
};

// The first elements of the arrays of a list, of one dtype; `at` is null where there is no such list.
struct List {
    char* const* at = nullptr;
    DType dtype = DType::kFloat32;

    template <class T>
    T* part(const ListPart& part) const {
        return reinterpret_cast<T*>(at[part.place]) + part.begin;
    }
};

// What a step computes with, in float64; kernels round them to the type that they compute in. A number that does not
// belong to the rule is not used.
struct SgdNumbers {
    double rate = 0, momentum = 0, weight_decay = 0, factor = 1;
    bool nesterov = false, keras = false, clipped = false;
};
struct AdamNumbers {
    double beta1 = 0, rest1 = 0, beta2 = 0, rest2 = 0, epsilon = 0, weight_decay = 0, factor = 1;
    double kept = 1;                // 1 - rate * weight_decay
    double size = 0, per_root = 1;  // p changes by -size * m / (sqrt(s) * per_root + epsilon)
    bool decoupled = false, keras = false, clipped = false;
};

struct StepCall {
    ListParts parts;
    List params, grads, new_params;
    List slots[2], new_slots[2];  // of the accumulator's dtype
    List copies;                  // of the new parameters, in another dtype
    SgdNumbers sgd;
    AdamNumbers adam;
    int threads = 1;
};

struct GlobalNormCall {
    ListParts parts;
    List xs;
    double* norm = nullptr;
    int threads = 1;
};

struct CastCall {
    ListParts parts;
    List xs, ys;
    bool divided = false;
    double divisor = 1;
    int threads = 1;
};

}  // namespace convgpu::cpu
