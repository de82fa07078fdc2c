// How the emulator runs a grid: in which order threads run, when asynchronous work takes effect, and what the
// emulated machine offers. Read from the environment once; a test may change the fields between launches.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace convgpu::emulator {

// The order in which threads start, and in which they run on after a barrier.
enum class Order { kAscending, kDescending, kRandom };

// When an asynchronous copy or MMA takes effect: as late as anything allows, at once, or at a random moment between.
enum class Timing { kLazy, kEager, kRandom };

struct Config {
    Order order;          // CONVGPU_EMULATOR_ORDER: ascending, descending, random
    Timing copy;          // CONVGPU_EMULATOR_COPY: lazy, eager, random (cp.async and TMA)
    Timing mma;           // CONVGPU_EMULATOR_MMA: lazy, eager, random (wgmma)
    uint64_t seed;        // CONVGPU_EMULATOR_SEED, of everything random above
    int workers;          // CONVGPU_EMULATOR_WORKERS: OS threads, each running one block or cluster at a time
    int arch;             // CONVGPU_EMULATOR_ARCH: the compute capability that plans take the machine for; 90
    int multiprocessors;  // CONVGPU_EMULATOR_MULTIPROCESSORS: what plans take the machine for; 132 as on an H200
    // CONVGPU_EMULATOR_SHARED_BYTES: the limit per block; 227 KiB as on compute capability 9.0
    size_t max_shared_bytes;
    bool runs;  // CONVGPU_EMULATOR_RUN: yes, no. No: a launch is checked, as are its tensor maps, and nothing runs
};
Config& config();

// Summed over all launches of the process.
struct Statistics {
    std::atomic<uint64_t> switches{0}, blocks{0}, threads{0};
};
Statistics& statistics();

// The instances of kernels that the process has launched: each counts once.
void note_kernel(const void* kernel);
size_t kernels_launched();

}  // namespace convgpu::emulator
