// Rates of a Hopper GPU that plans assume and nothing publishes: hopper_rates FILE appends a line of JSON for each.
//   nvcc -std=c++17 -O2 -gencode arch=compute_90a,code=sm_90a -Icsrc -o hopper_rates bench/hopper_rates.cu
//
// What TMA brings from the L2 cache per clock, by how many multiprocessors read, by boxes of tiles and of im2col, and
// to both blocks of a cluster; what an arrival at another block's barrier costs in each form; what a launch costs
// behind another; what a copy moves. Clocks are a multiprocessor's own. Each figure is the median of nine runs.
#include <algorithm>
#include <cstdio>
#include <vector>

#include "device/ptx.h"
#include "device/tensormap.h"

namespace {

using namespace convgpu;

constexpr int kLines = 64, kBytes = kLines * 128;  // of a panel: 64 lines of 64 bfloat16
constexpr int kSlots = 16, kSteps = 512, kRuns = 9, kArrivals = 256;
constexpr int kSide = 64;  // of the images that im2col reads, so that a panel is a line of one

struct Ring {
    alignas(1024) unsigned char slot[kSlots][kBytes];
    uint64_t full[kSlots], empty[kSlots];
};

enum class Mode { kTile, kIm2col, kMulticast };

// One thread of a block loads panel after panel, with kSlots of them on their way, and waits for each in its turn. With
// multicast the blocks of a cluster of two load every other panel, for both, and tell each other which slots are free.
template <Mode kMode>
__global__ void __launch_bounds__(32) load(const __grid_constant__ TensorMap map, int panels, int64_t* clocks) {
    auto& ring = dyn_smem<Ring>();
    constexpr bool kShared = kMode == Mode::kMulticast;
    const int rank = kShared ? static_cast<int>(ptx::cluster_rank()) : 0;
    if (threadIdx.x == 0) {
        for (uint64_t& bar : ring.full) ptx::mbar_init(ptx::smem_addr(&bar), 1);
        for (uint64_t& bar : ring.empty) ptx::mbar_init(ptx::smem_addr(&bar), 2);
        ptx::fence_mbar_init();
    }
    kShared ? ptx::cluster_sync() : __syncthreads();
    if (threadIdx.x == 0) {
        const auto issue = [&](int step) {
            const int slot = step % kSlots, first = static_cast<int>(blockIdx.x) / (kShared ? 2 : 1) * 97;
            const uint32_t bar = ptx::smem_addr(&ring.full[slot]), to = ptx::smem_addr(ring.slot[slot]);
            const int panel = (first + step) % panels;
            ptx::mbar_arrive_expect_tx(bar, kBytes);
            if constexpr (kMode == Mode::kTile) {
                ptx::tma_load(to, &map, bar, {0, panel * kLines});
            } else if constexpr (kShared) {
                if (step % 2 == rank) ptx::tma_load_multicast(to, &map, bar, uint16_t(3), {0, panel * kLines});
            } else {
                const int tap = step % 9;
                ptx::tma_load_im2col(to, &map, bar, {0, -1, panel % kSide - 1, panel / kSide}, {tap % 3, tap / 3});
            }
        };
        const int64_t start = clock64();
        for (int step = 0; step < kSlots; ++step) issue(step);
        for (int step = 0; step < kSteps; ++step) {
            const int slot = step % kSlots;
            const uint32_t parity = step / kSlots % 2, empty = ptx::smem_addr(&ring.empty[slot]);
            ptx::mbar_wait(ptx::smem_addr(&ring.full[slot]), parity);
            if (kShared) {
                for (uint32_t block = 0; block < 2; ++block) ptx::mbar_arrive_cluster(ptx::mapa(empty, block));
                ptx::mbar_wait(empty, parity);
            }
            if (step + kSlots < kSteps) issue(step + kSlots);
        }
        clocks[blockIdx.x] = clock64() - start;
    }
    kShared ? ptx::cluster_sync() : __syncthreads();
}

enum class Form { kOwn, kBare, kRelease };

__device__ __forceinline__ void arrive(Form form, uint32_t own, uint32_t other) {
    if (form == Form::kOwn) asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(own) : "memory");
    if (form == Form::kBare) asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(other) : "memory");
    if (form == Form::kRelease) {
        asm volatile("mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%0];" ::"r"(other) : "memory");
    }
}

