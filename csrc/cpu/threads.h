// Runs the tiles of a call on several threads, and lends them memory.
//
// Chance decides which thread runs which tile. Results do not depend on it, since tiles follow from the geometry, and
// each tile writes to a place of its own.
#pragma once
#include <cstddef>
#include <cstdint>
#include <utility>

namespace convgpu::cpu {

// All scratch memory of one call, over all its threads, takes at most so many bytes.
constexpr size_t kScratchLimit = size_t(40) << 20;

// Calls tile(context, i, scratch) once for every i below `count`. The calling thread works too; up to `threads` - 1
// others help if no other call has them. `scratch` points to `bytes` bytes that the thread has to itself, aligned to
// 64. Fewer threads work where all together would need more than kScratchLimit. A tile must not throw.
void run_tiles(int64_t count, int threads, size_t bytes, void (*tile)(void*, int64_t, char*), void* context);

template <class Tile>
void parallel_for(int64_t count, int threads, size_t bytes, Tile&& tile) {
    run_tiles(
        count, threads, bytes,
        [](void* context, int64_t i, char* scratch) {
            (*static_cast<std::remove_reference_t<Tile>*>(context))(i, scratch);
        },
        &tile);
}

// A block of memory, aligned to 64 bytes. It is taken from blocks that earlier calls have given back, since the first
// touch of new pages costs more than most kernels spend on them.
class Memory {
public:
    explicit Memory(size_t bytes);  // throws std::bad_alloc
    ~Memory();
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;

    char* data() const { return data_; }

private:
    char* data_;
    size_t bytes_;
};

}  // namespace convgpu::cpu
