// Memory that the caller lends a launcher for as long as its kernels run.
#pragma once
#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace convgpu {

struct Workspace {
    static constexpr size_t kAlignment = 256;  // alignment of the workspace, and of every piece that is cut from it

    void* data = nullptr;
    size_t bytes = 0;

    // Throws unless the workspace has `wanted` bytes and starts at an address that suits every type.
    void check(const char* op, size_t wanted) const {
        if (bytes < wanted) {
            throw std::invalid_argument(std::string(op) + ": expected a workspace of " + std::to_string(wanted) +
                                        " bytes, got " + std::to_string(bytes));
        }
        if (const size_t beyond = reinterpret_cast<uintptr_t>(data) % kAlignment) {
            throw std::invalid_argument(std::string(op) + ": expected a workspace at a multiple of " +
                                        std::to_string(kAlignment) + " bytes, got one " + std::to_string(beyond) +
                                        " bytes beyond");
        }
    }
};

// The workspace of a launcher takes at most so many bytes, unless the caller sets another limit.
constexpr size_t kWorkspaceLimit = size_t(64) << 20;

// Hands out the bytes of a workspace piece by piece. Every piece is aligned like the workspace itself.
class Carver {
public:
    static constexpr size_t kAlignment = Workspace::kAlignment;
    static size_t rounded_up(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

    explicit Carver(const Workspace& workspace) : rest_(workspace) {}

    Workspace take(size_t bytes) {
        const Workspace piece{rest_.data, bytes};
        rest_.data = static_cast<char*>(rest_.data) + rounded_up(bytes);
        rest_.bytes -= std::min(rounded_up(bytes), rest_.bytes);
        return piece;
    }
    const Workspace& rest() const { return rest_; }

private:
    Workspace rest_;
};

}  // namespace convgpu