// A thread of each block of two arrives kArrivals times, at its own barrier or the other's, behind a store or not.
template <Form kForm, bool kStores>
__global__ void __launch_bounds__(32) arrivals(int* memory, int64_t* clocks) {
    auto& bar = dyn_smem<uint64_t>();
    const uint32_t own = ptx::smem_addr(&bar), other = ptx::mapa(own, ptx::cluster_rank() ^ 1);
    if (threadIdx.x == 0) {
        ptx::mbar_init(own, kArrivals);
        ptx::fence_mbar_init();
    }
    ptx::cluster_sync();
    if (threadIdx.x == 0) {
        const int64_t start = clock64();
        for (int i = 0; i < kArrivals; ++i) {
            if (kStores) memory[(blockIdx.x * kArrivals + i) * 32] = i;
            arrive(kForm, own, other);
        }
        clocks[blockIdx.x] = clock64() - start;
        ptx::mbar_wait(own, 0);
    }
    ptx::cluster_sync();
}

__global__ void nothing() {}

__global__ void spin(int64_t clocks, int64_t* spent) {
    const int64_t start = clock64();
    while (clock64() - start < clocks) {
    }
    *spent = clock64() - start;
}

// ---- the host's side

class Rates {
public:
    explicit Rates(const char* path) : file_(std::fopen(path, "a")) {
        if (!file_) throw std::runtime_error(std::string("expected a file that can be written, got ") + path);
        check_cuda(cudaGetDeviceProperties(&properties_, 0), "cudaGetDeviceProperties");
        check_cuda(cudaMalloc(&clocks_, sizeof(int64_t) * 1024), "cudaMalloc");
        check_cuda(cudaMalloc(&memory_, kMemory), "cudaMalloc");
        check_cuda(cudaMemset(memory_, 1, kMemory), "cudaMemset");
        check_cuda(cudaEventCreate(&start_), "cudaEventCreate");
        check_cuda(cudaEventCreate(&stop_), "cudaEventCreate");
    }

    void all() {
        const int most = properties_.multiProcessorCount;
        for (const int blocks : {1, most / 4, most / 2, most}) {
            loads<Mode::kTile>("tile boxes", blocks);
            loads<Mode::kIm2col>("im2col boxes", blocks);
            loads<Mode::kMulticast>("tile boxes to both blocks of a cluster", blocks / 2 * 2);
        }
        arrives<Form::kOwn, false>("an arrival at one's own barrier");
        arrives<Form::kBare, false>("an arrival at another block's barrier");
        arrives<Form::kBare, true>("an arrival at another block's barrier, behind a store");
        arrives<Form::kRelease, false>("an arrival at another block's barrier with release");
        arrives<Form::kRelease, true>("an arrival at another block's barrier with release, behind a store");
        clock();
        launches();
        copies();
    }

private:
    static constexpr size_t kMemory = size_t(1) << 30, kRead = size_t(16) << 20;  // kRead: well within the L2 cache

    void row(const std::string& name, double value, const char* unit) {
        std::fprintf(file_, "{\"name\": \"%s\", \"value\": %.6g, \"unit\": \"%s\"}\n", name.c_str(), value, unit);
        std::fflush(file_);
        std::printf("%-80s %12.6g %s\n", name.c_str(), value, unit);
    }

    template <class Run>
    double median(Run run) {
        std::vector<double> found;
        for (int i = 0; i < kRuns; ++i) found.push_back(run());
        std::sort(found.begin(), found.end());
        return found[kRuns / 2];
    }

    // The mean over blocks of the clocks that they counted.
    double counted(int blocks) {
        std::vector<int64_t> clocks(static_cast<size_t>(blocks));
        const size_t bytes = sizeof(int64_t) * clocks.size();
        check_cuda(cudaMemcpy(clocks.data(), clocks_, bytes, cudaMemcpyDeviceToHost), "clocks");
        double sum = 0;
        for (const int64_t c : clocks) sum += static_cast<double>(c);
        return sum / blocks;
    }

