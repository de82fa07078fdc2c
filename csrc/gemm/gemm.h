// The launchers of matrix products. No operand may share memory with y.
#pragma once
#include "../common/workspace.h"
#include "plan.h"

namespace convgpu::gemm {

// Computes y = activation(alpha * op(a) @ op(b) + beta * c) of matrices. c may be null; else it broadcasts to y.
void gemm(const Array& a, const Array& b, const Array* c, const Array& y, const Plan& plan, double alpha, double beta,
          Activation activation, const Workspace& workspace, Stream stream);

// Computes y[i] = op(a[i]) @ op(b[i]) of stacks of matrices (items, rows, columns). A stack of one matrix stands for as
// many copies of it as there are items.
void matmul(const Array& a, const Array& b, const Array& y, const Plan& plan, const Workspace& workspace,
            Stream stream);

}  // namespace convgpu::gemm
