#include "config.h"

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <initializer_list>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

namespace convgpu::emulator {
namespace {

template <class T>
T choice(const char* variable, T otherwise, std::initializer_list<std::pair<const char*, T>> choices) {
    const char* value = std::getenv(variable);
    if (!value || !*value) return otherwise;
    std::string names;
    for (const auto& [name, meaning] : choices) {
        if (std::string(value) == name) return meaning;
        names += (names.empty() ? "" : ", ") + std::string(name);
    }
    throw std::invalid_argument(std::string(variable) + ": expected one of " + names + ", got " + value);
}

uint64_t number(const char* variable, uint64_t otherwise, uint64_t least = 1, uint64_t most = 1u << 30) {
    const char* value = std::getenv(variable);
    if (!value || !*value) return otherwise;
    char* end = nullptr;
    errno = 0;
    const uint64_t found = std::strtoull(value, &end, 0);
    const bool digit = *value >= '0' && *value <= '9';  // strtoull would accept a sign and blanks too
    if (!digit || *end || errno || found < least || found > most)
        throw std::invalid_argument(std::string(variable) + ": expected an integer from " + std::to_string(least) +
                                    " to " + std::to_string(most) + ", got " + value);
    return found;
}

Timing timing(const char* variable) {
    return choice(variable, Timing::kLazy,
                  {{"lazy", Timing::kLazy}, {"eager", Timing::kEager}, {"random", Timing::kRandom}});
}

Config from_environment() {
    Config c;
    c.order =
        choice("CONVGPU_EMULATOR_ORDER", Order::kAscending,
               {{"ascending", Order::kAscending}, {"descending", Order::kDescending}, {"random", Order::kRandom}});
    c.copy = timing("CONVGPU_EMULATOR_COPY");
    c.mma = timing("CONVGPU_EMULATOR_MMA");
    c.seed = number("CONVGPU_EMULATOR_SEED", 0, 0, UINT64_MAX);
    const unsigned cores = std::thread::hardware_concurrency();
    c.workers = static_cast<int>(number("CONVGPU_EMULATOR_WORKERS", cores ? cores : 1, 1, 4096));
    c.arch = static_cast<int>(number("CONVGPU_EMULATOR_ARCH", 90));
    c.multiprocessors = static_cast<int>(number("CONVGPU_EMULATOR_MULTIPROCESSORS", 132));
    c.max_shared_bytes = number("CONVGPU_EMULATOR_SHARED_BYTES", 227 << 10);
    c.runs = choice("CONVGPU_EMULATOR_RUN", true, {{"yes", true}, {"no", false}});
    return c;
}

}  // namespace

Config& config() {
    static Config c = from_environment();
    return c;
}

Statistics& statistics() {
    static Statistics s;
    return s;
}

namespace {

struct Kernels {
    std::mutex mutex;
    std::set<const void*> launched;
};

Kernels& kernels() {
    static Kernels k;
    return k;
}

}  // namespace

void note_kernel(const void* kernel) {
    const std::lock_guard<std::mutex> lock(kernels().mutex);
    kernels().launched.insert(kernel);
}

size_t kernels_launched() {
    const std::lock_guard<std::mutex> lock(kernels().mutex);
    return kernels().launched.size();
}

}  // namespace convgpu::emulator
