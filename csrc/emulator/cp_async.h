// cp.async copies 4, 8 or 16 bytes from global to shared memory. The thread that issues copies also groups them and
// waits for them.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace convgpu::emulator {

struct AsyncCopy {
    void* destination;
    const void* source;
    uint32_t bytes, source_bytes;
    bool performed;
};

// With late timing, a copy takes effect when it is waited for, and no earlier.
struct CpAsyncState {
    std::vector<AsyncCopy> copies;
    std::vector<size_t> groups;  // the number of copies issued up to each commit
    size_t waited = 0;           // the number of copies that a wait has covered
};

// Copies source_bytes bytes, and fills the rest up to `bytes` with zeros.
void cp_async(uint32_t destination, const void* source, uint32_t bytes, uint32_t source_bytes);
void cp_async_commit();
void cp_async_wait(size_t newest);  // waits for all groups but the newest ones
void check_cp_async_at_exit();

}  // namespace convgpu::emulator
