// A launch: its checks, and its blocks on one or more threads of the host.
#include <mutex>
#include <thread>

#include "machine.h"
#include "owners.h"

namespace convgpu::ptx {
namespace {

void check(const Grid& g) {
    const Kernel& k = *g.kernel;
    const char* name = k.name.c_str();
    for (int d = 0; d < 3; ++d) {
        const uint32_t most_blocks = d ? 65535 : 0x7fffffff, most_threads = d == 2 ? 64 : 1024;
        if (g.blocks[d] < 1 || g.blocks[d] > most_blocks) {
            throw Error(format("%s: expected 1 to %u blocks along axis %d, got %u", name, most_blocks, d, g.blocks[d]));
        }
        if (g.threads[d] < 1 || g.threads[d] > most_threads) {
            throw Error(format("%s: expected 1 to %u threads along axis %d of a block, got %u", name, most_threads, d,
                               g.threads[d]));
        }
        if (g.blocks[d] % g.cluster[d]) {
            throw Error(format("%s: expected a number of blocks that clusters of %u divide, got %u", name, g.cluster[d],
                               g.blocks[d]));
        }
    }
    const uint32_t threads = g.block_threads();
    if (threads > 1024) throw Error(format("%s: expected at most 1024 threads in a block, got %u", name, threads));
    if (k.max_threads && (k.exact_threads ? threads != k.max_threads : threads > k.max_threads)) {
        throw Error(format("%s: expected %s%u threads in a block, which the kernel declares, got %u", name,
                           k.exact_threads ? "" : "at most ", k.max_threads, threads));
    }
    const uint64_t shared = uint64_t(k.static_shared) + g.shared_bytes;
    if (shared > g.settings.shared_limit) {
        throw Error(
            format("%s: expected at most %u bytes of shared memory, got %lu", name, g.settings.shared_limit, shared));
    }
}

void gather(Outcome& outcome, const Worker& w) {
    outcome.instructions += w.instructions;
    outcome.executed.resize(w.executed.size());
    for (size_t k = 0; k < w.executed.size(); ++k) outcome.executed[k] += w.executed[k];
    for (const auto& [key, f] : w.report.findings) {
        const auto [it, fresh] = outcome.report.findings.try_emplace(key, f);
        if (!fresh) it->second.times += f.times;
    }
    outcome.report.output += w.report.output;
}

void add(Outcome& outcome, const Fault& fault) {
    outcome.report.findings.try_emplace(std::make_tuple(fault.finding.kind, fault.finding.place.ptx_line, 0u),
                                        fault.finding);
}

uint64_t clusters_of(const Grid& g) { return g.count() / (g.cluster[0] * g.cluster[1] * g.cluster[2]); }

Outcome run_in_order(const Grid& grid) {
    Worker worker(grid, nullptr);
    Outcome outcome;
    try {
        const uint64_t count = clusters_of(grid);
        for (uint64_t k = 0; k < count && !(grid.cancelled && grid.cancelled->load()); ++k) worker.run_cluster(k);
    } catch (const Fault& f) {
        add(outcome, f);
    }
    gather(outcome, worker);
    return outcome;
}

// What the arrays hold, so that a launch can begin anew.
class Snapshot {
public:
    explicit Snapshot(const Memory& memory) {
        for (const auto& [begin, a] : memory.allocations()) {
            if (!a.writable) continue;
            const auto* p = reinterpret_cast<const uint8_t*>(begin);
            kept_.emplace_back(begin, std::vector<uint8_t>(p, p + (a.end - a.begin)));
        }
    }
    void restore() const {
        for (const auto& [begin, bytes] : kept_)
            std::memcpy(reinterpret_cast<void*>(begin), bytes.data(), bytes.size());
    }

private:
    std::vector<std::pair<uint64_t, std::vector<uint8_t>>> kept_;
};

// True if no worker found anything; false if the launch has to be done in order instead.
bool run_beside(const Grid& grid, unsigned workers, Outcome& outcome) {
    Owners owners;
    std::atomic<uint64_t> next{0};
    std::atomic<bool> trouble{false};
    std::mutex mutex;
    std::exception_ptr error;
    const uint64_t count = clusters_of(grid);
    const auto work = [&] {
        try {
            Worker worker(grid, grid.settings.races ? &owners : nullptr);
            while (!trouble && !(grid.cancelled && grid.cancelled->load())) {
                const uint64_t k = next++;
                if (k >= count) break;
                worker.run_cluster(k);
                if (!worker.report.silent() || owners.met()) trouble = true;
            }
            const std::lock_guard<std::mutex> lock(mutex);
            gather(outcome, worker);
        } catch (const Fault&) {
            trouble = true;
        } catch (...) {
            trouble = true;
            const std::lock_guard<std::mutex> lock(mutex);
            error = std::current_exception();
        }
    };
    std::vector<std::thread> threads;
    for (unsigned k = 1; k < workers; ++k) threads.emplace_back(work);
    work();
    for (std::thread& t : threads) t.join();
    if (error) std::rethrow_exception(error);
    return !trouble && !owners.met();
}

bool prints(const Kernel& k) {
    for (const Origin& o : k.origins) {
        if (o.opcode == "vprintf") return true;
    }
    return false;
}

}  // namespace

Outcome launch(const Grid& grid) {
    check(grid);
    const auto workers = static_cast<unsigned>(std::min<uint64_t>(grid.settings.workers, clusters_of(grid)));
    if (workers > 1 && !grid.kernel->blocks_meet && !prints(*grid.kernel) && !grid.settings.limit &&
        !grid.settings.seed) {
        const Snapshot before(*grid.memory);
        Outcome outcome;
        outcome.workers = workers;
        if (run_beside(grid, workers, outcome)) return outcome;
        before.restore();
    }
    return run_in_order(grid);
}

}  // namespace convgpu::ptx
