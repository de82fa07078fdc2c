// Memory that the caller lends a launcher for as long as its kernels run.
#pragma once
#include <cstdint>
#include <stdexcept>
#include <string>

namespace convgpu {

struct Workspace {
    void* data = nullptr;
    size_t bytes = 0;

    void check(const char* op, size_t wanted) const {
        if (bytes >= wanted) return;
        throw std::invalid_argument(std::string(op) + ": expected a workspace of " + std::to_string(wanted) +
                                    " bytes, got " + std::to_string(bytes));
    }
};

constexpr size_t kWorkspaceLimit = size_t(64) << 20;  // of a launcher, unless its caller sets another

}  // namespace convgpu
