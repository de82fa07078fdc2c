// The state of the stand-in for CUDA's runtime: the GPU that it stands for, the kernels that have been registered, the
// memory that the next launch may touch, and what launches have done.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "../device/properties.h"
#include "../ptx_machine/loaded_module.h"
#include "../ptx_machine/machine.h"

namespace convgpu::ptx_kernels {

// How the machine runs what is launched. It is read from the environment by Python (convgpu/backends/native/ptx.py).
struct Machine {
    bool races = true;
    bool early_copies = false;
    uint64_t seed = 0;
    uint64_t limit = 0;
    unsigned workers = 1;
};

// A fat binary: its PTX is read at the first launch of a kernel of it.
struct Binary {
    const void* data = nullptr;
    std::map<std::string, std::string> texts;  // by target, until they are parsed
    std::map<std::string, std::unique_ptr<ptx::LoadedModule>> modules;
    bool read = false;
};

struct Function {
    Binary* binary = nullptr;
    std::string name;
    size_t shared_limit = 48 << 10;  // bytes of dynamic shared memory, until the host asks for more
};

// How often each instruction of a kernel has run, over all launches.
struct Coverage {
    uint64_t launches = 0;
    std::vector<uint64_t> executed;  // by step
};

struct LaunchShape {
    uint32_t blocks[3], threads[3], cluster[3];
    size_t shared_bytes = 0;
};

class Session {
public:
    // One for the process. Objects register their kernels before anything else runs, so it is made at the first call.
    static Session& get();

    Binary* add_binary(const void* data);
    void add_function(const void* host, Binary* binary, const std::string& name);
    // Returns null for what is no kernel.
    Function* function(const void* host);

    Device device() const { return device_; }
    // Throws std::invalid_argument if no PTX here suits the device.
    void set_device(const Device& device);
    std::vector<std::string> targets();

    Machine& machine() { return machine_; }
    uint64_t launches() const { return launches_; }

    // Runs a kernel to its end. Throws ptx::Error if the launch is refused, ptx_kernels::Wrong if the kernel is wrong.
    void launch(const void* host, const LaunchShape& shape, void** arguments);

    // Each kernel that has been launched, by its PTX target and name.
    const std::map<std::pair<std::string, const ptx::Kernel*>, Coverage>& coverage() const { return coverage_; }
    void forget_coverage() { coverage_.clear(); }
    // Decodes every kernel for the device in use, and returns them.
    std::vector<const ptx::Kernel*> all_kernels();

private:
    std::mutex mutex_;
    std::vector<std::unique_ptr<Binary>> binaries_;
    std::map<const void*, Function> functions_;
    Device device_;
    Machine machine_;
    uint64_t launches_ = 0;
    std::map<std::pair<std::string, const ptx::Kernel*>, Coverage> coverage_;

    Session();
    ptx::LoadedModule& module_of(Binary& binary);
    void read(Binary& binary);
    void count(const std::string& target, const ptx::Kernel& kernel, const ptx::Outcome& outcome);
};

// The kernel did what it must not do. The outcome is kept for this thread, see last_outcome.
struct Wrong : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// ---- of each thread of the host

// Lets this thread's launches touch these bytes, until forget_arrays. What begins at an address that has been named
// already keeps its name.
void allow(const ptx::Allocation& array);
void forget_arrays();

// What this thread's last launch told, if something was wrong with it; it is told once.
struct Told {
    ptx::Outcome outcome;
    const ptx::Kernel* kernel;
};
std::optional<Told> take_last_outcome();

}  // namespace convgpu::ptx_kernels