    static TensorMap rows_map(void* data) {
        TiledLayout layout;
        layout.tensor = {data, ElementType::kBFloat16, 2, {kLines, kRead / 128}, {2, 128}};
        layout.box = {kLines, kLines};
        layout.swizzle = Swizzle::k128B;
        return encode(layout);
    }
    static TensorMap image_map(void* data) {
        constexpr uint64_t kLine = 128 * kSide;
        Im2colLayout layout;
        layout.tensor = {data,
                         ElementType::kBFloat16,
                         4,
                         {kLines, kSide, kSide, kRead / (kLine * kSide)},
                         {2, 128, kLine, kLine * kSide}};
        layout.lower = {-1, -1, 0};
        layout.upper = {-1, -1, 0};
        layout.channels = kLines;
        layout.pixels = kLines;
        layout.swizzle = Swizzle::k128B;
        return encode(layout);
    }

    template <Mode kMode>
    void loads(const std::string& name, int blocks) {
        if (blocks == 0) return;
        const TensorMap map = kMode == Mode::kIm2col ? image_map(memory_) : rows_map(memory_);
        const unsigned cluster = kMode == Mode::kMulticast ? 2 : 1;
        const LaunchShape shape{dim3(static_cast<unsigned>(blocks)), dim3(32), sizeof(Ring), dim3(cluster)};
        const double clocks = median([&] {
            launch(load<kMode>, shape, nullptr, map, static_cast<int>(kRead / kBytes), clocks_);
            return counted(blocks);
        });
        row(name + ", " + std::to_string(blocks) + " multiprocessors", double(kSteps) * kBytes / clocks,
            "bytes per clock that arrive in one");
    }

    template <Form kForm, bool kStores>
    void arrives(const char* name) {
        const LaunchShape shape{dim3(2), dim3(32), sizeof(uint64_t), dim3(2)};
        const double clocks = median([&] {
            launch(arrivals<kForm, kStores>, shape, nullptr, static_cast<int*>(memory_), clocks_);
            return counted(2);
        });
        row(name, clocks / kArrivals, "clocks");
    }

    template <class Run>
    double seconds(Run run) {
        check_cuda(cudaEventRecord(start_), "cudaEventRecord");
        run();
        check_cuda(cudaEventRecord(stop_), "cudaEventRecord");
        check_cuda(cudaEventSynchronize(stop_), "cudaEventSynchronize");
        float milliseconds = 0;
        check_cuda(cudaEventElapsedTime(&milliseconds, start_, stop_), "cudaEventElapsedTime");
        return milliseconds / 1e3;
    }

    void clock() {
        const double hertz = median([&] {
            const double took = seconds([&] { spin<<<1, 1>>>(20'000'000, clocks_); });
            return counted(1) / took;
        });
        row("the clock of a multiprocessor that is alone", hertz, "hertz");
    }

    void launches() {
        constexpr int kLaunches = 200;
        const double took = median([&] {
            return seconds([&] {
                for (int i = 0; i < kLaunches; ++i) nothing<<<1, 32>>>();
            });
        });
        row("a launch behind another", took / kLaunches * 1e6, "microseconds");
    }

    void copies() {
        auto* const memory = static_cast<char*>(memory_);
        constexpr size_t kHalf = kMemory / 2;
        const double took = median([&] {
            return seconds(
                [&] { check_cuda(cudaMemcpyAsync(memory + kHalf, memory, kHalf, cudaMemcpyDeviceToDevice), "copy"); });
        });
        row("a copy within the memory, reads and writes counted", static_cast<double>(kMemory) / took / 1e12, "TB/s");
    }

    std::FILE* file_;
    cudaDeviceProp properties_{};
    int64_t* clocks_ = nullptr;
    void* memory_ = nullptr;
    cudaEvent_t start_{}, stop_{};
};

}  // namespace

int main(int count, char** words) {
    if (count != 2) {
        std::fprintf(stderr, "usage: hopper_rates FILE\n");
        return 2;
    }
    try {
        Rates(words[1]).all();
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "hopper_rates: %s\n", error.what());
        return 1;
    }
}
