// Settings of the emulator: in which order threads run, when asynchronous work takes effect, and what the emulated
// machine offers. They are read from the environment once. A test may change them between launches.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace convgpu::emulator {

// The order in which threads start, and in which they go on after a barrier.
enum class Order { kAscending, kDescending, kRandom };

// The time at which an asynchronous copy or MMA takes effect: as late as possible, at once, or at a random moment in
// between.
enum class Timing { kLazy, kEager, kRandom };

struct Config {
    Order order;          // CONVGPU_EMULATOR_ORDER: ascending, descending, random
    Timing copy;          // CONVGPU_EMULATOR_COPY: lazy, eager, random (cp.async and TMA)
    Timing mma;           // CONVGPU_EMULATOR_MMA: lazy, eager, random (wgmma)
    uint64_t seed;        // CONVGPU_EMULATOR_SEED, the seed of everything random here
    int workers;          // CONVGPU_EMULATOR_WORKERS: OS threads, each of which runs one block or cluster at a time
    int arch;             // CONVGPU_EMULATOR_ARCH: the compute capability that plans see; 90
    int multiprocessors;  // CONVGPU_EMULATOR_MULTIPROCESSORS: the number that plans see; 132 as on an H200
    // CONVGPU_EMULATOR_SHARED_BYTES is the limit per block; the default is 227 KiB, as on compute capability 9.0.
    size_t max_shared_bytes;
    // CONVGPU_EMULATOR_RUN is yes or no. With no, launches and their tensor maps are checked, but no kernel runs.
    bool runs;
};
Config& config();

// These numbers count over all launches of the process.
struct Statistics {
    std::atomic<uint64_t> switches{0}, blocks{0}, threads{0};
};
Statistics& statistics();

// Notes that the process has launched this instance of a kernel. Each instance counts once.
void note_kernel(const void* kernel);
size_t kernels_launched();

}  // namespace convgpu::emulator
