// The launchers of optimizers, one per op. They work on lists of arrays: one launch serves all parameters of a network.
// The i-th arrays of all lists have plan.sizes[i] elements, row-major without gaps. Results are other arrays than
// operands, so that a step that fails has changed nothing.
#pragma once
#include <optional>

#include "../common/array.h"
#include "../common/workspace.h"
#include "plan.h"

namespace convgpu::optim {

// The arrays of one list, of one dtype.
struct List {
    std::vector<void*> data;
    DType dtype = DType::kFloat32;
};

// What all elements of a step share. It is on the device, so that no step waits for the host, and its results too.
// rate:
// () of float32 or float64. steps: () of int32 or int64, the steps that were taken before. norm: () of float64, the
// norm of all gradients. scaling: (2,) of float32, the loss scale and the number of steps since it changed.
struct Shared {
    Array rate, steps;
    std::optional<Array> norm, scaling;
    Array new_steps;  // int64
    std::optional<Array> new_scaling;
};

// How Sgd and Adam compute; docs/optim.md has the formulas. clip_norm: infinite for no clipping. keras: Keras's form of
// the formulas.
struct Sgd {
    double momentum = 0, weight_decay = 0, clip_norm = 0;
    bool nesterov = false, keras = false;
};
struct Adam {
    double beta1 = 0, beta2 = 0, epsilon = 0, weight_decay = 0, clip_norm = 0;
    bool decoupled = false, keras = false;
};

// Computes new_p, and new_v unless v is null, by a step of gradient descent, and copies = new_p in a half type unless
// copies is null.
void sgd_step(const List& p, const List& g, const List* v, const List& new_p, const List* new_v, const List* copies,
              const Shared& shared, const Sgd& rule, const Plan& plan, const Workspace& workspace, Stream stream);
// Computes new_p, the running means new_m and new_s of gradients and squares, and copies as above.
void adam_step(const List& p, const List& g, const List& m, const List& s, const List& new_p, const List& new_m,
               const List& new_s, const List* copies, const Shared& shared, const Adam& rule, const Plan& plan,
               const Workspace& workspace, Stream stream);
// Computes norm = sqrt(the sum of all squares), a float64 of shape (). It is Inf or NaN if an element is.
void global_norm(const List& xs, const Array& norm, const Plan& plan, const Workspace& workspace, Stream stream);
// Computes ys = xs in another dtype, divided by the first element of `divisor` (float32) unless that is null.
void cast_all(const List& xs, const List& ys, const Array* divisor, const Plan& plan, const Workspace& workspace,
              Stream stream);

}  // namespace convgpu::optim
