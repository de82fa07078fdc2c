// Steps of optimizers, the norm of lists of arrays, and casts of lists, as the binding calls them.
//
// Arguments are checked, and handed to the kernels of the instruction set in use. Arrays have no gaps; results must not
// overlap operands.
#pragma once
#include <vector>

#include "calls/optim.h"

namespace convgpu::cpu {

// Lists of one length. The slots are of the accumulator's dtype. `copies` is empty where nobody asks for them.
struct StepLists {
    std::vector<Array> params, grads, new_params, copies;
    std::vector<std::vector<Array>> slots, new_slots;
};

void sgd_step(const StepLists& lists, const SgdNumbers& numbers, int threads);
void adam_step(const StepLists& lists, const AdamNumbers& numbers, int threads);
double global_norm(const std::vector<Array>& xs, int threads);

// ys[i] = xs[i] in the dtype of ys[i], divided by a number where one is given.
void cast_all(const std::vector<Array>& xs, const std::vector<Array>& ys, const double* divisor, int threads);

}  // namespace convgpu::cpu
