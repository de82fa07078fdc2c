#include "session.h"

#include <algorithm>
#include <cstring>

#include "fat_binary.h"

namespace convgpu::ptx_kernels {
namespace {

thread_local std::map<uint64_t, ptx::Allocation> arrays;
thread_local std::optional<Told> last;

// Code for sm_90a runs on compute capability 9.0 alone; code for sm_80 on 8.0 and everything later.
bool runs_on(const std::string& target, int arch) {
    const int made_for = std::atoi(target.c_str() + std::strlen("sm_"));
    return target.back() == 'a' ? arch == made_for : arch >= made_for;
}

// Returns the best of the targets for a GPU, or nothing.
template <class Map>
std::string best_target(const Map& by_target, int arch) {
    std::string best;
    for (const auto& [target, value] : by_target) {
        if (runs_on(target, arch)) best = target;  // the map is in order: sm_80, sm_90a
    }
    return best;
}

// Arrays may lie in one another, as views do; then they count as one.
ptx::Memory memory_of(const std::map<uint64_t, ptx::Allocation>& allowed) {
    ptx::Memory memory;
    std::optional<ptx::Allocation> open;
    for (const auto& [begin, a] : allowed) {
        if (open && a.begin < open->end) {
            open->end = std::max(open->end, a.end);
            open->writable |= a.writable;
            continue;
        }
        if (open) memory.add(*open);
        open = a;
    }
    if (open) memory.add(*open);
    return memory;
}

std::vector<uint8_t> pack(const ptx::Kernel& kernel, void** arguments) {
    std::vector<uint8_t> packed(kernel.parameter_bytes);
    for (size_t k = 0; k < kernel.parameters.size(); ++k) {
        const ptx::Parameter& p = kernel.parameters[k];
        std::memcpy(packed.data() + p.offset, arguments[k], p.size);
    }
    return packed;
}

std::string text_of(const ptx::Place& p) {
    return ptx::format("PTX line %u (%s), block (%u, %u, %u), thread (%u, %u, %u)", p.ptx_line, p.opcode.c_str(),
                       p.block[0], p.block[1], p.block[2], p.thread[0], p.thread[1], p.thread[2]);
}

std::string text_of(const ptx::Report& report) {
    std::string text;
    for (const auto& [key, f] : report.findings) {
        text += (text.empty() ? "" : "; ") + f.kernel + ": " + f.kind + ": " + f.message +
                (f.address.empty() ? "" : ": " + f.address) + ", at " + text_of(f.place);
    }
    return text;
}

}  // namespace

Session& Session::get() {
    static auto* session = new Session;  // it outlives the objects that register with it
    return *session;
}

Session::Session() = default;

Binary* Session::add_binary(const void* data) {
    const std::lock_guard<std::mutex> lock(mutex_);
    binaries_.push_back(std::make_unique<Binary>());
    binaries_.back()->data = data;
    return binaries_.back().get();
}

void Session::add_function(const void* host, Binary* binary, const std::string& name) {
    const std::lock_guard<std::mutex> lock(mutex_);
    Function& f = functions_[host];
    f.binary = binary;
    f.name = name;
}

Function* Session::function(const void* host) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = functions_.find(host);
    return found == functions_.end() ? nullptr : &found->second;
}

void Session::read(Binary& binary) {
    if (binary.read) return;
    for (std::string& text : ptx_in(binary.data)) {
        const std::string target = target_of(text);
        binary.texts[target] = std::move(text);
    }
    binary.read = true;
}

std::vector<std::string> Session::targets() {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::vector<std::string> found;
    if (binaries_.empty()) return found;
    Binary& first = *binaries_.front();  // all have been compiled with the same options
    read(first);
    for (const auto& [target, text] : first.texts) found.push_back(target);
    return found;
}

void Session::set_device(const Device& device) {
    const std::vector<std::string> there = targets();
    if (std::none_of(there.begin(), there.end(), [&](const auto& t) { return runs_on(t, device.arch); })) {
        std::string names;
        for (const std::string& t : there) names += (names.empty() ? "" : ", ") + t;
        throw std::invalid_argument(
            ptx::format("emulate: expected a GPU that runs PTX for %s, got compute capability "
                        "%d.%d",
                        names.c_str(), device.arch / 10, device.arch % 10));
    }
    device_ = device;
}

ptx::LoadedModule& Session::module_of(Binary& binary) {
    read(binary);
    const std::string target = best_target(binary.texts, device_.arch);
    if (target.empty()) throw ptx::Error(ptx::format("no PTX here runs on compute capability %d", device_.arch));
    auto& module = binary.modules[target];
    if (!module) module = std::make_unique<ptx::LoadedModule>(binary.texts[target]);
    return *module;
}

void Session::launch(const void* host, const LaunchShape& shape, void** arguments) {
    Function* f = function(host);
    if (!f) throw ptx::Error("the function is no kernel");
    if (shape.shared_bytes > f->shared_limit) {
        throw ptx::Error(
            ptx::format("%s: expected at most %zu bytes of dynamic shared memory, which the host has "
                        "asked for by cudaFuncSetAttribute, got %zu",
                        f->name.c_str(), f->shared_limit, shape.shared_bytes));
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    ptx::LoadedModule& module = module_of(*f->binary);
    ptx::Grid grid;
    grid.kernel = &module.kernel(f->name);
    std::copy_n(shape.blocks, 3, grid.blocks);
    std::copy_n(shape.threads, 3, grid.threads);
    std::copy_n(shape.cluster, 3, grid.cluster);
    grid.shared_bytes = static_cast<uint32_t>(shape.shared_bytes);
    grid.settings.races = machine_.races;
    grid.settings.early_copies = machine_.early_copies;
    grid.settings.seed = machine_.seed;
    grid.settings.limit = machine_.limit;
    grid.settings.workers = machine_.workers;
    grid.settings.shared_limit = static_cast<uint32_t>(device_.shared_bytes);
    const std::vector<uint8_t> parameters = pack(*grid.kernel, arguments);
    grid.parameters = parameters.data();
    ptx::Memory memory = memory_of(arrays);
    module.add_variables(memory);
    grid.memory = &memory;
    ptx::Outcome outcome = ptx::launch(grid);
    ++launches_;
    count(module.syntax.target, *grid.kernel, outcome);
    if (outcome.report.silent()) return;
    const std::string text = text_of(outcome.report);
    last = Told{std::move(outcome), grid.kernel};
    throw Wrong(text);
}

void Session::count(const std::string& target, const ptx::Kernel& kernel, const ptx::Outcome& outcome) {
    Coverage& c = coverage_[{target, &kernel}];
    ++c.launches;
    c.executed.resize(kernel.steps.size());
    for (size_t k = 0; k < outcome.executed.size(); ++k) c.executed[k] += outcome.executed[k];
}

std::vector<const ptx::Kernel*> Session::all_kernels() {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::vector<const ptx::Kernel*> found;
    for (const auto& binary : binaries_) {
        ptx::LoadedModule& module = module_of(*binary);
        for (const std::string& name : module.syntax.order) found.push_back(&module.kernel(name));
    }
    return found;
}

void allow(const ptx::Allocation& array) {
    const auto [it, fresh] = arrays.try_emplace(array.begin, array);
    if (fresh) return;
    it->second.end = std::max(it->second.end, array.end);
    it->second.writable |= array.writable;
}

void forget_arrays() { arrays.clear(); }

std::optional<Told> take_last_outcome() { return std::exchange(last, std::nullopt); }

}  // namespace convgpu::ptx_kernels
